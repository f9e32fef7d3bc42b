/* Threads of the program on the one processor: who runs, who waits, floating-point state, futexes. */
#include "kernel.h"

struct thread threads[MAX_THREADS] __attribute__((aligned(64)));
struct thread *current;
u32 thread_high;
static u32 next_tid;
void set_kernel_stack(struct thread *thread);

/* ---- floating point */

u32 fpu_bytes = 512;
u64 fpu_mask;
int fpu_has_xsave;

static u8 fpu_initial[FPU_SIZE] __attribute__((aligned(64)));

void fpu_init(void) {
  u32 a, b, c, d;
  cpuid(1, 0, &a, &b, &c, &d);
  if (c & 1 << 27) { /* OSXSAVE */
    cpuid(13, 0, &a, &b, &c, &d);
    u64 mask = ((u64)d << 32 | a) & 7; /* x87, SSE, AVX: larger state would make every signal frame and thread large */
    __asm__ volatile("xsetbv" : : "c"(0), "a"((u32)mask), "d"((u32)(mask >> 32)));
    cpuid(13, 0, &a, &b, &c, &d);
    if (b <= FPU_SIZE) {
      fpu_has_xsave = 1;
      fpu_mask = mask;
      fpu_bytes = b;
    }
  }
  __asm__ volatile("fninit\n\tldmxcsr %0" : : "m"(*(u32[]){ 0x1f80 }));
  fpu_save(fpu_initial);
}

void fpu_save(void *area) {
  if (fpu_has_xsave) __asm__ volatile("xsave64 (%0)" : : "r"(area), "a"((u32)fpu_mask), "d"((u32)(fpu_mask >> 32)) : "memory");
  else __asm__ volatile("fxsave64 (%0)" : : "r"(area) : "memory");
}

void fpu_restore(const void *area) {
  if (fpu_has_xsave) __asm__ volatile("xrstor64 (%0)" : : "r"(area), "a"((u32)fpu_mask), "d"((u32)(fpu_mask >> 32)) : "memory");
  else __asm__ volatile("fxrstor64 (%0)" : : "r"(area) : "memory");
}

/* ---- who runs */

enum { MSR_FS_BASE = 0xc0000100, MSR_GS_BASE = 0xc0000101 };

void threads_init(void) {
  next_tid = (u32)boot->pid;
  current = &threads[0];
  current->state = THREAD_READY;
  current->tid = next_tid++;
  thread_high = 1;
  bell->threads = 1;
  set_kernel_stack(current);
}

static void switch_to(struct thread *thread) {
  if (thread == current) return;
  fpu_save(current->fpu);
  current->fs_base = rdmsr(MSR_FS_BASE);
  current->gs_base = rdmsr(MSR_GS_BASE);
  current = thread;
  fpu_restore(current->fpu);
  wrmsr(MSR_FS_BASE, current->fs_base);
  wrmsr(MSR_GS_BASE, current->gs_base);
  set_kernel_stack(current);
}

/* Calls that go on after a signal with SA_RESTART handler did not run, or whose wait ended, are rung again. */
static void retry_host_calls(void) {
  for (u32 i = 0; i < thread_high; i++) {
    struct thread *thread = &threads[i];
    int waits = thread->state == THREAD_HOST || ((thread->state == THREAD_FUTEX || thread->state == THREAD_SIGNAL) && thread->host_timed);
    u32 interrupted = 0;
    if (thread->state == THREAD_FREE || thread->state == THREAD_READY) continue;
    if (thread->state == THREAD_SIGNAL && thread->waiting_for) {
      u8 info[128];
      int signal = signal_take(thread, thread->waiting_for, info);
      if (signal) {
        if (thread->frame.rsi && copy_to_user(thread->frame.rsi, info, 128)) thread->frame.rax = -EFAULT;
        else thread->frame.rax = signal;
        thread->state = THREAD_READY;
        continue;
      }
    }
    if (signal_waits(thread)) interrupted = RING_INTERRUPTED;
    if (!waits && !interrupted) continue;
    if (waits) {
      if (!host_syscall(thread, RING_CONTINUED | interrupted)) continue;
    } else thread->frame.rax = -EINTR;
    thread->state = THREAD_READY;
  }
}

static struct thread *next_ready(int rotate) {
  u32 start = current - threads;
  for (u32 i = 0; i < thread_high; i++) {
    struct thread *thread = &threads[(start + rotate + i) % thread_high];
    if (thread->state == THREAD_READY) return thread;
  }
  return 0;
}

void schedule(int rotate) {
  struct thread *next;
  retry_host_calls();
  while (!(next = next_ready(rotate))) {
    bell->runnable = 0; /* nobody: no ticks */
    wait_for_interrupt();
    if (bell->host_signals) signals_from_host();
    retry_host_calls();
  }
  u32 ready = 0, before = bell->runnable;
  for (u32 i = 0; i < thread_high; i++) ready += threads[i].state == THREAD_READY;
  bell->runnable = ready;
  /* The one that runs now may make no call for a long time, perhaps because it waits for the others */
  if (ready > 1 && before <= 1) ring(OP_TICK);
  switch_to(next);
  if (signal_waits(current) || current->restore_blocked) signals_deliver();
  current->in_syscall = 0;
  enter_user(&current->frame);
}

enum { CLONE_VM = 0x100, CLONE_SIGHAND = 0x800, CLONE_THREAD = 0x10000, CLONE_SETTLS = 0x80000, CLONE_PARENT_SETTID = 0x100000,
  CLONE_CHILD_CLEARTID = 0x200000, CLONE_CHILD_SETTID = 0x1000000 };

/* Threads only: there is one process, and the host is told of attempts to make another. */
s64 sys_clone(u64 flags, u64 stack, u64 parent_tid, u64 child_tid, u64 tls, int *known) {
  u64 needed = CLONE_VM | CLONE_SIGHAND | CLONE_THREAD;
  if ((flags & needed) != needed) {
    *known = 0;
    return 0;
  }
  u32 slot = 0;
  while (slot < MAX_THREADS && threads[slot].state != THREAD_FREE) slot++;
  if (slot == MAX_THREADS) return -EAGAIN;
  struct thread *thread = &threads[slot];
  memset(thread, 0, sizeof *thread);
  thread->frame = current->frame;
  thread->frame.rax = 0;
  if (stack) thread->frame.rsp = stack;
  fpu_save(thread->fpu);
  thread->fs_base = flags & CLONE_SETTLS ? tls : rdmsr(MSR_FS_BASE);
  thread->gs_base = rdmsr(MSR_GS_BASE);
  if (thread->fs_base >= USER_END) {
    return -EPERM;
  }
  thread->tid = next_tid++;
  thread->blocked = current->blocked;
  thread->altstack.flags = 2; /* SS_DISABLE */
  if (flags & CLONE_CHILD_CLEARTID) thread->clear_tid = child_tid;
  if (flags & CLONE_PARENT_SETTID && copy_to_user(parent_tid, &thread->tid, 4)) return -EFAULT;
  if (flags & CLONE_CHILD_SETTID) copy_to_user(child_tid, &thread->tid, 4);
  thread->state = THREAD_READY;
  if (slot >= thread_high) thread_high = slot + 1;
  more_runnable();
  bell->threads++;
  return thread->tid;
}

static u64 wake(u64 address, u64 count, u32 bits) {
  u64 woken = 0;
  for (u32 i = 0; i < thread_high && woken < count; i++) {
    struct thread *thread = &threads[i];
    if (thread->state != THREAD_FUTEX || thread->futex_address != address || !(thread->futex_bits & bits)) continue;
    thread->frame.rax = 0;
    thread->state = THREAD_READY;
    more_runnable();
    woken++;
  }
  return woken;
}

enum { FUTEX_OWNER_DIED = 0x40000000, FUTEX_WAITERS = 0x80000000, FUTEX_TID = 0x3fffffff };

/* What a thread that ends still holds: the list at set_robust_list (Documentation/robust-futex-ABI). */
static void release_robust(struct thread *thread) {
  u64 head[3], entry;
  if (!thread->robust_list || copy_from_user(head, thread->robust_list, 24)) return;
  entry = head[0];
  for (int i = 0; i < 2048 && entry != thread->robust_list; i++) {
    u32 word;
    u64 address = entry + head[1];
    if (copy_from_user(&word, address, 4)) return;
    if ((word & FUTEX_TID) == thread->tid) {
      word = (word & FUTEX_WAITERS) | FUTEX_OWNER_DIED;
      copy_to_user(address, &word, 4);
      wake(address, 1, ~0u);
    }
    if (copy_from_user(&entry, entry, 8)) return;
  }
}

void thread_exit(u64 status) {
  struct thread *thread = current;
  if (bell->threads == 1) {
    write_back_all();
    thread->frame.orig_rax = NR_exit_group;
    thread->frame.rdi = status;
    host_syscall(thread, 0);
    for (;;) __asm__ volatile("cli\n\thlt");
  }
  release_robust(thread);
  if (thread->clear_tid) {
    u32 zero = 0;
    copy_to_user(thread->clear_tid, &zero, 4);
    wake(thread->clear_tid, 1, ~0u);
  }
  thread->state = THREAD_FREE;
  thread->pending = 0;
  bell->threads--;
  schedule(1);
}

enum { FUTEX_WAIT = 0, FUTEX_WAKE = 1, FUTEX_REQUEUE = 3, FUTEX_CMP_REQUEUE = 4, FUTEX_WAIT_BITSET = 9, FUTEX_WAKE_BITSET = 10 };

s64 sys_futex(u64 address, u64 op, u64 value, u64 timeout, u64 address2, u64 value3, int *blocked) {
  u32 word, bits = ~0u;
  switch (op & 0x7f) {
    case FUTEX_WAIT_BITSET:
      bits = (u32)value3;
      /* fall through */
    case FUTEX_WAIT:
      if (address & 3 || !bits) return -EINVAL;
      if (copy_from_user(&word, address, 4)) return -EFAULT;
      if (word != (u32)value) return -EAGAIN;
      current->futex_address = address;
      current->futex_bits = bits;
      current->host_timed = timeout != 0;
      current->state = THREAD_FUTEX;
      *blocked = 1;
      /* With a timeout the host watches the clock; its answer to the call is the timeout's. */
      if (timeout && host_syscall(current, 0)) {
        current->state = THREAD_READY;
        *blocked = 0;
        return current->frame.rax;
      }
      return 0;
    case FUTEX_WAKE_BITSET:
      bits = (u32)value3;
      if (!bits) return -EINVAL;
      /* fall through */
    case FUTEX_WAKE:
      if (address & 3) return -EINVAL;
      return wake(address, (s32)value > 0 ? (s32)value : 1, bits);
    case FUTEX_CMP_REQUEUE:
      if (copy_from_user(&word, address, 4)) return -EFAULT;
      if (word != (u32)value3) return -EAGAIN;
      /* fall through */
    case FUTEX_REQUEUE: {
      u64 moved = wake(address, value, ~0u);
      for (u32 i = 0, left = (u32)timeout; i < thread_high && left; i++) {
        if (threads[i].state != THREAD_FUTEX || threads[i].futex_address != address) continue;
        threads[i].futex_address = address2;
        moved++;
        left--;
      }
      return moved;
    }
    default: return -ENOSYS;
  }
}

enum { ARCH_SET_GS = 0x1001, ARCH_SET_FS, ARCH_GET_FS, ARCH_GET_GS };

s64 sys_arch_prctl(u64 code, u64 address) {
  u64 base;
  switch (code) {
    case ARCH_SET_FS: case ARCH_SET_GS:
      if (address >= USER_END) return -EPERM;
      wrmsr(code == ARCH_SET_FS ? MSR_FS_BASE : MSR_GS_BASE, address);
      return 0;
    case ARCH_GET_FS: case ARCH_GET_GS:
      base = rdmsr(code == ARCH_GET_FS ? MSR_FS_BASE : MSR_GS_BASE);
      return copy_to_user(address, &base, 8) ? -EFAULT : 0;
    default: return -EINVAL;
  }
}
