/* Processes: how they begin and end, groups and sessions. */
#include "kernel.h"
#include "memory.h"
#include "signals.h"

struct process *processes[MAX_PROCESSES];
struct process *first_process;
static u32 living;

struct process *process_after(const struct process *process) {
  for (u32 i = process ? process->slot + 1 : 0; i < MAX_PROCESSES; i++) if (processes[i]) return processes[i];
  return 0;
}

struct process *process_of(u32 pid) {
  each_process(process) if (process->pid == pid) return process;
  return 0;
}

static struct process *process_new(u32 pid) {
  u32 slot = 0;
  while (slot < MAX_PROCESSES && processes[slot]) slot++;
  if (slot == MAX_PROCESSES || living >= boot->processes) return 0;
  struct process *process = frame_alloc();
  if (!process) return 0;
  process->state = PROCESS_ALIVE;
  process->pid = pid;
  process->slot = slot;
  processes[slot] = process;
  living++;
  return process;
}

void process_free(struct process *process) {
  signals_drop(&process->pending, ~0ul);
  processes[process->slot] = 0;
  living--;
  frame_free((u64)process - DIRECT_MAP);
}

void processes_init(void) {
  u32 pid = new_id();
  struct space *new = space_new();
  first_process = process_new(pid);
  current = first_process && new ? thread_new(first_process, pid) : 0;
  if (!current) panic("no memory for the first process");
  first_process->group = first_process->session = pid;
  first_process->space = new;
  current->state = THREAD_READY;
  space_use(new);
  set_kernel_stack(current);
}

/* ---- beginning */

/* Namespaces (CLONE_NEWNS and its like): a program without rights may not make them. */
#define CLONE_NEW 0x7e020080ul

static s64 give_back(struct process *child, struct space *copied, s64 error) {
  if (copied) space_leave(copied);
  process_free(child);
  return error;
}

/* A process more, with its first thread; 0 or an error. */
static s64 fork(u32 pid, u64 flags, struct thread **first) {
  struct process *parent = current->process, *child = process_new(pid);
  if (!child) return -EAGAIN;
  child->parent = flags & CLONE_PARENT ? parent->parent : parent;
  child->group = parent->group;
  child->session = parent->session;
  child->exit_signal = flags & 0xff;
  memcpy(child->actions, parent->actions, sizeof child->actions);
  struct space *copied = flags & CLONE_VM ? 0 : space_copy();
  if (!(flags & CLONE_VM) && !copied) return give_back(child, 0, -ENOMEM);
  struct thread *thread = thread_new(child, pid);
  if (!thread) return give_back(child, copied, -EAGAIN);
  bell->pid = parent->pid;
  s64 outcome = host_call(OP_FORK, pid, flags, 0, 0);
  if (outcome < 0) {
    thread_gone(thread);
    return give_back(child, copied, outcome);
  }
  child->space = copied ? copied : space;
  if (!copied) space->users++;
  *first = thread;
  return 0;
}

s64 sys_clone(u64 flags, u64 stack, u64 parent_tid, u64 child_tid, u64 tls, int *blocked) {
  u64 kind = flags & (CLONE_VM | CLONE_SIGHAND | CLONE_THREAD);
  if (flags & CLONE_NEW) return -EPERM;
  if (flags & CLONE_PIDFD || (flags & 0xff) > SIGNALS) return -EINVAL;
  if ((kind & CLONE_THREAD && !(kind & CLONE_SIGHAND)) || (kind & CLONE_SIGHAND && !(kind & CLONE_VM))) return -EINVAL;
  if (flags & CLONE_SETTLS && tls >= USER_END) return -EPERM;
  u32 id = new_id();
  struct thread *thread = kind & CLONE_THREAD ? thread_new(current->process, id) : 0;
  s64 outcome = kind & CLONE_THREAD ? thread ? 0 : -EAGAIN : fork(id, flags, &thread);
  if (outcome) return outcome;
  thread_starts(thread, flags, stack, child_tid, tls);
  /* Whether these can be written Linux does not look at either. RAM may be used up by it, which may end the new process: then it was there */
  current->frame.rax = id;
  if (flags & CLONE_PARENT_SETTID) copy_to_user(parent_tid, &id, 4);
  if (thread_of(id) != thread) return id;
  if (flags & CLONE_CHILD_SETTID) {
    struct space *mine = space;
    space_use(thread->process->space);
    copy_to_user(child_tid, &id, 4);
    space_use(mine);
  }
  if (flags & CLONE_VFORK && !(kind & CLONE_THREAD)) {
    thread->process->vfork_parent = current;
    current->state = THREAD_VFORK;
    *blocked = 1;
  }
  return id;
}

/* The parent of vfork goes on: the child no longer uses its memory. */
static void end_vfork(struct process *process) {
  if (!process->vfork_parent) return;
  process->vfork_parent->state = THREAD_READY;
  process->vfork_parent = 0;
  more_runnable();
}

void process_exec(void) {
  struct process *process = current->process;
  each_thread(thread) if (thread->process == process && thread != current) thread_gone(thread);
  struct space *old = space, *new = space_new();
  if (!new) {
    out_of_memory();
    new = space_new();
  }
  if (!new) {
    process_end(process, SIGKILL);
    reschedule();
  }
  current->tid = process->pid; /* whichever thread it was */
  current->clear_tid = current->robust_list = 0;
  current->fs_base = current->gs_base = 0;
  wrmsr(MSR_FS_BASE, 0);
  wrmsr(MSR_GS_BASE, 0);
  fpu_reset();
  signals_exec();
  process->did_exec = 1;
  /* The old memory stays until the new is there: the two may have files in common, which are known by the same handles */
  bell->pid = process->pid;
  process->space = new;
  space_use(new);
  int failed = load_program(&current->frame);
  space_leave(old);
  end_vfork(process);
  if (failed) {
    process_end(process, SIGKILL);
    reschedule();
  }
  current->in_syscall = 0;
  enter_user(&current->frame);
}

/* ---- ending */

static void tell_parent(struct process *process, s32 code, u32 status) {
  struct process *parent = process->parent;
  struct action *action = &parent->actions[SIGCHLD];
  int signal = code >= CLD_STOPPED ? SIGCHLD : (int)process->exit_signal;
  if (signal == SIGCHLD && action->handler == SIG_IGN) signal = 0; /* not even where it is blocked */
  if (signal && !(code >= CLD_STOPPED && action->flags & SA_NOCLDSTOP)) {
    struct siginfo info = { .signal = signal, .code = code, .value = { boot->uid << 32 | process->pid, status } };
    signal_send(parent, 0, &info);
  }
  each_thread(thread) if (thread->process == parent && thread->state == THREAD_WAIT) more_runnable();
}

static void orphan(struct process *gone) {
  each_process(child) {
    if (child->parent != gone) continue;
    child->parent = 0;
    if (child->state == PROCESS_ZOMBIE) process_free(child);
  }
}

static void end_memory(struct process *process) {
  struct space *own = process->space;
  process->space = 0;
  space_leave(own);
}

void process_end(struct process *process, u32 status) {
  bell->pid = process->pid;
  ring(OP_EXITING);
  if (process == first_process) each_process(other) if (other != process && other->state == PROCESS_ALIVE) process_end(other, SIGKILL);
  each_thread(thread) {
    if (thread->process != process) continue;
    each_process(child) if (child->vfork_parent == thread) child->vfork_parent = 0;
    thread_gone(thread);
  }
  end_memory(process);
  end_vfork(process);
  bell->pid = process->pid;
  host_call(OP_EXIT, status, process == first_process, 0, 0); /* does not come back from the first */
  if (process == first_process) halt();
  orphan(process);
  process->state = PROCESS_ZOMBIE;
  process->status = status;
  process->news = 0;
  signals_drop(&process->pending, ~0ul);
  struct process *parent = process->parent;
  if (!parent) return process_free(process);
  struct action *action = &parent->actions[SIGCHLD];
  int unwanted = process->exit_signal == SIGCHLD && (action->handler == SIG_IGN || action->flags & SA_NOCLDWAIT);
  tell_parent(process, child_code(status), child_status(status));
  if (unwanted) process_free(process);
}

/* With the first process the whole sandbox would end: it counts half. */
static u64 badness(const struct process *process) { return process == first_process ? process->space->pages / 2 : process->space->pages; }

void out_of_memory(void) {
  struct process *most = first_process;
  each_process(process) if (process->state == PROCESS_ALIVE && badness(process) > badness(most)) most = process;
  if (most == first_process) {
    if (current && current->process != most) current = 0;
    fatal(SIGKILL, SI_USER, 0, CAUSE_MEMORY);
  }
  struct space *own = most->space;
  int mine = own == space || (current && current->process == most);
  process_end(most, SIGKILL);
  if (mine) reschedule();
}

/* Whether nobody in the session, but outside the group, could have it going on again (an orphaned process group of POSIX). */
static int is_orphaned(const struct process *process) {
  each_process(other) {
    const struct process *parent = other->group == process->group && other->state == PROCESS_ALIVE ? other->parent : 0;
    if (parent && parent->session == other->session && parent->group != other->group) return 0;
  }
  return 1;
}

void process_stop(struct process *process, u32 signal) {
  if (process == first_process || process->stopped) return; /* nobody could make the first go on */
  if (signal != SIGSTOP && is_orphaned(process)) return;
  process->stopped = signal;
  process->news = NEWS_STOPPED;
  if (process->parent) tell_parent(process, CLD_STOPPED, signal);
}

void process_continue(struct process *process) {
  if (!process->stopped) return;
  process->stopped = 0;
  process->news = NEWS_CONTINUED;
  more_runnable();
  if (process->parent) tell_parent(process, CLD_CONTINUED, SIGCONT);
}

/* ---- groups and sessions */

s64 sys_setpgid(u32 pid, u32 group) {
  struct process *self = current->process, *process = pid ? process_of(pid) : self; /* also one that nobody has waited for yet */
  if ((s32)group < 0) return -EINVAL;
  if (!process || (process != self && process->parent != self)) return -ESRCH;
  if (process != self && process->session != self->session) return -EPERM;
  if (process != self && process->did_exec) return -EACCES;
  if (process->session == process->pid) return -EPERM; /* a session's leader */
  if (!group) group = process->pid;
  int found = group == process->pid;
  each_process(other) found |= other->group == group && other->session == self->session;
  if (!found) return -EPERM;
  process->group = group;
  return 0;
}

s64 sys_getpgid(u32 pid, int session) {
  struct process *process = pid ? process_of(pid) : current->process;
  if (!process) return -ESRCH;
  return session ? process->session : process->group;
}

s64 sys_setsid(void) {
  struct process *self = current->process;
  each_process(other) if (other->group == self->pid) return -EPERM;
  self->group = self->session = self->pid;
  return self->pid;
}
