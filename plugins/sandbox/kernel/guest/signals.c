/* Signals: actions, masks, what is pending, and the system calls about them. Handlers are in handlers.c. */
#include "kernel.h"
#include "signals.h"

/* ---- what is pending */

struct queued { struct queued *next; struct siginfo info; };
#define MAX_QUEUED 1024
static struct queued queue[MAX_QUEUED], *unused;
static u32 queue_high;

static struct queued *queued_new(void) {
  struct queued *entry = unused;
  if (entry) unused = entry->next;
  else if (queue_high < MAX_QUEUED) entry = &queue[queue_high++];
  return entry;
}

static void queued_free(struct queued *entry) {
  entry->next = unused;
  unused = entry;
}

int signal_ignored(const struct process *process, int signal) {
  u64 handler = process->actions[signal].handler;
  return handler == SIG_IGN || (handler == SIG_DFL && IGNORED_BY_DEFAULT & bit(signal));
}

int signal_waits(struct thread *thread) { return ((thread->pending.set | thread->process->pending.set) & ~thread->blocked) != 0; }

void signals_drop(struct pending *pending, u64 set) {
  struct queued **at = &pending->first, *entry;
  while ((entry = *at)) {
    if (!(bit(entry->info.signal) & set)) {
      at = &entry->next;
      continue;
    }
    *at = entry->next;
    queued_free(entry);
  }
  pending->set &= ~set;
}

/* A signal that has a number only when the queue is full, as on Linux. */
static void take_from(struct pending *pending, int signal, struct siginfo *info) {
  int more = 0, found = 0;
  for (struct queued **at = &pending->first, *entry; (entry = *at);) {
    if (entry->info.signal != signal) at = &entry->next;
    else if (found) {
      more = 1;
      break;
    } else {
      found = 1;
      *info = entry->info;
      *at = entry->next;
      queued_free(entry);
    }
  }
  if (!found) *info = (struct siginfo){ .signal = signal };
  if (!more) pending->set &= ~bit(signal);
}

/* Takes one pending signal of the set; 0: none. Those of the thread come before those of its process; faults come first, then the lowest. */
int signal_take(struct thread *thread, u64 set, struct siginfo *info) {
  const u64 faults = bit(SIGSEGV) | bit(SIGBUS) | bit(SIGILL) | bit(SIGTRAP) | bit(SIGFPE);
  u64 own = thread->pending.set & set, ready = own & faults ? own & faults : own ? own : thread->process->pending.set & set;
  if (!ready) return 0;
  int signal = __builtin_ctzl(ready) + 1;
  take_from(thread->pending.set & bit(signal) ? &thread->pending : &thread->process->pending, signal, info);
  if (info->code == SI_TIMER) {
    bell->pid = thread->process->pid;
    host_call(OP_OVERRUN, (u32)info->value[0], info->value[0] >> 32, 0, 0);
  }
  return signal;
}

/* Whether somebody of the process has it blocked, or waits for it: then even one that is ignored is kept. */
static int wanted(const struct process *process, const struct thread *thread, int signal) {
  if (thread) return (thread->blocked & bit(signal)) || (thread->state == THREAD_SIGNAL && thread->waiting_for & bit(signal));
  int all = 1;
  each_thread(each) {
    if (each->process != process) continue;
    if (each->state == THREAD_SIGNAL && each->waiting_for & bit(signal)) return 1;
    all &= (each->blocked & bit(signal)) != 0;
  }
  return all;
}

s64 signal_add(struct pending *pending, const struct siginfo *info) {
  int signal = info->signal;
  /* A timer has one signal on its way at most: it stands for all expiries */
  for (struct queued *other = pending->first; info->code == SI_TIMER && other; other = other->next)
    if (other->info.code == SI_TIMER && other->info.signal == signal && (u32)other->info.value[0] == (u32)info->value[0]) {
      other->info.value[0] += (1ul << 32) + (info->value[0] >> 32 << 32);
      return 0;
    }
  if (signal < SIGRTMIN && pending->set & bit(signal)) return 0;
  struct queued *entry = queued_new(), **last = &pending->first;
  if (!entry && signal >= SIGRTMIN) return -EAGAIN;
  pending->set |= bit(signal);
  if (!entry) return 0;
  while (*last) last = &(*last)->next;
  *entry = (struct queued){ .info = *info };
  *last = entry;
  return 0;
}

s64 signal_send(struct process *process, struct thread *thread, const struct siginfo *info) {
  int signal = info->signal;
  if (process->state != PROCESS_ALIVE) return 0;
  if (signal == SIGKILL && !(current && current->process == process) && process != first_process) {
    process_end(process, SIGKILL);
    return 0;
  }
  if (signal == SIGCONT) {
    signals_drop(&process->pending, STOPPING);
    process_continue(process);
  } else if (bit(signal) & STOPPING) signals_drop(&process->pending, bit(SIGCONT));
  if (signal_ignored(process, signal) && !wanted(process, thread, signal)) return 0;
  s64 outcome = signal_add(thread ? &thread->pending : &process->pending, info);
  if (outcome) return outcome;
  if (signal == SIGKILL) process->stopped = 0;
  if (wanted(process, thread, signal)) bell->woken = 1; /* signalfd may have been waiting for it */
  if (!thread || thread != current) more_runnable(); /* a thread that waits may have to be woken for it: the host ticks */
  return 0;
}

void signals_from_host(void) {
  u32 count = bell->host_signal_count;
  bell->host_signal_count = 0;
  for (u32 i = 0; i < count && i < MAX_HOST_SIGNALS; i++) {
    const struct host_signal *sent = &bell->host_signals[i];
    struct siginfo info = { .signal = sent->signal, .code = sent->code, .value = { sent->value[0], sent->value[1] } };
    if (sent->pid) {
      struct process *process = process_of(sent->pid);
      struct thread *thread = sent->tid ? thread_of(sent->tid) : 0;
      if (process && (!sent->tid || thread)) signal_send(process, thread, &info);
    } else each_process(process) if (process->group == sent->tid) signal_send(process, 0, &info);
  }
}

/* A new program: what was caught is as at first, what was ignored stays so. */
void signals_exec(void) {
  for (int signal = 1; signal <= SIGNALS; signal++) {
    struct action *action = &current->process->actions[signal];
    *action = (struct action){ .handler = action->handler == SIG_IGN ? SIG_IGN : SIG_DFL };
  }
  current->altstack = (struct sigaltstack){ .flags = SS_DISABLE };
  current->restore_blocked = 0;
}

/* ---- system calls */

s64 sys_rt_sigaction(u64 signal, u64 action, u64 old, u64 size) {
  struct action new;
  if (size != 8 || signal < 1 || signal > SIGNALS || (action && UNBLOCKABLE & bit(signal))) return -EINVAL;
  if (action && copy_from_user(&new, action, sizeof new)) return -EFAULT;
  if (old && copy_to_user(old, &current->process->actions[signal], sizeof new)) return -EFAULT;
  if (action) {
    struct process *process = current->process;
    new.mask &= ~UNBLOCKABLE;
    process->actions[signal] = new;
    if (signal_ignored(process, (int)signal)) {
      signals_drop(&process->pending, bit(signal));
      each_thread(thread) if (thread->process == process) signals_drop(&thread->pending, bit(signal));
    }
  }
  return 0;
}

s64 sys_rt_sigprocmask(u64 how, u64 set, u64 old, u64 size) {
  u64 before = current->blocked, mask;
  if (size != 8) return -EINVAL;
  if (set) {
    if (copy_from_user(&mask, set, 8)) return -EFAULT;
    if (how > 2) return -EINVAL;
    current->blocked = (how == 0 ? before | mask : how == 1 ? before & ~mask : mask) & ~UNBLOCKABLE;
  }
  return old && copy_to_user(old, &before, 8) ? -EFAULT : 0;
}

s64 sys_rt_sigpending(u64 set, u64 size) {
  u64 pending = (current->pending.set | current->process->pending.set) & current->blocked;
  if (size > 8) return -EINVAL;
  return copy_to_user(set, &pending, size) ? -EFAULT : 0;
}

s64 sys_rt_sigsuspend(u64 set, u64 size) {
  u64 mask;
  if (size != 8) return -EINVAL;
  if (copy_from_user(&mask, set, 8)) return -EFAULT;
  current->saved_blocked = current->blocked;
  current->restore_blocked = 1;
  current->blocked = mask & ~UNBLOCKABLE;
  current->waiting_for = 0;
  current->host_timed = 0;
  current->state = THREAD_SIGNAL;
  current->frame.rax = -EINTR;
  return 0;
}

s64 sys_rt_sigtimedwait(u64 set, u64 info, u64 timeout, u64 size, int *blocked) {
  u64 mask;
  struct siginfo taken;
  if (size != 8) return -EINVAL;
  if (copy_from_user(&mask, set, 8)) return -EFAULT;
  mask &= ~UNBLOCKABLE;
  int signal = signal_take(current, mask, &taken);
  if (signal) return info && copy_to_user(info, &taken, sizeof taken) ? -EFAULT : signal;
  current->waiting_for = mask;
  current->host_timed = timeout != 0;
  current->state = THREAD_SIGNAL;
  *blocked = 1;
  if (timeout && host_syscall(current, 0)) { /* a timeout of nothing, or an invalid one */
    current->state = THREAD_READY;
    current->host_timed = 0;
    *blocked = 0;
    return current->frame.rax;
  }
  return 0;
}

/* SI_USER with the sender's pid and uid in the value. */
static u64 sender(void) { return boot->uid << 32 | current->process->pid; }

s64 sys_kill(s32 pid, s32 signal) {
  if ((u32)signal > SIGNALS) return -EINVAL;
  if (pid == (s32)0x80000000) return -ESRCH;
  struct siginfo info = { .signal = signal, .value = { sender() } };
  u32 group = pid == 0 ? current->process->group : pid < -1 ? (u32)-pid : 0;
  int found = 0;
  each_process(process) {
    if (pid > 0 ? process->pid != (u32)pid : group ? process->group != group : process == current->process || process == first_process) continue;
    found = 1;
    if (signal) signal_send(process, 0, &info);
  }
  return found ? 0 : -ESRCH;
}

/* A thread of the process, or the process itself; 0: there is none. */
static struct process *target(s32 tgid, s32 tid, struct thread **thread) {
  *thread = tid ? thread_of((u32)tid) : 0;
  if (tid) return *thread && (!tgid || (*thread)->process->pid == (u32)tgid) ? (*thread)->process : 0;
  return process_of((u32)tgid);
}

/* tgid 0: whichever process has the thread (tkill). */
s64 sys_tgkill(s32 tgid, s32 tid, s32 signal) {
  struct thread *thread;
  if ((u32)signal > SIGNALS || tgid < 0 || tid <= 0) return -EINVAL;
  struct process *process = target(tgid, tid, &thread);
  if (!process) return -ESRCH;
  struct siginfo info = { .signal = signal, .code = SI_TKILL, .value = { sender() } };
  return signal ? signal_send(process, thread, &info) : 0;
}

s64 sys_sigqueue(s32 tgid, s32 tid, s32 signal, u64 at) {
  struct siginfo info;
  struct thread *thread;
  if (copy_from_user(&info, at, sizeof info)) return -EFAULT;
  if ((u32)signal > SIGNALS) return -EINVAL;
  struct process *process = target(tgid, tid, &thread);
  /* Only the kernel says SI_USER and what is above, and SI_TKILL; a process may tell itself anything */
  if ((info.code >= SI_USER || info.code == SI_TKILL) && process != current->process) return -EPERM;
  if (!process) return -ESRCH;
  info.signal = signal;
  return signal ? signal_send(process, thread, &info) : 0;
}
