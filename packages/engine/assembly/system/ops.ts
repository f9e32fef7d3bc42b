/**
 * Numbers of the system instructions: the decoder writes one into the record (recUnitOp), execSystem switches on it.
 */

// Segment registers
export const SYS_MOV_FROM_SEG: u32 = 1;
export const SYS_MOV_TO_SEG: u32 = 2;
export const SYS_PUSH_SEG: u32 = 3;
export const SYS_POP_SEG: u32 = 4;
export const SYS_LOAD_FAR_POINTER: u32 = 5;

// Far transfers, interrupts, flags
export const SYS_CALL_FAR: u32 = 6;
export const SYS_JMP_FAR: u32 = 7;
export const SYS_CALL_FAR_MEM: u32 = 8;
export const SYS_JMP_FAR_MEM: u32 = 9;
export const SYS_RET_FAR: u32 = 10;
export const SYS_RET_FAR_IMM: u32 = 11;
export const SYS_IRET: u32 = 12;
export const SYS_INT_N: u32 = 13;
export const SYS_INT3: u32 = 14;
export const SYS_INT1: u32 = 15;
export const SYS_INTO: u32 = 16;
export const SYS_BOUND: u32 = 17;
export const SYS_PUSHF: u32 = 18;
export const SYS_POPF: u32 = 19;
export const SYS_CLI: u32 = 20;
export const SYS_STI: u32 = 21;
export const SYS_HLT: u32 = 22;
export const SYS_SYSCALL: u32 = 23;
export const SYS_SYSRET: u32 = 24;
export const SYS_SYSENTER: u32 = 25;
export const SYS_SYSEXIT: u32 = 26;

// Descriptor tables and checks
export const SYS_LAR: u32 = 27;
export const SYS_LSL: u32 = 28;
export const SYS_VERR: u32 = 29;
export const SYS_VERW: u32 = 30;
export const SYS_ARPL: u32 = 31;
export const SYS_SLDT: u32 = 32;
export const SYS_STR: u32 = 33;
export const SYS_LLDT: u32 = 34;
export const SYS_LTR: u32 = 35;
export const SYS_SGDT: u32 = 36;
export const SYS_SIDT: u32 = 37;
export const SYS_LGDT: u32 = 38;
export const SYS_LIDT: u32 = 39;
export const SYS_SMSW: u32 = 40;
export const SYS_LMSW: u32 = 41;

// Control, debug and model-specific registers
export const SYS_MOV_FROM_CR: u32 = 42;
export const SYS_MOV_TO_CR: u32 = 43;
export const SYS_MOV_FROM_DR: u32 = 44;
export const SYS_MOV_TO_DR: u32 = 45;
export const SYS_CLTS: u32 = 46;
export const SYS_RDMSR: u32 = 47;
export const SYS_WRMSR: u32 = 48;
export const SYS_XGETBV: u32 = 49;
export const SYS_XSETBV: u32 = 50;
export const SYS_RDFSBASE: u32 = 51;
export const SYS_RDGSBASE: u32 = 52;
export const SYS_WRFSBASE: u32 = 53;
export const SYS_WRGSBASE: u32 = 54;
export const SYS_SWAPGS: u32 = 55;
export const SYS_CLAC: u32 = 56;
export const SYS_STAC: u32 = 57;
export const SYS_RDPKRU: u32 = 58;
export const SYS_WRPKRU: u32 = 59;

// Caches and translation
export const SYS_INVLPG: u32 = 60;
export const SYS_INVPCID: u32 = 61;
export const SYS_INVD: u32 = 62;
export const SYS_WBINVD: u32 = 63;
export const SYS_CLFLUSH: u32 = 64;
export const SYS_PREFETCH: u32 = 65;
export const SYS_FENCE: u32 = 66;

// Information and time
export const SYS_CPUID: u32 = 67;
export const SYS_RDTSC: u32 = 68;
export const SYS_RDTSCP: u32 = 69;
export const SYS_RDPMC: u32 = 70;
export const SYS_RDPID: u32 = 71;
export const SYS_RDRAND: u32 = 72;
export const SYS_RDSEED: u32 = 73;
export const SYS_PAUSE: u32 = 74;
export const SYS_MONITOR: u32 = 75;
export const SYS_MWAIT: u32 = 76;
export const SYS_SERIALIZE: u32 = 77;

// Input and output
export const SYS_IN_IMM: u32 = 78;
export const SYS_IN_DX: u32 = 79;
export const SYS_OUT_IMM: u32 = 80;
export const SYS_OUT_DX: u32 = 81;
export const SYS_INS: u32 = 82;
export const SYS_OUTS: u32 = 83;

// VMX and others that always leave the guest or are undefined
export const SYS_VMCALL: u32 = 84;
export const SYS_VMLAUNCH: u32 = 85;
export const SYS_VMRESUME: u32 = 86;
export const SYS_VMXOFF: u32 = 87;
export const SYS_VMXON: u32 = 88;
export const SYS_VMCLEAR: u32 = 89;
export const SYS_VMPTRLD: u32 = 90;
export const SYS_VMPTRST: u32 = 91;
export const SYS_VMREAD: u32 = 92;
export const SYS_VMWRITE: u32 = 93;
export const SYS_INVEPT: u32 = 94;
export const SYS_INVVPID: u32 = 95;
export const SYS_VMFUNC: u32 = 96;
export const SYS_GETSEC: u32 = 97;
export const SYS_RSM: u32 = 98;
export const SYS_UNDEFINED: u32 = 99;
export const SYS_UD0: u32 = 100;
export const SYS_UD1: u32 = 101;
export const SYS_UD2: u32 = 102;
export const SYS_UMONITOR: u32 = 103;
export const SYS_UMWAIT: u32 = 104;
export const SYS_TPAUSE: u32 = 105;
