/* What the kernel and the host agree on. src/abi.ts says the same in TypeScript. */
#pragma once

/* Written by the host before the start; its address is in EBX then. */
struct boot_info {
  u64 page_table; /* CR3 */
  u64 doorbell;   /* physical address of the doorbell page */
  u64 port;       /* 0: the doorbell is VMCALL; else an OUT of 4 bytes to this port */
  u64 flags;      /* BOOT_* */
  u64 image;      /* physical address of the program file, page-aligned */
  u64 image_size;
  u64 frames[4];  /* free RAM: start and end of two stretches, page-aligned, zeroed */
  u64 uid;        /* whom signals say that they are from */
  u64 pid;        /* of the first process */
  u64 processes;  /* so many may live at once, and so many threads */
  u64 threads;
  u64 plan;       /* physical address of the page with the plan of the program that is to be loaded next */
};
enum { BOOT_TRACE = 1 /* tell the host of the calls that the kernel serves itself */ };

/* How a program is to be loaded: the host has read its headers and checked them (STATUS_EXEC, and at the start). */
struct segment {
  u64 start, file_end, end; /* of the program's addresses; from file_end on there are zeros */
  u64 offset;               /* in the file, of the page of `start` */
  u64 handle;               /* what the host calls the file; IMAGE_HANDLE: the file in RAM */
  u64 prot;
};
#define MAX_SEGMENTS 64
#define IMAGE_HANDLE 0xffffffffu
#define HANDLE_READ_ONLY (1ul << 32) /* no mapping of this file may be written */
struct plan {
  u64 entry, brk, stack_prot;
  u64 stack_bytes; /* what the host will write below STACK_TOP */
  u64 count;
  struct segment segments[MAX_SEGMENTS];
};

/* The registers of a thread in user mode, in the order in which they are pushed. */
struct frame {
  u64 r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi;
  u64 orig_rax; /* number of the system call; error code of a fault */
  u64 rip, cs, rflags, rsp, ss;
};

/* What a ring of the doorbell asks for. `pid`, `tid` and `page_table` tell for whom. */
enum {
  OP_SYSCALL = 1,     /* number, args; the host answers with status and result */
  OP_TRACE = 2,       /* the kernel served this call itself; result */
  OP_FATAL = 3,       /* the first process ends by a signal: signal, code, cause, fault_address, trap, error, frame */
  OP_PANIC = 4,       /* args[0]: address of a message */
  OP_MAP_FILE = 5,    /* args: fd, prot, flags; result: a handle, the same for the same file, with HANDLE_READ_ONLY perhaps, or an error */
  OP_READ_PAGE = 6,   /* args: handle, offset, physical address; result: bytes read */
  OP_WRITE_PAGE = 7,  /* args: handle, offset, physical address; what lies behind the end of the file is not written */
  OP_UNMAP_FILE = 8,  /* args: handle */
  OP_STARTED = 9,     /* the first program is loaded; args: entry point */
  OP_TICK = 10,       /* several threads want to run: the host is to wake the kernel from time to time */
  OP_PAGES = 11,      /* args: handle, physical address of the tree of its pages in memory (objects.c) */
  OP_STACK = 12,      /* the new program is mapped; args: features, XSAVE bytes; the host writes its stack; result: RSP */
  OP_FORK = 13,       /* args: pid of the new process, clone's flags; result: 0 or an error */
  OP_EXITING = 14,    /* the process is about to end: its memory is still there */
  OP_EXIT = 15,       /* args: status as wait4 has it, whether it was the last of the first process */
  OP_THREAD_GONE = 16, /* the thread has ended: what it waited for is forgotten */
  OP_OVERRUN = 17,    /* the signal of a timer was taken; args: its number, further expiries that it stands for */
};

/* How a call came out. */
enum { STATUS_DONE = 0, STATUS_NEED_PAGES = 1, STATUS_BLOCKED = 2, STATUS_EXEC = 3 /* the plan is there */, STATUS_NEED_SIGNAL = 4 /* one of the set need_address, into signal_info */ };

/* flags of a ring */
enum {
  RING_CONTINUED = 1,   /* the same call again: after pages were brought in, or after a wake-up */
  RING_INTERRUPTED = 2, /* a signal waits: the call is to end now, with what it has done or with EINTR */
  RING_FAULT = 4,       /* the pages that were asked for cannot be had: EFAULT */
  RING_SIGNAL = 8,      /* signal_info holds the signal that was asked for; its number is 0 when there was none */
};

/* Why the first process ends by a signal: it was sent, an exception raised it, RAM is used up. */
enum { CAUSE_SENT = 0, CAUSE_FAULT = 1, CAUSE_MEMORY = 2 };

struct siginfo { s32 signal, error, code, pad; u64 value[14]; };

/* A signal from the host. */
struct host_signal { u32 pid, tid /* 0: the process; pid 0: the process group in tid */; s32 signal, code; u64 value[2]; };
#define MAX_HOST_SIGNALS 64

/* The doorbell page. */
struct doorbell {
  u32 operation, status;                 /* 0x00 */
  u64 number;                            /* 0x08 */
  u64 args[6];                           /* 0x10 */
  s64 result;                            /* 0x40 */
  u64 need_address, need_length;         /* 0x48 */
  u32 need_write, flags;                 /* 0x58 */
  u32 woken;                             /* 0x60: the host: something happened that calls may wait for */
  u32 pid;                               /* 0x64: the calling thread's process */
  u32 tid, runnable;                     /* 0x68: the calling thread; threads that want to run (more than one: the host ticks) */
  u64 fault_address;                     /* 0x70 */
  s32 signal, code;                      /* 0x78 */
  u32 trap, error;                       /* 0x80 */
  u32 cause, pad0;                       /* 0x88: CAUSE_* */
  u64 fs_base, gs_base;                  /* 0x90 */
  u64 cycle_ns;                          /* 0xa0: the host: ns of 2^32 cycles */
  u64 page_table;                        /* 0xa8: of the calling process */
  u64 mappings;                          /* 0xb0: how many it has */
  u64 pending;                           /* 0xb8: signals that wait for the calling thread */
  u32 parent, group;                     /* 0xc0: the process's parent and process group */
  u32 session, pad1;                     /* 0xc8: its session */
  u64 mappings_at;                       /* 0xd0: where they lie */
  u32 ticked, pad2;                      /* 0xd8: the host: a tick (OP_TICK) */
  u64 now;                               /* 0xe0: cycles, as of this ring */
  u64 thread_cpu, process_cpu, children_cpu; /* 0xe8: cycles that the calling thread, its process, and children that it has waited for have used */
  struct frame frame;                    /* 0x100 */
  u8 pad[0x200 - 0x100 - sizeof(struct frame)];
  struct siginfo signal_info;            /* 0x200 */
  u32 host_signal_count, pad3[3];        /* 0x280 */
  struct host_signal host_signals[MAX_HOST_SIGNALS]; /* 0x290 */
  u64 cut_root, cut_size;                /* 0xa90: the host: the file with this tree of pages ends here now; 0: none */
};

/* The interrupt with which the host wakes the kernel. */
#define WAKE_VECTOR 0x20
