/*
 * The sandbox's kernel: types, and what its files share. It runs one Linux program in ring 3 of a virtual machine, keeps that
 * program's memory, threads and signals, and passes every other system call to the host through the doorbell.
 *
 * It never touches user addresses: user memory is reached page by page through the direct map, after a look at the page tables.
 */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef int s32;
typedef long s64;

#include "abi.h"

#define PAGE 4096ul
#define PAGE_MASK (~(PAGE - 1))
#define page_down(x) ((x) & PAGE_MASK)
#define page_up(x) (((x) + PAGE - 1) & PAGE_MASK)
#define min(a, b) ((a) < (b) ? (a) : (b))
#define max(a, b) ((a) > (b) ? (a) : (b))

/* All of RAM is mapped from here on; the kernel itself at KERNEL_BASE + its physical address. */
#define DIRECT_MAP 0xffff888000000000ul
#define KERNEL_BASE 0xffffffff80000000ul
#define direct(gpa) ((void *)(DIRECT_MAP + (gpa)))

/* User space, as on Linux: the last page below the canonical hole is never mapped, so that SYSRET never meets it. */
#define USER_END 0x7ffffffff000ul
#define STACK_TOP USER_END
#define STACK_SIZE (8ul << 20)
#define MMAP_TOP (STACK_TOP - (256ul << 20))
#define MMAP_LOWEST 0x10000ul
#define PIE_BASE 0x555555554000ul

/* Selectors have Linux's values: programs see them in signal frames. */
#define KERNEL_CS 0x10
#define KERNEL_DS 0x18
#define USER_DS 0x2b
#define USER_CS 0x33

enum { EPERM = 1, ENOENT = 2, ESRCH = 3, EINTR = 4, EAGAIN = 11, ENOMEM = 12, EFAULT = 14, EINVAL = 22, ENOSYS = 38, ETIMEDOUT = 110, EOVERFLOW = 75, EEXIST = 17, ENODEV = 19, EACCES = 13 };

/* Numbers of the system calls that the kernel serves itself (Linux, arch/x86/entry/syscalls/syscall_64.tbl). */
enum {
  NR_mmap = 9, NR_mprotect = 10, NR_munmap = 11, NR_brk = 12, NR_rt_sigaction = 13, NR_rt_sigprocmask = 14, NR_rt_sigreturn = 15,
  NR_sched_yield = 24, NR_mremap = 25, NR_msync = 26, NR_mincore = 27, NR_madvise = 28, NR_pause = 34, NR_getpid = 39, NR_clone = 56,
  NR_exit = 60, NR_kill = 62, NR_rt_sigpending = 127, NR_rt_sigtimedwait = 128, NR_rt_sigqueueinfo = 129,
  NR_rt_sigsuspend = 130, NR_sigaltstack = 131, NR_mlock = 149, NR_munlock = 150, NR_mlockall = 151, NR_munlockall = 152, NR_arch_prctl = 158,
  NR_gettid = 186, NR_tkill = 200, NR_futex = 202, NR_set_tid_address = 218, NR_exit_group = 231, NR_tgkill = 234,
  NR_set_robust_list = 273, NR_get_robust_list = 274, NR_mlock2 = 325,
};

enum { PROT_READ = 1, PROT_WRITE = 2, PROT_EXEC = 4 };

/* ---- memory.c: frames, mappings, page faults */

/* What is behind a mapping. */
enum { VMA_ANONYMOUS = 0, VMA_IMAGE = 1, VMA_FILE = 2 };
/* vma.flags */
enum { VMA_SHARED = 1, VMA_STACK = 2, VMA_HEAP = 4 };

/* A mapping of user space. The host reads this table too (abi.h, OP_STARTED). */
struct vma {
  u64 start, end;
  u32 prot;  /* PROT_* */
  u16 kind;  /* VMA_ANONYMOUS, … */
  u16 flags; /* VMA_SHARED, … */
  u64 offset; /* in the file or the image, of `start` */
  u64 handle; /* VMA_FILE: what the host calls the file */
};

extern struct vma vmas[];
extern u64 vma_count;
extern u64 brk_start, brk_end;

void memory_init(void);
void *frame_alloc(void); /* zeroed; 0 when RAM is used up */
void frame_free(void *frame);
struct vma *vma_find(u64 address);
int vma_insert(struct vma vma);
/* Makes the page of `address` present for this access. 0, or the signal that the access earns. */
enum { FAULT_OK = 0, FAULT_MAPERR = 1, FAULT_ACCERR = 2, FAULT_BUS = 3, FAULT_OOM = 4 };
int fault(u64 address, int write, int execute);
/* Makes a range present, as much as there is; 0 or -EFAULT. */
int fault_in(u64 address, u64 length, int write);
int copy_to_user(u64 to, const void *from, u64 length);
int copy_from_user(void *to, u64 from, u64 length);
void write_back_all(void);

s64 sys_brk(u64 address);
s64 sys_mmap(u64 address, u64 length, u64 prot, u64 flags, u64 fd, u64 offset);
s64 sys_munmap(u64 address, u64 length);
s64 sys_mprotect(u64 address, u64 length, u64 prot);
s64 sys_mremap(u64 old, u64 old_size, u64 new_size, u64 flags, u64 to);
s64 sys_madvise(u64 address, u64 length, u64 advice);
s64 sys_msync(u64 address, u64 length, u64 flags);
s64 sys_mincore(u64 address, u64 length, u64 vector);

/* ---- elf.c: the program */
struct program { u64 entry, headers, header_count, base; };
struct program load_program(void);
u64 build_stack(const struct program *program, u64 *arguments);

/* ---- threads.c */
enum { THREAD_FREE = 0, THREAD_READY, THREAD_HOST, THREAD_FUTEX, THREAD_SIGNAL };
#define MAX_THREADS 128
#define FPU_SIZE 4096

struct sigaltstack { u64 base; s32 flags; s32 pad; u64 size; };

struct thread {
  u64 pad; /* the frame must end at a multiple of 16: the processor aligns the stack before it pushes */
  struct frame frame;
  u8 fpu[FPU_SIZE] __attribute__((aligned(64)));
  u32 state, tid;
  u64 fs_base, gs_base;
  u64 clear_tid;
  u64 robust_list;
  /* The call that waits on the host: it is rung again after each wake-up. */
  u32 host_timed; /* THREAD_FUTEX and THREAD_SIGNAL: the host watches a deadline for it */
  u32 in_syscall; /* the frame is that of a system call whose result may still be replaced by a restart */
  u64 futex_address;
  u32 futex_bits;
  /* Signals */
  u64 blocked, pending, saved_blocked;
  u64 waiting_for; /* THREAD_SIGNAL: rt_sigtimedwait's set, 0 for pause and rt_sigsuspend */
  u32 restore_blocked;
  struct sigaltstack altstack;
};

extern struct thread threads[];
extern struct thread *current;
extern u32 thread_high; /* one past the highest slot in use */

void threads_init(void);
void fpu_init(void);
void fpu_save(void *area);
void fpu_restore(const void *area);
extern u32 fpu_bytes;
extern u64 fpu_mask;
extern int fpu_has_xsave;
/* Picks a thread that can run, waits for one if none can, and goes on in user mode. Never returns. */
void schedule(int rotate) __attribute__((noreturn));
s64 sys_clone(u64 flags, u64 stack, u64 parent_tid, u64 child_tid, u64 tls, int *known);
void thread_exit(u64 status) __attribute__((noreturn));
s64 sys_futex(u64 address, u64 op, u64 value, u64 timeout, u64 address2, u64 value3, int *blocked);
s64 sys_arch_prctl(u64 code, u64 address);

/* ---- signals.c */
void signal_send(struct thread *thread, int signal, s32 code, u64 value); /* thread 0: the process */
void signal_fault(int signal, s32 code, u64 address);
/* Whether the thread has a signal to take now: an unblocked one that is not ignored. */
int signal_waits(struct thread *thread);
/* Delivers what is pending for the current thread: changes its frame, or ends the process. */
void signals_deliver(void);
void signals_from_host(void);
s64 sys_rt_sigaction(u64 signal, u64 action, u64 old, u64 size);
s64 sys_rt_sigprocmask(u64 how, u64 set, u64 old, u64 size);
s64 sys_rt_sigpending(u64 set, u64 size);
s64 sys_rt_sigsuspend(u64 set, u64 size);
s64 sys_rt_sigtimedwait(u64 set, u64 info, u64 timeout, u64 size, int *blocked);
s64 sys_sigaltstack(u64 stack, u64 old);
s64 sys_kill(s32 pid, s32 signal);
s64 sys_tgkill(s32 tgid, s32 tid, s32 signal);
void sys_rt_sigreturn(void);
int signal_take(struct thread *thread, u64 set, void *info);

/* ---- main.c, syscalls.c */
extern struct boot_info *boot;
extern struct doorbell *bell;
s64 ring(u32 operation);
void more_runnable(void); /* one more thread wants to run, or to be looked at */
/* Rings for a call of the kernel itself, with up to six arguments. */
s64 host_call(u32 operation, u64 a, u64 b, u64 c, u64 d);
/* Rings the current call of a thread again (or for the first time). Returns 1 when it is done and its result is in RAX. */
int host_syscall(struct thread *thread, u32 flags);
void fatal(int signal, s32 code, u64 address, int from_fault) __attribute__((noreturn));
void panic(const char *message) __attribute__((noreturn));
void out_of_memory(void) __attribute__((noreturn));

/* ---- entry.S */
extern struct frame *current_frame_end;
void enter_user(struct frame *frame) __attribute__((noreturn)); /* IRETQ: any state */
void enter_user_sysret(struct frame *frame) __attribute__((noreturn)); /* SYSRETQ: after a system call */
void wait_for_interrupt(void);
void ring_vmcall(void);

/* ---- small things */
static inline void *memset(void *to, int value, u64 length) {
  void *start = to;
  __asm__ volatile("rep stosb" : "+D"(to), "+c"(length) : "a"(value) : "memory");
  return start;
}
static inline void *memcpy(void *to, const void *from, u64 length) {
  void *start = to;
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(length) : : "memory");
  return start;
}
static inline void copy_page(void *to, const void *from) {
  u64 count = PAGE / 8;
  __asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
}
static inline void clear_page(void *to) {
  u64 count = PAGE / 8;
  __asm__ volatile("rep stosq" : "+D"(to), "+c"(count) : "a"(0) : "memory");
}
static inline u64 strlen(const char *text) {
  u64 length = 0;
  while (text[length]) length++;
  return length;
}
static inline u64 rdmsr(u32 index) {
  u32 low, high;
  __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index));
  return (u64)high << 32 | low;
}
static inline void wrmsr(u32 index, u64 value) {
  __asm__ volatile("wrmsr" : : "c"(index), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}
static inline void cpuid(u32 leaf, u32 subleaf, u32 *a, u32 *b, u32 *c, u32 *d) {
  __asm__ volatile("cpuid" : "=a"(*a), "=b"(*b), "=c"(*c), "=d"(*d) : "a"(leaf), "c"(subleaf));
}
