/* Signals: actions, masks, what is pending, and the frame on the user's stack that a handler runs on. */
#include "kernel.h"

enum { SIGILL = 4, SIGTRAP = 5, SIGABRT = 6, SIGBUS = 7, SIGFPE = 8, SIGKILL = 9, SIGSEGV = 11, SIGCHLD = 17, SIGCONT = 18, SIGSTOP = 19, SIGTSTP = 20,
  SIGTTIN = 21, SIGTTOU = 22, SIGURG = 23, SIGWINCH = 28 };
#define bit(signal) (1ul << ((signal) - 1))
#define UNBLOCKABLE (bit(SIGKILL) | bit(SIGSTOP))
#define STOPPING (bit(SIGSTOP) | bit(SIGTSTP) | bit(SIGTTIN) | bit(SIGTTOU))
#define IGNORED_BY_DEFAULT (bit(SIGCHLD) | bit(SIGCONT) | bit(SIGURG) | bit(SIGWINCH))
enum { SI_TIMER = -2 };
#define FIRST_QUEUED 32 /* signals from here on come as often as they are sent */

enum { SIG_DFL = 0, SIG_IGN = 1 };
enum { SA_NOCLDSTOP = 1, SA_SIGINFO = 4, SA_RESTORER = 0x04000000, SA_ONSTACK = 0x08000000, SA_RESTART = 0x10000000, SA_NODEFER = 0x40000000, SA_RESETHAND = 0x80000000 };
enum { SS_ONSTACK = 1, SS_DISABLE = 2 };
#define SS_AUTODISARM 0x80000000u

/* The frame of a handler (Linux, arch/x86/include/asm/sigframe.h and uapi/asm/sigcontext.h). */
struct context {
  u64 r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags;
  u16 cs, gs, fs, ss;
  u64 error, trap, old_mask, cr2, fpu, reserved[8];
};
struct user_context { u64 flags, link; struct sigaltstack stack; struct context context; u64 mask; };
struct signal_frame { u64 restorer; struct user_context user; struct siginfo info; };
enum { UC_FP_XSTATE = 1, UC_SIGCONTEXT_SS = 2, UC_STRICT_RESTORE_SS = 4 };

#define FP_MAGIC1 0x46505853u
#define FP_MAGIC2 0x46505845u
struct fpu_trailer { u32 magic1, extended_size; u64 features; u32 size, padding[7]; }; /* at 464 of the area */

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

static struct action *action_of(const struct process *process, int signal) { return &((struct process *)process)->actions[signal]; }

static int ignored(const struct process *process, int signal) {
  u64 handler = action_of(process, signal)->handler;
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

/* Takes one pending signal of the set; 0: none. Faults come first, then the lowest. */
int signal_take(struct thread *thread, u64 set, struct siginfo *info) {
  const u64 faults = bit(SIGSEGV) | bit(SIGBUS) | bit(SIGILL) | bit(SIGTRAP) | bit(SIGFPE);
  u64 ready = (thread->pending.set | thread->process->pending.set) & set;
  if (!ready) return 0;
  if (thread->pending.set & set & faults) ready = thread->pending.set & set & faults;
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

/* 0, or -EAGAIN when one that must be queued cannot be. */
static s64 add(struct pending *pending, const struct siginfo *info) {
  int signal = info->signal;
  /* A timer has one signal on its way at most: it stands for all expiries */
  for (struct queued *other = pending->first; info->code == SI_TIMER && other; other = other->next)
    if (other->info.code == SI_TIMER && other->info.signal == signal && (u32)other->info.value[0] == (u32)info->value[0]) {
      other->info.value[0] += (1ul << 32) + (info->value[0] >> 32 << 32);
      return 0;
    }
  if (signal < FIRST_QUEUED && pending->set & bit(signal)) return 0;
  struct queued *entry = queued_new(), **last = &pending->first;
  if (!entry && signal >= FIRST_QUEUED) return -EAGAIN;
  pending->set |= bit(signal);
  if (!entry) return 0;
  while (*last) last = &(*last)->next;
  *entry = (struct queued){ .info = *info };
  *last = entry;
  return 0;
}

static s64 send(struct process *process, struct thread *thread, const struct siginfo *info) {
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
  if (ignored(process, signal) && !wanted(process, thread, signal)) return 0;
  s64 outcome = add(thread ? &thread->pending : &process->pending, info);
  if (outcome) return outcome;
  if (signal == SIGKILL) process->stopped = 0;
  if (wanted(process, thread, signal)) bell->woken = 1; /* signalfd may have been waiting for it */
  if (!thread || thread != current) more_runnable(); /* a thread that waits may have to be woken for it: the host ticks */
  return 0;
}

void signal_send(struct process *process, struct thread *thread, const struct siginfo *info) { send(process, thread, info); }

void signal_kernel(struct process *process, struct thread *thread, int signal, s32 code, u64 value) {
  struct siginfo info = { .signal = signal, .code = code, .value = { value } };
  send(process, thread, &info);
}

static struct thread *thread_of(u32 tid) {
  each_thread(thread) if (thread->tid == tid) return thread;
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
      if (process && (!sent->tid || thread)) send(process, thread, &info);
    } else each_process(process) if (process->group == sent->tid) send(process, 0, &info);
  }
}

/* A new program: what was caught is as at first, what was ignored stays so. */
void signals_exec(void) {
  for (int signal = 1; signal <= SIGNALS; signal++) {
    struct action *action = action_of(current->process, signal);
    *action = (struct action){ .handler = action->handler == SIG_IGN ? SIG_IGN : SIG_DFL };
  }
  current->altstack = (struct sigaltstack){ .flags = SS_DISABLE };
  current->restore_blocked = 0;
}

/* ---- handlers */

static u64 alt_flags(struct thread *thread, u64 rsp) {
  if (!thread->altstack.size) return SS_DISABLE;
  return rsp - thread->altstack.base < thread->altstack.size ? SS_ONSTACK : 0;
}

/* Saves floating-point state below `sp`; its address goes to *area. Returns 0 or -EFAULT. */
static int push_fpu(u64 sp, u64 *area) {
  static u8 copy[FPU_SIZE + 64] __attribute__((aligned(64)));
  u32 size = fpu_has_xsave ? fpu_bytes + 4 : 512;
  *area = (sp - size) & ~63ul;
  memset(copy, 0, sizeof copy);
  fpu_save(copy);
  if (fpu_has_xsave) {
    *(struct fpu_trailer *)(copy + 464) = (struct fpu_trailer){ .magic1 = FP_MAGIC1, .extended_size = size, .features = fpu_mask, .size = fpu_bytes };
    *(u32 *)(copy + fpu_bytes) = FP_MAGIC2;
  }
  return copy_to_user(*area, copy, size);
}

static int pop_fpu(u64 area) {
  static u8 copy[FPU_SIZE] __attribute__((aligned(64)));
  if (!area) {
    memset(copy, 0, sizeof copy);
    *(u16 *)copy = 0x37f;
    *(u32 *)(copy + 24) = 0x1f80;
    if (fpu_has_xsave) *(u64 *)(copy + 512) = 3;
    fpu_restore(copy);
    return 0;
  }
  if (copy_from_user(copy, area, fpu_has_xsave ? fpu_bytes : 512)) return -EFAULT;
  const struct fpu_trailer *trailer = (void *)(copy + 464);
  if (fpu_has_xsave) {
    /* What XRSTOR would fault on is not the user's to choose. */
    u64 features = trailer->magic1 == FP_MAGIC1 ? *(u64 *)(copy + 512) & fpu_mask : 3;
    memset(copy + 512, 0, 64);
    *(u64 *)(copy + 512) = features;
  }
  *(u32 *)(copy + 24) &= 0xffff; /* reserved bits of MXCSR */
  fpu_restore(copy);
  return 0;
}

/* Makes the current thread run the handler of `signal` next. */
static int push_frame(int signal, const struct siginfo *info) {
  struct frame *f = &current->frame;
  struct action *action = action_of(current->process, signal);
  u64 sp = f->rsp - 128, fpu; /* below the red zone */
  if (action->flags & SA_ONSTACK && alt_flags(current, f->rsp) == 0) sp = current->altstack.base + current->altstack.size;
  if (!(action->flags & SA_RESTORER) || push_fpu(sp, &fpu)) return -EFAULT;
  struct signal_frame frame = {
    .restorer = action->restorer,
    .user = {
      .flags = (fpu_has_xsave ? UC_FP_XSTATE : 0) | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS,
      .stack = { current->altstack.base, (s32)(alt_flags(current, f->rsp) | (current->altstack.flags & SS_AUTODISARM)), 0, current->altstack.size },
      .context = {
        f->r8, f->r9, f->r10, f->r11, f->r12, f->r13, f->r14, f->r15, f->rdi, f->rsi, f->rbp, f->rbx, f->rdx, f->rax, f->rcx, f->rsp, f->rip, f->rflags,
        USER_CS, 0, 0, USER_DS, bell->error, bell->trap, current->blocked, 0, fpu, { 0 },
      },
      .mask = current->restore_blocked ? current->saved_blocked : current->blocked,
    },
    .info = *info,
  };
  if (signal == SIGSEGV || signal == SIGBUS || signal == SIGTRAP || signal == SIGILL || signal == SIGFPE) frame.user.context.cr2 = info->value[0];
  else frame.user.context.error = frame.user.context.trap = 0;
  sp = ((fpu - sizeof frame) & ~15ul) - 8;
  if (copy_to_user(sp, &frame, sizeof frame)) return -EFAULT;
  if (current->altstack.flags & SS_AUTODISARM) current->altstack = (struct sigaltstack){ .flags = SS_DISABLE };
  f->rsp = sp;
  f->rip = action->handler;
  f->rdi = signal;
  f->rsi = sp + 8 + sizeof(struct user_context);
  f->rdx = sp + 8;
  f->rax = 0;
  f->rflags &= ~(0x400ul | 0x100 | 0x10000); /* DF, TF, RF */
  current->blocked |= action->mask;
  if (!(action->flags & SA_NODEFER)) current->blocked |= bit(signal);
  current->blocked &= ~UNBLOCKABLE;
  current->restore_blocked = 0;
  if (action->flags & SA_RESETHAND) action->handler = SIG_DFL;
  return 0;
}

/* Calls that go on after a handler with SA_RESTART, as signal(7) lists them: reads and writes, ioctl, wait, flock, sockets, futex, open. */
static int restartable(u64 number) {
  switch (number) {
    case 0: case 1: case 2: case 16: case 17: case 18: case 19: case 20: case 40: case 44: case 45: case 46: case 47: case 61:
    case 73: case 202: case 247: case 257: case 275: case 276: case 295: case 296: return 1;
    default: return 0;
  }
}

static int valid_user_state(const struct frame *f) { return f->rip < USER_END; }

/* The current process ends by a fault. */
static void __attribute__((noreturn)) signal_end(int signal, s32 code, u64 address) {
  if (current->process == first_process) fatal(signal, code, address, 1);
  process_end(current->process, signal);
  reschedule();
}

/* The default: most signals end the process. */
static void take_default(int signal, const struct siginfo *info) {
  if (bit(signal) & STOPPING) {
    process_stop(current->process, signal);
    if (current->process->stopped) reschedule();
    return;
  }
  if (current->process == first_process) fatal(signal, info->code, info->value[0], info->code > 0 && info->code != 0x80 ? 1 : 0);
  process_end(current->process, signal);
  reschedule();
}

void signals_deliver(void) {
  struct frame *f = &current->frame;
  struct siginfo info;
  int signal;
  while ((signal = signal_take(current, ~current->blocked, &info))) {
    struct action *action = action_of(current->process, signal);
    if (ignored(current->process, signal) && signal != SIGKILL && signal != SIGSTOP) continue;
    if (action->handler == SIG_DFL || signal == SIGKILL || signal == SIGSTOP) {
      take_default(signal, &info);
      continue;
    }
    if (current->in_syscall && f->rax == (u64)-EINTR && action->flags & SA_RESTART && restartable(f->orig_rax)) {
      f->rax = f->orig_rax;
      f->rip -= 2;
    }
    current->in_syscall = 0;
    if (push_frame(signal, &info)) {
      /* No room for the frame: SIGSEGV, and if that has the same trouble the end. */
      if (signal == SIGSEGV) signal_end(SIGSEGV, 0x80, f->rsp);
      action_of(current->process, SIGSEGV)->handler = SIG_DFL;
      current->blocked &= ~bit(SIGSEGV);
      signal_kernel(current->process, current, SIGSEGV, 0x80, 0);
    }
  }
  if (current->restore_blocked) {
    current->blocked = current->saved_blocked;
    current->restore_blocked = 0;
    if (signal_waits(current)) signals_deliver();
  }
}

/* A fault of the current thread: a signal that cannot wait, nor be ignored. */
void signal_fault(int signal, s32 code, u64 address) {
  u64 handler = action_of(current->process, signal)->handler;
  if (current->blocked & bit(signal) || handler == SIG_DFL || handler == SIG_IGN) signal_end(signal, code, address);
  struct siginfo info = { .signal = signal, .code = code, .value = { address } };
  current->in_syscall = 0;
  current->frame.orig_rax = -1;
  add(&current->pending, &info);
  signals_deliver();
  enter_user(&current->frame);
}

/* ---- system calls */

s64 sys_rt_sigaction(u64 signal, u64 action, u64 old, u64 size) {
  struct action new;
  if (size != 8 || signal < 1 || signal > SIGNALS || (action && UNBLOCKABLE & bit(signal))) return -EINVAL;
  if (action && copy_from_user(&new, action, sizeof new)) return -EFAULT;
  if (old && copy_to_user(old, action_of(current->process, (int)signal), sizeof new)) return -EFAULT;
  if (action) {
    struct process *process = current->process;
    new.mask &= ~UNBLOCKABLE;
    process->actions[signal] = new;
    if (ignored(process, (int)signal)) {
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
    *blocked = 0;
    return current->frame.rax;
  }
  return 0;
}

s64 sys_sigaltstack(u64 stack, u64 old) {
  u64 rsp = current->frame.rsp;
  struct sigaltstack new, before = current->altstack;
  before.flags = (s32)(alt_flags(current, rsp) | (before.flags & SS_AUTODISARM));
  before.pad = 0;
  if (stack) {
    if (copy_from_user(&new, stack, sizeof new)) return -EFAULT;
    if (alt_flags(current, rsp) == SS_ONSTACK) return -EPERM;
    u32 mode = (u32)new.flags & ~SS_AUTODISARM;
    if (mode != 0 && mode != SS_DISABLE && mode != SS_ONSTACK) return -EINVAL;
    if (mode == SS_DISABLE) new.base = new.size = 0;
    else if (new.size < 2048) return -ENOMEM;
    current->altstack = new;
  }
  return old && copy_to_user(old, &before, sizeof before) ? -EFAULT : 0;
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
    if (signal) send(process, 0, &info);
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
  struct siginfo info = { .signal = signal, .code = -6 /* SI_TKILL */, .value = { sender() } };
  return signal ? send(process, thread, &info) : 0;
}

s64 sys_sigqueue(s32 tgid, s32 tid, s32 signal, u64 at) {
  struct siginfo info;
  struct thread *thread;
  if (copy_from_user(&info, at, sizeof info)) return -EFAULT;
  if ((u32)signal > SIGNALS) return -EINVAL;
  struct process *process = target(tgid, tid, &thread);
  /* Only the kernel says SI_USER and what is above, and SI_TKILL; a process may tell itself anything */
  if ((info.code >= 0 || info.code == -6) && process != current->process) return -EPERM;
  if (!process) return -ESRCH;
  info.signal = signal;
  return signal ? send(process, thread, &info) : 0;
}

void sys_rt_sigreturn(void) {
  struct frame *f = &current->frame;
  struct signal_frame frame;
  u64 at = f->rsp - 8;
  current->in_syscall = 0;
  if (copy_from_user(&frame, at, sizeof frame) || pop_fpu(frame.user.context.fpu)) signal_fault(SIGSEGV, 0x80, at);
  struct context *c = &frame.user.context;
  f->r8 = c->r8; f->r9 = c->r9; f->r10 = c->r10; f->r11 = c->r11; f->r12 = c->r12; f->r13 = c->r13; f->r14 = c->r14; f->r15 = c->r15;
  f->rdi = c->rdi; f->rsi = c->rsi; f->rbp = c->rbp; f->rbx = c->rbx; f->rdx = c->rdx; f->rax = c->rax; f->rcx = c->rcx; f->rsp = c->rsp; f->rip = c->rip;
  /* The flags that a program may change: AC, OF, DF, TF, SF, ZF, AF, PF, CF, RF. */
  f->rflags = (f->rflags & ~0x50dd5ul) | (c->rflags & 0x50dd5) | 0x202;
  f->orig_rax = -1;
  current->blocked = frame.user.mask & ~UNBLOCKABLE;
  current->altstack = (struct sigaltstack){ frame.user.stack.base, frame.user.stack.flags & (s32)~SS_ONSTACK, 0, frame.user.stack.size };
  if (!valid_user_state(f)) signal_fault(SIGSEGV, 0x80, 0);
}
