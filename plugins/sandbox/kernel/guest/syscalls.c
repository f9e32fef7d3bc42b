/* System calls and exceptions of user mode: what the kernel serves itself, and the way to the host for the rest. */
#include "kernel.h"
#include "signals.h"

static void tell(struct thread *thread) {
  struct frame *frame = &thread->frame;
  struct process *process = thread->process;
  bell->number = frame->orig_rax;
  bell->args[0] = frame->rdi;
  bell->args[1] = frame->rsi;
  bell->args[2] = frame->rdx;
  bell->args[3] = frame->r10;
  bell->args[4] = frame->r8;
  bell->args[5] = frame->r9;
  bell->tid = thread->tid;
  bell->pid = process->pid;
  bell->parent = process->parent ? process->parent->pid : 1;
  bell->group = process->group;
  bell->session = process->session;
  bell->pending = thread->pending.set | process->pending.set;
  bell->now = charge();
  bell->thread_cpu = thread->cpu;
  bell->process_cpu = process->cpu;
  bell->children_cpu = process->children_cpu;
}

/* Takes what the host answered. 1: the call is done. */
int host_syscall(struct thread *thread, u32 flags) {
  struct frame *frame = &thread->frame;
  for (;;) {
    tell(thread);
    bell->flags = flags;
    ring(OP_SYSCALL);
    flags |= RING_CONTINUED;
    if (bell->cut_root) {
      object_cut(bell->cut_root, bell->cut_size);
      bell->cut_root = 0;
    }
    switch (bell->status) {
      case STATUS_DONE:
        frame->rax = bell->result;
        return 1;
      case STATUS_BLOCKED:
        return 0;
      case STATUS_EXEC:
        process_exec();
      case STATUS_NEED_SIGNAL:
        bell->signal_info.signal = 0;
        signal_take(thread, bell->need_address, &bell->signal_info);
        flags |= RING_SIGNAL;
        break;
      default:
        if (fault_in(bell->need_address, bell->need_length, bell->need_write)) flags |= RING_FAULT;
    }
  }
}

/* Serves a call here. Sets *known to 0 when it is the host's, *blocked to 1 when it has no result yet. */
static s64 serve(struct frame *f, int *known, int *blocked) {
  switch (f->orig_rax) {
    case NR_mmap: return sys_mmap(f->rdi, f->rsi, f->rdx, f->r10, f->r8, f->r9);
    case NR_mprotect: return sys_mprotect(f->rdi, f->rsi, f->rdx);
    case NR_munmap: return sys_munmap(f->rdi, f->rsi);
    case NR_brk: return sys_brk(f->rdi);
    case NR_mremap: return sys_mremap(f->rdi, f->rsi, f->rdx, f->r10, f->r8);
    case NR_madvise: return sys_madvise(f->rdi, f->rsi, f->rdx);
    case NR_msync: return sys_msync(f->rdi, f->rsi, f->rdx);
    case NR_mincore: return sys_mincore(f->rdi, f->rsi, f->rdx);
    case NR_mlock: case NR_mlock2: case NR_munlock: case NR_mlockall: case NR_munlockall: return 0; /* nothing is ever paged out */
    case NR_rt_sigaction: return sys_rt_sigaction(f->rdi, f->rsi, f->rdx, f->r10);
    case NR_rt_sigprocmask: return sys_rt_sigprocmask(f->rdi, f->rsi, f->rdx, f->r10);
    case NR_rt_sigpending: return sys_rt_sigpending(f->rdi, f->rsi);
    case NR_rt_sigsuspend: {
      s64 result = sys_rt_sigsuspend(f->rdi, f->rsi);
      *blocked = result == 0;
      return result;
    }
    case NR_rt_sigtimedwait: return sys_rt_sigtimedwait(f->rdi, f->rsi, f->rdx, f->r10, blocked);
    case NR_pause:
      current->waiting_for = 0;
      current->host_timed = 0;
      current->state = THREAD_SIGNAL;
      *blocked = 1;
      return 0;
    case NR_sigaltstack: return sys_sigaltstack(f->rdi, f->rsi);
    case NR_kill: return sys_kill((s32)f->rdi, (s32)f->rsi);
    case NR_tkill: return sys_tgkill(0, (s32)f->rdi, (s32)f->rsi);
    case NR_tgkill: return (s32)f->rdi > 0 ? sys_tgkill((s32)f->rdi, (s32)f->rsi, (s32)f->rdx) : -EINVAL;
    case NR_rt_sigqueueinfo: return sys_sigqueue((s32)f->rdi, 0, (s32)f->rsi, f->rdx);
    case NR_rt_tgsigqueueinfo: return (s32)f->rdi > 0 && (s32)f->rsi > 0 ? sys_sigqueue((s32)f->rdi, (s32)f->rsi, (s32)f->rdx, f->r10) : -EINVAL;
    case NR_sched_yield: return 0;
    case NR_getpid: return current->process->pid;
    case NR_getppid: return current->process->parent ? current->process->parent->pid : 1;
    case NR_setpgid: return sys_setpgid((u32)f->rdi, (u32)f->rsi);
    case NR_getpgrp: return current->process->group;
    case NR_getpgid: return sys_getpgid((u32)f->rdi, 0);
    case NR_getsid: return sys_getpgid((u32)f->rdi, 1);
    case NR_setsid: return sys_setsid();
    case NR_wait4: return sys_wait4((s32)f->rdi, f->rdx, blocked);
    case NR_waitid: return sys_waitid(f->rdi, (u32)f->rsi, f->r10, blocked);
    case NR_gettid: return current->tid;
    case NR_set_tid_address:
      current->clear_tid = f->rdi;
      return current->tid;
    case NR_set_robust_list:
      if (f->rsi != 24) return -EINVAL;
      current->robust_list = f->rdi;
      return 0;
    case NR_clone: return sys_clone(f->rdi, f->rsi, f->rdx, f->r10, f->r8, blocked);
    case NR_fork: return sys_clone(SIGCHLD, 0, 0, 0, 0, blocked);
    case NR_vfork: return sys_clone(CLONE_VFORK | CLONE_VM | SIGCHLD, 0, 0, 0, 0, blocked);
    case NR_futex: return sys_futex(f->rdi, f->rsi, f->rdx, f->r10, f->r8, f->r9, blocked);
    case NR_arch_prctl: return sys_arch_prctl(f->rdi, f->rsi);
    default:
      *known = 0;
      return 0;
  }
}

/* Calls that wait with other signals blocked than usual: ppoll, pselect6, epoll_pwait, epoll_pwait2. */
static void mask_while_waiting(struct frame *f) {
  u64 mask, given[2] = { 0, 0 };
  if (f->orig_rax == NR_ppoll) { given[0] = f->r10; given[1] = f->r8; }
  else if (f->orig_rax == NR_epoll_pwait || f->orig_rax == NR_epoll_pwait2) { given[0] = f->r8; given[1] = f->r9; }
  else if (f->orig_rax != NR_pselect6 || !f->r9 || copy_from_user(given, f->r9, 16)) return;
  if (!given[0] || given[1] != 8 || copy_from_user(&mask, given[0], 8)) return;
  current->saved_blocked = current->blocked;
  current->restore_blocked = 1;
  current->blocked = mask & ~UNBLOCKABLE;
}

#define NO_RESULT (-512)

static void trace(struct thread *thread, s64 result) {
  if (!(boot->flags & BOOT_TRACE)) return;
  tell(thread);
  bell->result = result;
  ring(OP_TRACE);
}

void __attribute__((noreturn)) system_call(struct frame *frame) {
  int known = 1, blocked = 0;
  u64 number = frame->orig_rax;
  current->in_syscall = 1;
  frame->rax = -ENOSYS;
  if (number == NR_rt_sigreturn) {
    sys_rt_sigreturn();
    u64 now = frame->orig_rax;
    frame->orig_rax = number;
    trace(current, frame->rax);
    frame->orig_rax = now;
    current->in_syscall = 0;
    signals_deliver();
    enter_user(frame);
  }
  if (number == NR_exit) {
    trace(current, 0);
    thread_exit(frame->rdi);
  }
  if (number == NR_exit_group) {
    trace(current, NO_RESULT);
    futex_leave(current);
    process_end(current->process, (frame->rdi & 0xff) << 8);
    schedule(1);
  }
  s64 result = serve(frame, &known, &blocked);
  if (!known) {
    mask_while_waiting(frame);
    if (!host_syscall(current, 0)) {
      current->state = THREAD_HOST;
      blocked = 1;
    }
    if (bell->host_signal_count) signals_from_host();
  } else if (!blocked) {
    frame->rax = result;
    trace(current, result);
  } else trace(current, current->state == THREAD_VFORK ? result : NO_RESULT);
  if (blocked || number == NR_sched_yield) schedule(1);
  if (signal_waits(current) || current->restore_blocked) {
    signals_deliver();
    current->in_syscall = 0;
    enter_user(frame);
  }
  current->in_syscall = 0;
  enter_user_sysret(frame);
}

/* INT1 sets nothing in DR6, a single step does (SDM 3B, 18.2.3). */
static s32 debug_code(void) {
  u64 status;
  __asm__ volatile("mov %%dr6, %0" : "=r"(status));
  __asm__ volatile("mov %0, %%dr6" : : "r"(0xffff0ff0ul));
  return status & 1 << 14 ? TRAP_TRACE : TRAP_BRKPT;
}

/* Linux's signal and si_code of each exception (arch/x86/kernel/traps.c does the same). */
static void __attribute__((noreturn)) exception_signal(u32 vector, struct frame *frame) {
  switch (vector) {
    case 0: signal_fault(SIGFPE, FPE_INTDIV, frame->rip);
    case 1: signal_fault(SIGTRAP, debug_code(), frame->rip);
    case 3: signal_fault(SIGTRAP, SI_KERNEL, 0);
    case 6: signal_fault(SIGILL, ILL_ILLOPN, frame->rip);
    case 16: signal_fault(SIGFPE, FPE_FLTDIV, frame->rip);
    case 19: {
      fpu_save(current->fpu);
      u32 mxcsr = *(u32 *)(current->fpu + 24), raised = ~(mxcsr >> 7) & mxcsr;
      signal_fault(SIGFPE, raised & 1 ? FPE_FLTINV : raised & 4 ? FPE_FLTDIV : raised & 8 ? FPE_FLTOVF : raised & 0x12 ? FPE_FLTUND : raised & 0x20 ? FPE_FLTRES : FPE_FLTSUB,
        frame->rip);
    }
    case 17: signal_fault(SIGBUS, BUS_ADRALN, 0);
    case 11: case 12: signal_fault(SIGBUS, SI_KERNEL, 0);
    default: signal_fault(SIGSEGV, SI_KERNEL, 0);
  }
}

void syscall_entry(void);

/* In the order of the vector's stub: the frame is the current thread's own. */
void __attribute__((noreturn)) user_exception(u64 vector, struct frame *frame) {
  if (vector == 14) {
    u64 address;
    __asm__ volatile("mov %%cr2, %0" : "=r"(address));
    u64 error = frame->orig_rax;
    /* A hypervisor that carries out SYSCALL but leaves the privilege level: the call arrives as a fault at its entry. */
    if (address == (u64)syscall_entry && frame->rip == address) {
      frame->orig_rax = frame->rax;
      frame->rip = frame->rcx;
      frame->rflags = frame->r11;
      system_call(frame);
    }
    int outcome = address < USER_END ? fault(address, error >> 1 & 1, error >> 4 & 1) : FAULT_MAPERR;
    if (outcome == FAULT_OK) enter_user(frame);
    if (outcome == FAULT_OOM) {
      out_of_memory();
      enter_user(frame); /* once more */
    }
    bell->trap = 14;
    bell->error = (u32)error;
    signal_fault(outcome == FAULT_BUS ? SIGBUS : SIGSEGV, outcome == FAULT_BUS ? BUS_ADRERR : outcome /* SEGV_MAPERR, SEGV_ACCERR */, address);
  } else if (vector == WAKE_VECTOR) {
    if (bell->host_signal_count) signals_from_host();
    schedule(1);
  } else {
    if (vector == 13 && emulate_umip(frame)) enter_user(frame);
    bell->trap = (u32)vector;
    bell->error = (u32)frame->orig_rax;
    exception_signal((u32)vector, frame);
  }
}

void kernel_exception(u64 vector, struct frame *frame) {
  if (vector == WAKE_VECTOR) return;
  bell->trap = (u32)vector;
  bell->error = (u32)frame->orig_rax;
  __asm__ volatile("mov %%cr2, %0" : "=r"(bell->fault_address));
  bell->frame = *frame;
  panic("an exception in the kernel");
}
