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
  u64 random[2];  /* AT_RANDOM */
  u64 uid, gid, euid, egid;
  u64 exec_name;  /* kernel address of the program's name, NUL-terminated */
  u64 pid;
};
enum { BOOT_TRACE = 1 /* tell the host of the calls that the kernel serves itself */ };

/* The registers of a thread in user mode, in the order in which they are pushed. */
struct frame {
  u64 r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi;
  u64 orig_rax; /* number of the system call; error code of a fault */
  u64 rip, cs, rflags, rsp, ss;
};

/* What a ring of the doorbell asks for. */
enum {
  OP_SYSCALL = 1,     /* number, args; the host answers with status and result */
  OP_TRACE = 2,       /* the kernel served this call itself; result */
  OP_FATAL = 3,       /* the program ends by a signal: signal, code, fault_address, trap, error, frame */
  OP_PANIC = 4,       /* args[0]: address of a message */
  OP_MAP_FILE = 5,    /* args: fd, prot, flags, offset; result: a handle, or an error */
  OP_READ_PAGE = 6,   /* args: handle, offset, physical address; result: bytes read */
  OP_WRITE_PAGE = 7,  /* args: handle, offset, physical address, length */
  OP_UNMAP_FILE = 8,  /* args: handle */
  OP_STARTED = 9,     /* the program is loaded: args: address of vmas, of vma_count, entry point */
  OP_TICK = 10,       /* several threads want to run: the host is to wake the kernel from time to time */
};

/* How a call came out. */
enum { STATUS_DONE = 0, STATUS_NEED_PAGES = 1, STATUS_BLOCKED = 2 };

/* flags of a ring */
enum {
  RING_CONTINUED = 1,   /* the same call again: after pages were brought in, or after a wake-up */
  RING_INTERRUPTED = 2, /* a signal waits: the call is to end now, with what it has done or with EINTR */
  RING_FAULT = 4,       /* the pages that were asked for cannot be had: EFAULT */
};

/* The doorbell page. */
struct doorbell {
  u32 operation, status;                 /* 0x00 */
  u64 number;                            /* 0x08 */
  u64 args[6];                           /* 0x10 */
  s64 result;                            /* 0x40 */
  u64 need_address, need_length;         /* 0x48 */
  u32 need_write, flags;                 /* 0x58 */
  u64 host_signals;                      /* 0x60: bit n-1: signal n, set by the host at any time */
  u32 tid, runnable;                     /* 0x68: the calling thread; threads that want to run (more than one: the host ticks) */
  u64 fault_address;                     /* 0x70 */
  s32 signal, code;                      /* 0x78 */
  u32 trap, error;                       /* 0x80 */
  u32 from_fault, threads;               /* 0x88 */
  u64 fs_base, gs_base;                  /* 0x90 */
  u64 frames_free;                       /* 0xa0 */
  u64 reserved[11];
  struct frame frame;                    /* 0x100 */
};

/* The interrupt with which the host wakes the kernel. */
#define WAKE_VECTOR 0x20
