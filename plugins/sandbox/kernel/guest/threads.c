/* Threads on the one processor: who runs, who waits, floating-point state. */
#include "kernel.h"
#include "memory.h"
#include "signals.h"

struct thread *threads[MAX_THREADS];
struct thread *current;
u32 thread_high;
static u32 thread_count, next_id;

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

void fpu_reset(void) { fpu_restore(fpu_initial); }

void fpu_save(void *area) {
  if (fpu_has_xsave) __asm__ volatile("xsave64 (%0)" : : "r"(area), "a"((u32)fpu_mask), "d"((u32)(fpu_mask >> 32)) : "memory");
  else __asm__ volatile("fxsave64 (%0)" : : "r"(area) : "memory");
}

void fpu_restore(const void *area) {
  if (fpu_has_xsave) __asm__ volatile("xrstor64 (%0)" : : "r"(area), "a"((u32)fpu_mask), "d"((u32)(fpu_mask >> 32)) : "memory");
  else __asm__ volatile("fxrstor64 (%0)" : : "r"(area) : "memory");
}

/* ---- who is there */

u32 new_id(void) {
  if (!next_id) next_id = (u32)boot->pid;
  return next_id++;
}

struct thread *thread_after(const struct thread *thread) {
  for (u32 i = thread ? thread->slot + 1 : 0; i < thread_high; i++) if (threads[i] && threads[i]->state != THREAD_FREE) return threads[i];
  return 0;
}

struct thread *thread_of_process(const struct process *process) {
  each_thread(thread) if (thread->process == process) return thread;
  return 0;
}

struct thread *thread_of(u32 tid) {
  each_thread(thread) if (thread->tid == tid) return thread;
  return 0;
}

/* A thread that is not ready yet, in the lowest free slot. */
struct thread *thread_new(struct process *process, u32 tid) {
  u32 slot = 0;
  while (slot < MAX_THREADS && threads[slot]) slot++;
  if (slot == MAX_THREADS || thread_count >= boot->threads) return 0;
  struct thread *thread = frame_alloc();
  if (!thread) return 0;
  thread->tid = tid;
  thread->slot = slot;
  thread->process = process;
  thread->altstack.flags = SS_DISABLE;
  threads[slot] = thread;
  thread_high = max(thread_high, slot + 1);
  thread_count++;
  process->threads++;
  return thread;
}

/* The current one too: what is left of it is not looked at any more. */
void thread_gone(struct thread *thread) {
  charge();
  bell->tid = thread->tid;
  ring(OP_THREAD_GONE);
  signals_drop(&thread->pending, ~0ul);
  thread->state = THREAD_FREE;
  threads[thread->slot] = 0;
  while (thread_high && !threads[thread_high - 1]) thread_high--;
  thread_count--;
  thread->process->threads--;
  if (thread == current) current = 0;
  frame_free((u64)thread - DIRECT_MAP);
}

/* ---- who runs */

static u64 charged; /* until then */
static int idle;    /* nobody runs */

u64 charge(void) {
  u32 low, high;
  __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
  u64 now = (u64)high << 32 | low;
  if (current && !idle) {
    current->cpu += now - charged;
    current->process->cpu += now - charged;
  }
  return charged = now;
}

static void switch_to(struct thread *thread) {
  space_use(thread->process->space);
  if (thread == current) return;
  if (current) {
    fpu_save(current->fpu);
    current->fs_base = rdmsr(MSR_FS_BASE);
    current->gs_base = rdmsr(MSR_GS_BASE);
  }
  current = thread;
  fpu_restore(current->fpu);
  wrmsr(MSR_FS_BASE, current->fs_base);
  wrmsr(MSR_GS_BASE, current->gs_base);
  set_kernel_stack(current);
}

/* Whether a thread that waits can go on; its result is in RAX then. `woken`: the host has news. */
static int waited_enough(struct thread *thread, int woken) {
  int at_host = thread->state == THREAD_HOST || thread->host_timed;
  if (thread->state == THREAD_VFORK) return 0;
  if (thread->state == THREAD_WAIT && wait_over(thread)) return 1;
  if (thread->state == THREAD_SIGNAL && thread->waiting_for) {
    struct siginfo info;
    int signal = signal_take(thread, thread->waiting_for, &info);
    if (signal) {
      space_use(thread->process->space);
      thread->frame.rax = thread->frame.rsi && copy_to_user(thread->frame.rsi, &info, sizeof info) ? (u64)-EFAULT : (u64)signal;
      return 1;
    }
  }
  int interrupted = signal_waits(thread) && signals_interrupt(thread);
  if (!interrupted && !(at_host && woken)) return 0;
  if (at_host) {
    space_use(thread->process->space);
    return host_syscall(thread, RING_CONTINUED | (interrupted ? RING_INTERRUPTED : 0)) != 0;
  }
  thread->frame.rax = -EINTR;
  return 1;
}

/* Looks at all that wait. What one of them does may be news to others. */
static void look_at_waiting(void) {
  int woken;
  do {
    woken = bell->woken;
    bell->woken = 0;
    each_thread(thread) {
      if (thread->state == THREAD_READY || !waited_enough(thread, woken)) continue;
      if (thread->state != THREAD_FREE && threads[thread->slot] == thread) {
        thread->state = THREAD_READY;
        thread->host_timed = 0;
      }
    }
  } while (bell->woken);
}

static int can_run(const struct thread *thread) {
  return thread && thread->state == THREAD_READY && (!thread->process->stopped || (thread->process->pending.set | thread->pending.set) & bit(SIGKILL));
}

static struct thread *next_of(int rotate, u32 from, int preempted) {
  for (u32 i = 0; i < thread_high; i++) {
    struct thread *thread = threads[(from + (u32)rotate + i) % thread_high];
    if (can_run(thread) && (preempted || !thread->preempted)) return thread;
  }
  return 0;
}

/*
 * In turn. Threads that have waited for something come before those that could have run on, so that who only passes something on need not wait for
 * all who calculate; when a turn is over by the clock it is anybody's, so that those come to their turn too.
 */
static struct thread *next_ready(int rotate, u32 from, int turn_over) {
  struct thread *waited = turn_over ? 0 : next_of(rotate, from, 0);
  return waited ? waited : next_of(rotate, from, 1);
}

static u32 last_slot; /* of who ran last: it may have ended */

void schedule(int rotate) {
  struct thread *next;
  int turn_over = bell->ticked != 0;
  bell->ticked = 0;
  if (current) {
    last_slot = current->slot;
    current->preempted = current->state == THREAD_READY && (turn_over || current->frame.orig_rax == NR_sched_yield);
  }
  charge();
  look_at_waiting();
  while (!(next = next_ready(rotate, last_slot, turn_over))) {
    bell->runnable = 0; /* nobody: no ticks */
    charge();
    idle = 1;
    wait_for_interrupt();
    if (bell->host_signal_count) signals_from_host();
    look_at_waiting();
  }
  u32 ready = 0, before = bell->runnable;
  for (u32 i = 0; i < thread_high; i++) ready += can_run(threads[i]);
  bell->runnable = ready;
  /* The one that runs now may make no call for a long time, perhaps because it waits for the others */
  if (ready > 1 && before <= 1) ring(OP_TICK);
  charge();
  idle = 0;
  switch_to(next);
  last_slot = next->slot;
  if (signal_waits(current) || current->restore_blocked) signals_deliver();
  current->in_syscall = 0;
  enter_user(&current->frame);
}

void thread_starts(struct thread *thread, u64 flags, u64 stack, u64 child_tid, u64 tls) {
  thread->frame = current->frame;
  thread->frame.rax = 0;
  if (stack) thread->frame.rsp = stack;
  fpu_save(thread->fpu);
  thread->fs_base = flags & CLONE_SETTLS ? tls : rdmsr(MSR_FS_BASE);
  thread->gs_base = rdmsr(MSR_GS_BASE);
  thread->blocked = current->blocked;
  if (!(flags & CLONE_VM) || flags & CLONE_VFORK) thread->altstack = current->altstack;
  if (flags & CLONE_CHILD_CLEARTID) thread->clear_tid = child_tid;
  thread->state = THREAD_READY;
  more_runnable();
}

void thread_exit(u64 status) {
  futex_leave(current);
  if (current->process->threads == 1) process_end(current->process, (status & 0xff) << 8);
  else {
    last_slot = current->slot;
    thread_gone(current);
  }
  schedule(1);
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
