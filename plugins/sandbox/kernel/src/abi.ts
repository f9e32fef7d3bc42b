/** What the guest kernel and the host agree on: the same as guest/abi.h. Offsets are in bytes. */

/** struct boot_info: 8 bytes each. */
export const BootInfo = {
  PAGE_TABLE: 0,
  DOORBELL: 8,
  PORT: 16,
  FLAGS: 24,
  IMAGE: 32,
  IMAGE_SIZE: 40,
  FRAMES: 48,
  UID: 80,
  PID: 88,
  PROCESSES: 96,
  THREADS: 104,
  PLAN: 112,
} as const;
export const BOOT_TRACE = 1;

/** struct plan and struct segment, 8 bytes each. */
export const Plan = { ENTRY: 0, BREAK: 8, STACK_PROT: 16, STACK_BYTES: 24, COUNT: 32, SEGMENTS: 40 } as const;
export const Segment = { SIZE: 48, START: 0, FILE_END: 8, END: 16, OFFSET: 24, HANDLE: 32, PROT: 40 } as const;
export const MAX_SEGMENTS = 64;
/** The program's file that lies in RAM. */
export const IMAGE_HANDLE = 0xffff_ffff;
/** In what MAP_FILE gives: no mapping of this file may be written. */
export const HANDLE_READ_ONLY = 0x1_0000_0000;

export const Operation = {
  SYSTEM_CALL: 1,
  TRACE: 2,
  FATAL: 3,
  PANIC: 4,
  MAP_FILE: 5,
  READ_PAGE: 6,
  WRITE_PAGE: 7,
  UNMAP_FILE: 8,
  STARTED: 9,
  TICK: 10,
  PAGES: 11,
  STACK: 12,
  FORK: 13,
  EXITING: 14,
  EXIT: 15,
  THREAD_GONE: 16,
  OVERRUN: 17,
} as const;

export const Status = { DONE: 0, PAGES_NEEDED: 1, BLOCKED: 2, EXEC: 3, SIGNAL_NEEDED: 4 } as const;
export const Ring = { CONTINUED: 1, INTERRUPTED: 2, FAULT: 4, SIGNAL: 8 } as const;

/** struct doorbell. */
export const Bell = {
  OPERATION: 0,
  STATUS: 4,
  NUMBER: 8,
  ARGS: 0x10,
  RESULT: 0x40,
  NEED_ADDRESS: 0x48,
  NEED_LENGTH: 0x50,
  NEED_WRITE: 0x58,
  FLAGS: 0x5c,
  WOKEN: 0x60,
  PID: 0x64,
  TID: 0x68,
  RUNNABLE: 0x6c,
  FAULT_ADDRESS: 0x70,
  SIGNAL: 0x78,
  CODE: 0x7c,
  TRAP: 0x80,
  ERROR: 0x84,
  CAUSE: 0x88,
  FS_BASE: 0x90,
  GS_BASE: 0x98,
  CYCLE_NS: 0xa0,
  PAGE_TABLE: 0xa8,
  MAPPINGS: 0xb0,
  PENDING: 0xb8,
  PARENT: 0xc0,
  GROUP: 0xc4,
  SESSION: 0xc8,
  MAPPINGS_AT: 0xd0,
  TICKED: 0xd8,
  NOW: 0xe0,
  THREAD_CPU: 0xe8,
  PROCESS_CPU: 0xf0,
  CHILDREN_CPU: 0xf8,
  FRAME: 0x100,
  SIGNAL_INFO: 0x200,
  HOST_SIGNAL_COUNT: 0x280,
  HOST_SIGNALS: 0x290,
  CUT_ROOT: 0xa90,
  CUT_SIZE: 0xa98,
} as const;
/** struct host_signal. */
export const HostSignal = { SIZE: 32, PID: 0, TID: 4, SIGNAL: 8, CODE: 12, VALUES: 16, MOST: 64 } as const;
export const SIGNAL_INFO_SIZE = 128;

/** struct frame: registers of user mode in the order of their pushing. */
export const FRAME_REGISTERS = [
  'r15',
  'r14',
  'r13',
  'r12',
  'rbp',
  'rbx',
  'r11',
  'r10',
  'r9',
  'r8',
  'rax',
  'rcx',
  'rdx',
  'rsi',
  'rdi',
  'orig_rax',
  'rip',
  'cs',
  'rflags',
  'rsp',
  'ss',
] as const;

/** Of mmap(2). */
export const Prot = { READ: 1, WRITE: 2, EXEC: 4 } as const;
export const MAP_PRIVATE = 2;

/** struct vma. */
export const Vma = { SIZE: 64, START: 0, END: 8, PROT: 16, KIND: 20, FLAGS: 22, OFFSET: 24, HANDLE: 32 } as const;
/** What is behind a mapping. */
export const VmaKind = { ANONYMOUS: 0, IMAGE: 1, FILE: 2, SHARED_MEMORY: 3 } as const;
/** Bits. */
export const VmaFlag = { SHARED: 1, STACK: 2, HEAP: 4, VDSO: 8 } as const;

export const WAKE_VECTOR = 0x20;
/** The doorbell where VMCALL does not exit. */
export const DOORBELL_PORT = 0x5b0;

/** Where the kernel sees physical memory, and itself. */
export const DIRECT_MAP = 0xffff_8880_0000_0000n;
export const KERNEL_BASE = 0xffff_ffff_8000_0000n;

/** Bounds of the program's addresses (guest/kernel.h). */
export const USER_END = 0x7fff_ffff_f000;
export const MMAP_TOP = USER_END - (256 << 20);
export const MMAP_LOWEST = 0x10000;
export const STACK_TOP = USER_END;
/** The page that AT_SYSINFO_EHDR leads to. */
export const VDSO = 0x7fff_f7ff_0000;
export const PIE_BASE = 0x5555_5555_4000;
/** Where the interpreter of a dynamic program is loaded. */
export const INTERPRETER_BASE = 0x7fff_e000_0000;
