/* Handlers of signals: the frame on the user's stack that one runs on, the way back, and what happens without one. */
#include "kernel.h"
#include "signals.h"

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
    fpu_reset();
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
  struct action *action = &current->process->actions[signal];
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

/* Calls that go on after a handler with SA_RESTART, as signal(7) lists them: reads and writes, ioctl, wait, locks, sockets, futex, open. */
static int restartable(u64 number) {
  switch (number) {
    case NR_read: case NR_write: case NR_open: case NR_ioctl: case NR_pread64: case NR_pwrite64: case NR_readv: case NR_writev: case NR_sendfile:
    case NR_sendto: case NR_recvfrom: case NR_sendmsg: case NR_recvmsg: case NR_wait4: case NR_flock: case NR_fcntl: case NR_futex: case NR_waitid: case NR_openat:
    case NR_splice: case NR_tee: case NR_preadv: case NR_pwritev: return 1;
    default: return 0;
  }
}

/* The current process ends by a signal; cause: CAUSE_*. */
static void __attribute__((noreturn)) signal_end(int signal, s32 code, u64 address, u32 cause) {
  if (current->process == first_process) fatal(signal, code, address, cause);
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
  signal_end(signal, info->code, info->value[0], info->code > SI_USER && info->code != SI_KERNEL ? CAUSE_FAULT : CAUSE_SENT);
}

/*
 * A thread that waits stops where it is, for signals whose default that is, and goes on waiting when its process is continued: only a handler ends a
 * call (signal(7); the calls that Linux ends even then, such as epoll_wait, go on here too). 1: other signals wait, which end it.
 */
int signals_interrupt(struct thread *thread) {
  struct process *process = thread->process;
  u64 ready = (thread->pending.set | process->pending.set) & ~thread->blocked;
  if (ready & ~STOPPING) return 1;
  for (int signal = SIGTSTP; signal <= SIGTTOU; signal++) if (ready & bit(signal) && process->actions[signal].handler != SIG_DFL) return 1;
  struct siginfo info;
  for (int signal; (signal = signal_take(thread, ready, &info));) process_stop(process, (u32)signal);
  return 0;
}

void signals_deliver(void) {
  struct frame *f = &current->frame;
  struct siginfo info;
  int signal;
  while ((signal = signal_take(current, ~current->blocked, &info))) {
    struct action *action = &current->process->actions[signal];
    if (signal_ignored(current->process, signal) && signal != SIGKILL && signal != SIGSTOP) continue;
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
      if (signal == SIGSEGV) signal_end(SIGSEGV, SI_KERNEL, f->rsp, CAUSE_FAULT);
      current->process->actions[SIGSEGV].handler = SIG_DFL;
      current->blocked &= ~bit(SIGSEGV);
      signal_send(current->process, current, &(struct siginfo){ .signal = SIGSEGV, .code = SI_KERNEL });
    }
  }
  if (current->restore_blocked) {
    current->blocked = current->saved_blocked;
    current->restore_blocked = 0;
    if (signal_waits(current)) signals_deliver();
  }
}

void signal_fault(int signal, s32 code, u64 address) {
  u64 handler = current->process->actions[signal].handler;
  if (current->blocked & bit(signal) || handler == SIG_DFL || handler == SIG_IGN) signal_end(signal, code, address, CAUSE_FAULT);
  struct siginfo info = { .signal = signal, .code = code, .value = { address } };
  current->in_syscall = 0;
  current->frame.orig_rax = -1;
  signal_add(&current->pending, &info);
  signals_deliver();
  enter_user(&current->frame);
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

void sys_rt_sigreturn(void) {
  struct frame *f = &current->frame;
  struct signal_frame frame;
  u64 at = f->rsp - 8;
  current->in_syscall = 0;
  if (copy_from_user(&frame, at, sizeof frame) || pop_fpu(frame.user.context.fpu)) signal_fault(SIGSEGV, SI_KERNEL, at);
  struct context *c = &frame.user.context;
  f->r8 = c->r8; f->r9 = c->r9; f->r10 = c->r10; f->r11 = c->r11; f->r12 = c->r12; f->r13 = c->r13; f->r14 = c->r14; f->r15 = c->r15;
  f->rdi = c->rdi; f->rsi = c->rsi; f->rbp = c->rbp; f->rbx = c->rbx; f->rdx = c->rdx; f->rax = c->rax; f->rcx = c->rcx; f->rsp = c->rsp; f->rip = c->rip;
  /* The flags that a program may change: AC, OF, DF, TF, SF, ZF, AF, PF, CF, RF. */
  f->rflags = (f->rflags & ~0x50dd5ul) | (c->rflags & 0x50dd5) | 0x202;
  f->orig_rax = -1;
  current->blocked = frame.user.mask & ~UNBLOCKABLE;
  current->altstack = (struct sigaltstack){ frame.user.stack.base, frame.user.stack.flags & (s32)~SS_ONSTACK, 0, frame.user.stack.size };
  if (f->rip >= USER_END) signal_fault(SIGSEGV, SI_KERNEL, 0);
}
