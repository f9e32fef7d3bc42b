/*
 * The sandbox's kernel: types, and what its files share. It runs a Linux program and the processes that it makes in ring 3 of a virtual
 * machine, keeps their memory, threads and signals, and passes every other system call to the host through the doorbell.
 *
 * It never touches user addresses: user memory is reached page by page through the direct map, after a look at the page tables. It
 * has one stack and waits for nothing: a thread that cannot go on is left in its struct, and any other can be ended at any time.
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

/* The mappings of the space that is in use (mappings.c): a page-table slot that every space has for itself. */
#define VMA_AREA 0xffffc90000000000ul

/* User space, as on Linux: the last page below the canonical hole is never mapped, so that SYSRET never meets it. */
#define USER_END 0x7ffffffff000ul
#define STACK_TOP USER_END
#define STACK_SIZE (8ul << 20)
#define MMAP_TOP (STACK_TOP - (256ul << 20))
#define MMAP_LOWEST 0x10000ul
#define VDSO 0x7ffff7ff0000ul /* above MMAP_TOP, below the stack */

/* Selectors have Linux's values: programs see them in signal frames. */
#define KERNEL_CS 0x10
#define KERNEL_DS 0x18
#define USER_DS 0x2b
#define USER_CS 0x33

enum { MSR_FS_BASE = 0xc0000100, MSR_GS_BASE };

enum { EPERM = 1, ESRCH = 3, EINTR = 4, ECHILD = 10, EAGAIN = 11, ENOMEM = 12, EACCES = 13, EFAULT = 14, EEXIST = 17, EINVAL = 22, EDEADLK = 35,
  ENOSYS = 38, EOVERFLOW = 75, ETIMEDOUT = 110 };

/* Numbers of system calls (Linux, arch/x86/entry/syscalls/syscall_64.tbl): those that the kernel serves itself, */
enum {
  NR_mmap = 9, NR_mprotect = 10, NR_munmap = 11, NR_brk = 12, NR_rt_sigaction = 13, NR_rt_sigprocmask = 14, NR_rt_sigreturn = 15,
  NR_sched_yield = 24, NR_mremap = 25, NR_msync = 26, NR_mincore = 27, NR_madvise = 28, NR_pause = 34, NR_getpid = 39, NR_clone = 56,
  NR_fork = 57, NR_vfork = 58, NR_exit = 60, NR_wait4 = 61, NR_kill = 62, NR_setpgid = 109, NR_getppid = 110, NR_getpgrp = 111, NR_setsid = 112,
  NR_getpgid = 121, NR_getsid = 124, NR_rt_sigpending = 127, NR_rt_sigtimedwait = 128, NR_rt_sigqueueinfo = 129,
  NR_rt_sigsuspend = 130, NR_sigaltstack = 131, NR_mlock = 149, NR_munlock = 150, NR_mlockall = 151, NR_munlockall = 152, NR_arch_prctl = 158,
  NR_gettid = 186, NR_tkill = 200, NR_futex = 202, NR_set_tid_address = 218, NR_exit_group = 231, NR_tgkill = 234, NR_waitid = 247,
  NR_set_robust_list = 273, NR_rt_tgsigqueueinfo = 297, NR_mlock2 = 325,
};
/* and those of the host that signals have to do with. */
enum {
  NR_read = 0, NR_write = 1, NR_open = 2, NR_ioctl = 16, NR_pread64 = 17, NR_pwrite64 = 18, NR_readv = 19, NR_writev = 20, NR_sendfile = 40,
  NR_sendto = 44, NR_recvfrom = 45, NR_sendmsg = 46, NR_recvmsg = 47, NR_fcntl = 72, NR_flock = 73, NR_openat = 257, NR_pselect6 = 270, NR_ppoll = 271, NR_splice = 275,
  NR_tee = 276, NR_epoll_pwait = 281, NR_preadv = 295, NR_pwritev = 296, NR_epoll_pwait2 = 441,
};

/* clone(2). */
enum {
  CLONE_VM = 0x100, CLONE_SIGHAND = 0x800, CLONE_PIDFD = 0x1000, CLONE_VFORK = 0x4000, CLONE_PARENT = 0x8000, CLONE_THREAD = 0x10000,
  CLONE_SETTLS = 0x80000, CLONE_PARENT_SETTID = 0x100000, CLONE_CHILD_CLEARTID = 0x200000, CLONE_CHILD_SETTID = 0x1000000,
};

enum { PROT_READ = 1, PROT_WRITE = 2, PROT_EXEC = 4 };

/* ---- memory.c: frames and page tables; space.c: address spaces; faults.c: page faults */

/* What is behind a mapping. */
enum { VMA_ANONYMOUS = 0, VMA_IMAGE = 1, VMA_FILE = 2, VMA_SHARED_MEMORY = 3 };
/* vma.flags */
enum { VMA_SHARED = 1, VMA_STACK = 2, VMA_HEAP = 4, VMA_VDSO = 8, VMA_READ_ONLY = 16 /* shared, of a file that may not be written */ };

/* A mapping of user space. The host reads these too. */
struct vma {
  u64 start, end;
  u32 prot;   /* PROT_* */
  u16 kind;   /* VMA_ANONYMOUS, … */
  u16 flags;  /* VMA_SHARED, … */
  u64 offset; /* in the object, of `start` */
  u64 handle; /* VMA_FILE: what the host calls the file */
  u32 object; /* all but VMA_ANONYMOUS: index in objects[] */
  u32 pad[5]; /* 64 bytes: a page holds whole ones */
};

/* What a process sees of memory; processes of vfork share one. */
struct space {
  u64 root;  /* physical address of its page table; 0: free */
  u32 users; /* processes */
  u64 pages; /* frames that it holds, shared ones too */
  u64 mappings, first; /* how many, and where the first lies in the area: there is room on both sides */
  u64 low_page, high_page; /* pages of the area that are there */
  u64 search_from, largest_hole; /* find_place: above the one no hole is larger than the other */
  u64 brk_start, brk_end;
};

#define vmas ((struct vma *)VMA_AREA + space->first)
#define vma_count (space->mappings)
extern struct space *space; /* the one in use: CR3 */

void memory_init(void);
void *frame_alloc(void); /* zeroed; 0 when RAM is used up. It has one user */
void frame_share(u64 gpa); /* one user more; nothing for what is not a frame of ours, as the program's file in RAM */
void frame_free(u64 gpa); /* one less: free at none */
int frame_shared(u64 gpa); /* whether it has other users, or is not ours to write */

struct space *space_new(void); /* empty; 0: no memory */
struct space *space_copy(void); /* of the one in use, pages shared until they are written; 0: no memory */
void space_use(struct space *other);
void space_leave(struct space *other); /* one user less: gone at none. The one in use stays, unless it is that one */

struct vma *vma_find(u64 address);
int vma_insert(struct vma vma);
int vma_map(struct vma vma); /* in place of what is there */
void vma_unmap_all(void);
void vma_write_back_all(void);
/* Makes the page of `address` present for this access. 0, or the signal that the access earns. */
enum { FAULT_OK = 0, FAULT_MAPERR = 1, FAULT_ACCERR = 2, FAULT_BUS = 3, FAULT_OOM = 4 };
int fault(u64 address, int write, int execute);
/* Makes a range present, as much as there is; 0 or -EFAULT. */
int fault_in(u64 address, u64 length, int write);
int copy_to_user(u64 to, const void *from, u64 length);
int copy_from_user(void *to, u64 from, u64 length);

s64 sys_brk(u64 address);
s64 sys_mmap(u64 address, u64 length, u64 prot, u64 flags, u64 fd, u64 offset);
s64 sys_munmap(u64 address, u64 length);
s64 sys_mprotect(u64 address, u64 length, u64 prot);
s64 sys_mremap(u64 old, u64 old_size, u64 new_size, u64 flags, u64 to);
s64 sys_madvise(u64 address, u64 length, u64 advice);
s64 sys_msync(u64 address, u64 length, u64 flags);
s64 sys_mincore(u64 address, u64 length, u64 vector);

/* ---- objects.c: what several mappings can show */
int object_of(u32 kind, u64 handle); /* the one that there is or a new one, for one user more; or an error. The handle is given back with the object */
void object_share(u32 object);
void object_leave(u32 object); /* one user less: written back and gone at none */
/* The frame of the page at an offset, brought in when it is not there; in *gpa. FAULT_* */
int object_page(u32 object, u64 offset, u64 *gpa);
void object_dirty(u32 object, u64 offset); /* the page was written through a mapping */
void object_write_back(u32 object, u64 from, u64 to);
void object_cut(u64 root, u64 size);
void spaces_cut(u32 object, u64 from); /* nothing shows pages of the object from this offset on any more */

/* ---- exec.c: programs into memory */
/* Maps what the plan of the host says in an empty space and has the host write the stack; -ENOMEM. */
int load_program(struct frame *frame);

/* ---- threads.c */
enum { THREAD_FREE = 0, THREAD_READY, THREAD_HOST, THREAD_FUTEX, THREAD_SIGNAL, THREAD_WAIT /* for a child */, THREAD_VFORK /* until the child has a space of its own */ };
#define MAX_THREADS 1024
#define FPU_SIZE 1024

struct sigaltstack { u64 base; s32 flags; s32 pad; u64 size; };
/* What waits for a thread or a process: a bit for each signal, and what came with it, in order. */
struct pending { u64 set; struct queued *first; };

/* A frame of memory each. */
struct thread {
  u64 link; /* of free frames (memory.c): one that is freed during each_thread still has its slot. And `frame` must end at a multiple of 16 */
  struct frame frame;
  u8 fpu[FPU_SIZE] __attribute__((aligned(64)));
  u32 state, tid, slot;
  u32 preempted; /* its time was over, or it gave way: those that have waited go first */
  struct process *process;
  u64 fs_base, gs_base;
  u64 cpu; /* cycles it has used */
  u64 clear_tid;
  u64 robust_list;
  /* The call that waits on the host: it is rung again after each wake-up. */
  u32 host_timed; /* THREAD_FUTEX and THREAD_SIGNAL: the host watches a deadline for it */
  u32 in_syscall; /* the frame is that of a system call whose result may still be replaced by a restart */
  u64 futex_key[2]; /* what it waits for: futex.c */
  u32 futex_bits, futex_pi;
  u64 futex_order; /* who has waited longest */
  struct { u32 type, id; u64 options; } wait; /* THREAD_WAIT: which children, as waitid has it (wait.c) */
  /* Signals */
  u64 blocked, saved_blocked;
  struct pending pending;
  u64 waiting_for; /* THREAD_SIGNAL: rt_sigtimedwait's set, 0 for pause and rt_sigsuspend */
  u32 restore_blocked;
  struct sigaltstack altstack;
};

extern struct thread *threads[];
extern struct thread *current;
extern u32 thread_high; /* one past the highest slot in use */
struct thread *thread_after(const struct thread *thread); /* in the order of slots; 0: the first */
#define each_thread(t) for (struct thread *t = thread_after(0); t; t = thread_after(t))

struct thread *thread_new(struct process *process, u32 tid); /* 0: too many */
void thread_gone(struct thread *thread);
struct thread *thread_of_process(const struct process *process); /* its first */
struct thread *thread_of(u32 tid); /* 0: none */
u32 new_id(void); /* for a thread or process */
void fpu_init(void);
void fpu_reset(void);
void fpu_save(void *area);
void fpu_restore(const void *area);
extern u32 fpu_bytes;
extern u64 fpu_mask;
extern int fpu_has_xsave;
u64 charge(void); /* the cycles since the last look are the current thread's; the cycles now */
/* Picks a thread that can run, waits for one if none can, and goes on in user mode. Never returns. rotate: not the current one first. */
void schedule(int rotate) __attribute__((noreturn));
/* Lets a new thread run on from where the current one is (clone(2)). */
void thread_starts(struct thread *thread, u64 flags, u64 stack, u64 child_tid, u64 tls);
void thread_exit(u64 status) __attribute__((noreturn));
s64 sys_arch_prctl(u64 code, u64 address);

/* ---- futex.c */
s64 sys_futex(u64 address, u64 op, u64 value, u64 timeout, u64 address2, u64 value3, int *blocked);
void futex_leave(struct thread *thread); /* what an ending thread holds and says */

/* ---- processes.c */
enum { PROCESS_ALIVE = 1, PROCESS_ZOMBIE };
#define MAX_PROCESSES 512
#define SIGNALS 64
struct action { u64 handler, flags, restorer, mask; };

/* A frame of memory each. */
struct process {
  u64 link; /* as in struct thread */
  u32 state, pid, slot;
  struct process *parent; /* 0: nobody waits for it */
  u32 group, session;
  struct space *space;
  u32 threads;
  u32 status;      /* PROCESS_ZOMBIE: as wait4 has it */
  u32 exit_signal; /* to the parent */
  u32 stopped;     /* the signal that stopped it, 0: it runs */
  u32 news;        /* NEWS_*: what waitpid has not told yet */
  u32 did_exec;
  u64 cpu, children_cpu; /* cycles: its own, and those of children that it has waited for */
  struct thread *vfork_parent;
  struct pending pending;
  struct action actions[SIGNALS + 1];
};
enum { NEWS_STOPPED = 1, NEWS_CONTINUED = 2 };

extern struct process *processes[];
extern struct process *first_process;
struct process *process_after(const struct process *process);
#define each_process(p) for (struct process *p = process_after(0); p; p = process_after(p))
struct process *process_of(u32 pid); /* alive or not; 0: none */

void processes_init(void);
void process_free(struct process *process); /* nobody waits for it any more */
s64 sys_clone(u64 flags, u64 stack, u64 parent_tid, u64 child_tid, u64 tls, int *blocked);
s64 sys_setpgid(u32 pid, u32 group);
s64 sys_getpgid(u32 pid, int session);
s64 sys_setsid(void);
/* Ends a process, whichever it is: status as wait4 has it. Returns unless it is the first, which ends the machine. */
void process_end(struct process *process, u32 status);
/* The current process goes on with the program of the host's plan. */
void process_exec(void) __attribute__((noreturn));
void process_stop(struct process *process, u32 signal);
void process_continue(struct process *process);
/* RAM is used up: ends the process that has most of it. Does not return when that is the one whose space is in use. */
void out_of_memory(void);

/* ---- wait.c */
/* Where the news of the child go is in the frame. */
s64 sys_wait4(s32 pid, u64 options, int *blocked);
s64 sys_waitid(u64 type, u32 id, u64 options, int *blocked);
/* Whether a thread that waits for a child can go on; its result is in RAX then, and its space is in use. */
int wait_over(struct thread *thread);

/* ---- signals.c */
s64 signal_send(struct process *process, struct thread *thread, const struct siginfo *info); /* thread 0: the process; 0 or -EAGAIN */
/* A fault of the current thread: a signal that cannot wait, nor be ignored. */
void signal_fault(int signal, s32 code, u64 address) __attribute__((noreturn));
/* Whether the thread has a signal to take now: an unblocked one that is not ignored. */
int signal_waits(struct thread *thread);
/* Delivers what is pending for the current thread: changes its frame, or ends the process. */
void signals_deliver(void);
int signals_interrupt(struct thread *thread);
void signals_from_host(void);
void signals_drop(struct pending *pending, u64 set);
void signals_exec(void);
s64 sys_rt_sigaction(u64 signal, u64 action, u64 old, u64 size);
s64 sys_rt_sigprocmask(u64 how, u64 set, u64 old, u64 size);
s64 sys_rt_sigpending(u64 set, u64 size);
s64 sys_rt_sigsuspend(u64 set, u64 size);
s64 sys_rt_sigtimedwait(u64 set, u64 info, u64 timeout, u64 size, int *blocked);
s64 sys_sigaltstack(u64 stack, u64 old);
s64 sys_kill(s32 pid, s32 signal);
s64 sys_tgkill(s32 tgid, s32 tid, s32 signal);
s64 sys_sigqueue(s32 tgid, s32 tid, s32 signal, u64 info); /* tid 0: the process */
void sys_rt_sigreturn(void);
int signal_take(struct thread *thread, u64 set, struct siginfo *info);

/* ---- umip.c */
int emulate_umip(struct frame *frame); /* 1: done; the fault's signal is due otherwise */

/* ---- main.c, syscalls.c */
extern struct boot_info *boot;
extern struct doorbell *bell;
void set_kernel_stack(struct thread *thread);
s64 ring(u32 operation);
void more_runnable(void); /* one more thread wants to run, or to be looked at */
/* Rings for a call of the kernel itself, with up to four arguments. */
s64 host_call(u32 operation, u64 a, u64 b, u64 c, u64 d);
/* Rings the current call of a thread again (or for the first time). Returns 1 when it is done and its result is in RAX, -1 when its
   process goes on with another program. */
int host_syscall(struct thread *thread, u32 flags);
void fatal(int signal, s32 code, u64 address, u32 cause) __attribute__((noreturn)); /* CAUSE_* */
void panic(const char *message) __attribute__((noreturn));
void halt(void) __attribute__((noreturn)); /* for good */

/* ---- entry.S */
extern struct frame *current_frame_end;
void enter_user(struct frame *frame) __attribute__((noreturn)); /* IRETQ: any state */
void enter_user_sysret(struct frame *frame) __attribute__((noreturn)); /* SYSRETQ: after a system call */
void wait_for_interrupt(void);
void reschedule(void) __attribute__((noreturn)); /* schedule(1) on an empty stack */
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
