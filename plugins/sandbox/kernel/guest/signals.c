/* Signals: actions, masks, what is pending, and the frame on the user's stack that a handler runs on. */
#include "kernel.h"

enum { SIGHUP = 1, SIGILL = 4, SIGTRAP = 5, SIGABRT = 6, SIGBUS = 7, SIGFPE = 8, SIGKILL = 9, SIGSEGV = 11, SIGCHLD = 17, SIGCONT = 18, SIGSTOP = 19, SIGTSTP = 20,
  SIGTTIN = 21, SIGTTOU = 22, SIGURG = 23, SIGWINCH = 28 };
#define SIGNALS 64
#define bit(signal) (1ul << ((signal) - 1))
#define UNBLOCKABLE (bit(SIGKILL) | bit(SIGSTOP))
/* Default action "nothing"; stopping means nothing to a process that nobody could continue. */
#define IGNORED_BY_DEFAULT (bit(SIGCHLD) | bit(SIGCONT) | bit(SIGURG) | bit(SIGWINCH) | bit(SIGTSTP) | bit(SIGTTIN) | bit(SIGTTOU) | bit(SIGSTOP))

enum { SIG_DFL = 0, SIG_IGN = 1 };
enum { SA_NOCLDSTOP = 1, SA_SIGINFO = 4, SA_RESTORER = 0x04000000, SA_ONSTACK = 0x08000000, SA_RESTART = 0x10000000, SA_NODEFER = 0x40000000, SA_RESETHAND = 0x80000000 };
enum { SS_ONSTACK = 1, SS_DISABLE = 2 };
#define SS_AUTODISARM 0x80000000u

struct action { u64 handler, flags, restorer, mask; };
struct siginfo { s32 signal, error, code, pad; u64 value[14]; };

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

static struct action actions[SIGNALS + 1];
static struct siginfo infos[SIGNALS + 1];
static u64 process_pending;

static int ignored(int signal) {
  u64 handler = actions[signal].handler;
  return handler == SIG_IGN || (handler == SIG_DFL && IGNORED_BY_DEFAULT & bit(signal));
}

int signal_waits(struct thread *thread) { return ((thread->pending | process_pending) & ~thread->blocked) != 0; }

/* Takes one pending signal of the set, lowest first; 0: none. */
int signal_take(struct thread *thread, u64 set, void *info) {
  u64 ready = (thread->pending | process_pending) & set;
  if (!ready) return 0;
  int signal = __builtin_ctzl(ready) + 1;
  if (thread->pending & bit(signal)) thread->pending &= ~bit(signal);
  else process_pending &= ~bit(signal);
  memcpy(info, &infos[signal], sizeof(struct siginfo));
  return signal;
}

/* A thread that waits in the kernel for the host or a futex looks again when it is scheduled. */
void signal_send(struct thread *thread, int signal, s32 code, u64 value) {
  u64 waited = 0;
  for (u32 i = 0; i < thread_high; i++) if (threads[i].state == THREAD_SIGNAL) waited |= threads[i].waiting_for;
  u64 blocked = thread ? thread->blocked : current->blocked;
  if (ignored(signal) && !(blocked & bit(signal)) && !(waited & bit(signal))) return;
  infos[signal] = (struct siginfo){ .signal = signal, .code = code, .value = { value } };
  if (thread) thread->pending |= bit(signal);
  else process_pending |= bit(signal);
  if (thread != current) more_runnable(); /* a thread that waits may have to be woken for it: the host ticks */
}

void signals_from_host(void) {
  u64 set = __atomic_exchange_n(&bell->host_signals, 0, __ATOMIC_SEQ_CST);
  for (int signal = 1; set; signal++, set >>= 1) if (set & 1) signal_send(0, signal, 0x80 /* SI_KERNEL */, 0);
}

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
  struct action *action = &actions[signal];
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

/* Calls that go on after a handler with SA_RESTART, as signal(7) lists them. */
static int restartable(u64 number) {
  switch (number) {
    case 0: case 1: case 2: case 16: case 17: case 18: case 19: case 20: case 40: case 61: case 73: case 202: case 257: case 295: case 296: return 1;
    default: return 0;
  }
}

static int valid_user_state(const struct frame *f) { return f->rip < USER_END; }

void signals_deliver(void) {
  struct frame *f = &current->frame;
  struct siginfo info;
  int signal;
  while ((signal = signal_take(current, ~current->blocked, &info))) {
    struct action *action = &actions[signal];
    if (signal == SIGKILL) fatal(signal, info.code, 0, 0);
    if (ignored(signal)) continue;
    if (action->handler == SIG_DFL) fatal(signal, info.code, info.value[0], info.code > 0 && info.code != 0x80 ? 1 : 0);
    if (current->in_syscall && f->rax == (u64)-EINTR && action->flags & SA_RESTART && restartable(f->orig_rax)) {
      f->rax = f->orig_rax;
      f->rip -= 2;
    }
    current->in_syscall = 0;
    if (push_frame(signal, &info)) {
      /* No room for the frame: SIGSEGV, and if that has the same trouble the end. */
      if (signal == SIGSEGV) fatal(SIGSEGV, 0x80, f->rsp, 1);
      actions[SIGSEGV].handler = SIG_DFL;
      current->blocked &= ~bit(SIGSEGV);
      signal_send(current, SIGSEGV, 0x80, 0);
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
  if (current->blocked & bit(signal) || actions[signal].handler == SIG_DFL || actions[signal].handler == SIG_IGN) fatal(signal, code, address, 1);
  current->in_syscall = 0;
  infos[signal] = (struct siginfo){ .signal = signal, .code = code, .value = { address } };
  current->pending |= bit(signal);
  current->frame.orig_rax = -1;
  signals_deliver();
  enter_user(&current->frame);
}

/* ---- system calls */

s64 sys_rt_sigaction(u64 signal, u64 action, u64 old, u64 size) {
  struct action new;
  if (size != 8 || signal < 1 || signal > SIGNALS || (action && UNBLOCKABLE & bit(signal))) return -EINVAL;
  if (action && copy_from_user(&new, action, sizeof new)) return -EFAULT;
  if (old && copy_to_user(old, &actions[signal], sizeof new)) return -EFAULT;
  if (action) {
    actions[signal] = new;
    actions[signal].mask &= ~UNBLOCKABLE;
    if (ignored((int)signal)) {
      process_pending &= ~bit(signal);
      for (u32 i = 0; i < thread_high; i++) threads[i].pending &= ~bit(signal);
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
  u64 pending = (current->pending | process_pending) & current->blocked;
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

static struct thread *thread_of(s32 tid) {
  for (u32 i = 0; i < thread_high; i++) if (threads[i].state != THREAD_FREE && (s32)threads[i].tid == tid) return &threads[i];
  return 0;
}

/* SI_USER with the sender's pid and uid in the value. */
static u64 sender(void) { return boot->uid << 32 | boot->pid; }

s64 sys_kill(s32 pid, s32 signal) {
  if ((u32)signal > SIGNALS) return -EINVAL;
  /* The process itself, its group, and everyone are the same; nobody else is there. */
  if (pid != (s32)boot->pid && pid != 0 && pid != -1 && pid != -(s32)boot->pid) return -ESRCH;
  if (pid == -1) return -ESRCH; /* everyone but the caller */
  if (signal) signal_send(0, signal, 0, sender());
  return 0;
}

s64 sys_tgkill(s32 tgid, s32 tid, s32 signal) {
  if ((u32)signal > SIGNALS || tgid <= 0 || tid <= 0) return -EINVAL;
  struct thread *thread = tgid == (s32)boot->pid ? thread_of(tid) : 0;
  if (!thread) return -ESRCH;
  if (signal) signal_send(thread, signal, -6 /* SI_TKILL */, sender());
  return 0;
}

/* Registers as the handler's frame has them now. */
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
