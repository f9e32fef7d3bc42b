/**
 * Where everything lives in the engine's linear memory.
 *
 * The same file is compiled into the processor (AssemblyScript) and into its TypeScript wrapper, so that the two cannot
 * disagree. All addresses are bytes from the start of the memory. A state block at constant addresses lets the
 * interpreter, and later the translator, reach every register with one load.
 *
 * Whatever outlives an instruction has an address here: a processor is one block of memory, and others can read it. The globals in assembly/ are
 * working values of the instruction being run or decoded (second results of functions, an unpacked number), and tables made once.
 *
 * The linear memory is "physical memory as the hypervisor sees it": an address in it is a host-physical address (HPA).
 */

// ---------------------------------------------------------------------------------------------- general registers
/** 16 general registers of 8 bytes in instruction encoding order (RAX RCX RDX RBX RSP RBP RSI RDI R8..R15). */
export const REGS = 0x1000;
/** A register that always reads zero: the base or index of an address that has none. Offset 0x80 from REGS. */
export const REG_ZERO = 0x1080;
/** (linear address of the current code page) - CS.base: RIP of an instruction is this plus its offset in the page. Offset 0x88. */
export const CODE_BASE = 0x1088;
/** Instruction pointer, synchronised whenever the interpreter leaves a block. */
export const RIP = 0x1090;
/** Lazy flags: last result, sign-extended from the operation's size to 64 bits. */
export const LF_RESULT = 0x1098;
/** Lazy flags: 32-bit auxiliary word; see assembly/flags.ts. */
export const LF_AUX = 0x10a0;
/** The RFLAGS bits that are not CF PF AF ZF SF OF (u32). Bit 1 is always set. */
export const EFLAGS = 0x10a4;
/** Current privilege level 0-3 (u32). Equal to SS.DPL. */
export const CPL = 0x10a8;
/** Mode key of the code being run (u32); see assembly/mode.ts. */
export const MODE = 0x10ac;
/** Address (u32) of the TLB table for ordinary accesses: that of the current context in the current translation set. */
export const TLB_BASE = 0x10b0;
/** Non-zero (u32) when x87/MMX instructions must raise: 1 #NM (TS or EM). */
export const FPU_TRAP = 0x10b4;
/** SSE: 0 usable, 6 (#UD) or 7 (#NM) otherwise (u32). */
export const SSE_TRAP = 0x10b8;
/** AVX: 0 usable, 6 (#UD) or 7 (#NM) otherwise (u32). */
export const AVX_TRAP = 0x10bc;

// ---------------------------------------------------------------------------------------------- segments
/** Segment numbers. Index 8 is a pseudo segment with base 0. */
export const SEG_ES = 0;
export const SEG_CS = 1;
export const SEG_SS = 2;
export const SEG_DS = 3;
export const SEG_FS = 4;
export const SEG_GS = 5;
export const SEG_LDTR = 6;
export const SEG_TR = 7;
export const SEG_ZERO = 8;
/** i64 base of segment n at SEG_BASE + n*8. */
export const SEG_BASE = 0x1100;
/** u32 limit in bytes (scaled) at SEG_LIMIT + n*4. */
export const SEG_LIMIT = 0x1150;
/** u32 access rights in the VMCS format (type 3:0, S 4, DPL 6:5, P 7, AVL 12, L 13, D/B 14, G 15, unusable 16). */
export const SEG_AR = 0x1180;
/** u32 (16 bits used) selector at SEG_SEL + n*4. */
export const SEG_SEL = 0x11b0;
export const GDTR_BASE = 0x11e0;
export const IDTR_BASE = 0x11e8;
export const GDTR_LIMIT = 0x11f0;
export const IDTR_LIMIT = 0x11f4;

// ---------------------------------------------------------------------------------------------- control and debug
export const CR0 = 0x1200;
export const CR2 = 0x1208;
export const CR3 = 0x1210;
export const CR4 = 0x1218;
export const CR8 = 0x1220;
export const XCR0 = 0x1228;
export const EFER = 0x1230;
/** DR0-DR3 at DR + n*8, DR6 at DR + 48, DR7 at DR + 56. */
export const DR = 0x1240;
/** Four PDPTEs as loaded in PAE paging (SDM 3A 4.4.1). */
export const PDPTE = 0x1280;
/** Bits that are 0 in every physical address the processor puts out (i64): bit 20 while A20M# is asserted, else none. */
export const ADDRESS_PINS_LOW = 0x12a0;

// ---------------------------------------------------------------------------------------------- MSRs
export const MSR_STAR = 0x1300;
export const MSR_LSTAR = 0x1308;
export const MSR_CSTAR = 0x1310;
export const MSR_FMASK = 0x1318;
export const MSR_KERNEL_GS_BASE = 0x1320;
export const MSR_TSC_AUX = 0x1328;
export const MSR_SYSENTER_CS = 0x1330;
export const MSR_SYSENTER_ESP = 0x1338;
export const MSR_SYSENTER_EIP = 0x1340;
export const MSR_PAT = 0x1348;
export const MSR_DEBUGCTL = 0x1350;
export const MSR_XSS = 0x1358;
export const MSR_TSC_ADJUST = 0x1360;
export const MSR_MISC_ENABLE = 0x1368;
export const MSR_SPEC_CTRL = 0x1370;
export const MSR_MTRR_DEF_TYPE = 0x1378;
/** 8 variable MTRR pairs (base, mask), 16 i64. */
export const MSR_MTRR_VARIABLE = 0x1380;
/** 11 fixed-range MTRRs. */
export const MSR_MTRR_FIXED = 0x1400;
export const MSR_PKRS = 0x1458;
export const PKRU = 0x1460;
export const MSR_BNDCFGS = 0x1468;
export const MSR_MISC_FEATURES = 0x1470;
export const MSR_PERF_GLOBAL_CTRL = 0x1478;

// ---------------------------------------------------------------------------------------------- events and time
/** The exception being raised by the current instruction: vector (u32), error code (u32), flags (u32: 1 has error code). */
export const EXC_VECTOR = 0x1500;
export const EXC_ERROR = 0x1504;
export const EXC_FLAGS = 0x1508;
/** Page-fault linear address of the exception being raised; goes to CR2 only when it is delivered. */
export const EXC_CR2 = 0x1510;
/** DR6 bits of the #DB being raised. */
export const EXC_DR6 = 0x1518;
/** Guest interruptibility state in the VMCS format (u32): 0 STI, 1 MOV SS, 2 SMI, 3 NMI. */
export const INTERRUPTIBILITY = 0x1520;
/** Activity state (u32): 0 active, 1 HLT, 2 shutdown, 3 wait-for-SIPI. */
export const ACTIVITY = 0x1524;
/** Pending debug exceptions in the VMCS format (i64). */
export const PENDING_DEBUG = 0x1528;
/** Non-zero (u32) when the interpreter must go through its careful path before the next instruction; bits in assembly/run.ts. */
export const ATTENTION = 0x1530;
/** What the run loop should do about the event just raised (u32); bits in assembly/status.ts. */
export const RUN_FLAGS = 0x1534;
/** Instructions retired since the engine was made (i64); exact whenever the run loop is left. */
export const RETIRED = 0x1540;
/** RETIRED value at which run() returns with the deadline reached (i64). */
export const DEADLINE = 0x1548;
/** Instructions left until DEADLINE, minus those of the block entered (i64 while inside run()). */
export const BUDGET = 0x1550;
/** Host's time stamp counter = TSC_BASE + (RETIRED >> TSC_SHIFT). */
export const TSC_BASE = 0x1558;
/** u32: one instruction in 2^TSC_SHIFT is a tick of the TSC. In virtual time 0; in real time a fast guest's counter does not leave the clock behind so. */
export const TSC_SHIFT = 0x1564;
/** Xorshift state of RDRAND/RDSEED (i64, not 0). */
export const RANDOM_STATE = 0x1568;
/** u32: maximal physical-address width. */
export const MAXPHYADDR = 0x1570;
/** CPUID-derived feature words that gate instructions (u32 each); see assembly/features.ts. */
export const FEATURES = 0x1580;
/** Armed MONITOR: linear address (i64), 0 none. */
export const MONITOR_ADDRESS = 0x15c0;

// ---------------------------------------------------------------------------------------------- x87, SSE
/** x87 registers in physical order R0-R7 (not stack order), 16 bytes each: u64 significand, then u16 sign and exponent. */
export const FPR = 0x1600;
/** u16 control word, status word (TOP inside), u8 abridged tag (bit n = R n in use). */
export const FPU_CW = 0x1680;
export const FPU_SW = 0x1682;
export const FPU_TAG = 0x1684;
/** u16 last opcode (11 bits), u64 last instruction and data pointers, u16 selectors. */
export const FPU_OP = 0x1686;
export const FPU_IP = 0x1688;
export const FPU_DP = 0x1690;
export const FPU_CS = 0x1698;
export const FPU_DS = 0x169a;
export const MXCSR = 0x16a0;
/**
 * Environment of floating-point operations, loaded by each instruction from MXCSR or the x87 control word (u32 each): rounding direction (as in
 * MXCSR.RC), exceptions raised, masked exceptions, denormals-are-zero, flush-to-zero, and whether the last rounding increased the magnitude.
 * See assembly/fp/environment.ts.
 */
export const FP_ROUNDING = 0x16b0;
export const FP_FLAGS = 0x16b4;
export const FP_MASKS = 0x16b8;
export const FP_DAZ = 0x16bc;
export const FP_FTZ = 0x16c0;
export const FP_ROUNDED_UP = 0x16c4;
/** u32: pins for x87 errors with CR0.NE = 0. 1: FERR# is wired, and makes an exit; 2: IGNNE# is asserted, until another error comes. */
export const FPU_ERROR_PINS = 0x16c8;
/** 16 YMM registers of 32 bytes; the low 16 bytes are XMM. 32-byte aligned. */
export const YMM = 0x1800;

// ---------------------------------------------------------------------------------------------- scratch
/** Where slow memory accesses (page-crossing, MMIO) are gathered: 64 bytes plus margin. */
export const BOUNCE = 0x1a00;
/** Description of the bounced write; see assembly/mmu.ts. */
export const BOUNCE_INFO = 0x1a80;
/** Record used to run an instruction that is not kept in the cache. */
export const SCRATCH_RECORDS = 0x1f00; // .. 0x2000
/** Private scratch of the vector unit (256 bytes) and of the x87 (256 bytes). */
export const VECTOR_SCRATCH = 0x2000;
export const FPU_SCRATCH = 0x2100;
/** Instruction bytes gathered by the decoder (32 bytes). */
export const FETCH_BUFFER = 0x2200;
/** Counters the wrapper shows: blocks made, flushes, TLB misses... (u32 each, 64 of them). */
export const COUNTERS = 0x2300;
/** Of them: how often a page's decoded code was dropped; and how often translated regions were left, by why (LEFT_ of code-layout.ts). */
export const PAGES_DROPPED = COUNTERS + 16;
export const REGIONS_LEFT = COUNTERS + 32;
/** When translated code was left last with LEFT_LOOK_UP: i64 BUDGET, and RIP. For profiles. */
export const TIER_LEFT_BUDGET = COUNTERS + 64;
export const TIER_LEFT_RIP = COUNTERS + 72;

// ---------------------------------------------------------------------------------------------- VMCS
/** Working copy of the current VMCS: fields that are not guest registers; see assembly/vmx/fields.ts. 4 KiB. */
export const VMCS = 0x3000;

// ---------------------------------------------------------------------------------------------- tables
/** AssemblyScript's own static data. */
export const STATIC_DATA = 0x10000;
/**
 * Translation sets: one for each address space tag (processor, VPID, EPT pointer) used of late; see assembly/tlb.ts. A set is three tables of 256 KiB,
 * for the contexts 0 supervisor (SMAP enforced if on), 1 supervisor with EFLAGS.AC=1, 2 user, and behind them a list for each table of its filled
 * entries (u16 indices), for quick flushes. An entry has 32 bytes: i64 read tag, i64 write tag, i64 execute tag, u32 addend, u32 flags.
 */
export const TLB = 0x4000000;
export const TLB_SETS = 8;
export const TLB_SET_BYTES = 0x100000;
export const TLB_ENTRIES = 8192;
export const TLB_ENTRY_BYTES = 32;
export const TLB_TABLE_BYTES = 0x40000;
export const TLB_CONTEXTS = 3;
export const TLB_LISTS = 0xc0000; // offset in a set
export const TLB_LIST_BYTES = 0x4000;
/** In a set, behind the lists: a bit for each page, by hash, that the jump cache has entries for; those of JUMP_GENERATION, then those of GLOBAL_GENERATION. */
export const TLB_JUMP_PAGES = 0xcc000;
export const TLB_JUMP_PAGES_BITS = 4096; // 512 bytes each
/** A table that is always empty, context 3: every access takes the slow path, which checks alignment. */
export const TLB_EMPTY = 0x6c0000;
/**
 * Guest-physical to host-physical pages recently used: {u64 tag, u32 HPA, u32 rights}, 1024 of them. A tag is the GPA of the page and, in bits 11:0, the number of the
 * EPT hierarchy that it was translated through (EPT_CONTEXTS); 1: nothing.
 */
export const EPT_CACHE = 0x150000;
export const EPT_CACHE_ENTRIES = 1024; // 16 KiB
/**
 * Memory-mapped accesses of the current instruction: the request of the last exit and what the framework has already done for it.
 * +0 u32 entries logged, +4 u32 cursor, +8 u32 set to 1 by the framework when it resumes the instruction, +12 u32 request pending,
 * +16 u64 request GPA, +24 u32 size in bytes, +28 u32 kind: 1 = write, +32 64 bytes of data to be written;
 * from +128: entries of 128 bytes with the layout of the request from its GPA on (GPA +0, size +8, kind +12, data +16). With kind + 2 the data
 * begin with the host-physical address (u32) at which the processor does the access itself, whatever the EPT allow; kind 4 lets walks use the
 * page of paging structures at this GPA, and the data begin with its host-physical address; with kind 8 they find the 32 bytes of data at this GPA. ENTER makes the
 * most accesses in one instruction, 63; XSAVE goes in pieces of 64 bytes.
 */
export const MMIO_LOG = 0x160000;
export const MMIO_LOG_ENTRIES = 127; // 16 KiB
export const MMIO_LOG_ENTRY = 128;
/** Bytes of one access at most. */
export const MMIO_LOG_DATA = 64;
/**
 * Which TLB entries were made for a guest-physical page: chains of entries whose page has the same hash. Heads are u32: an entry's number + 1
 * (its place among all entries from TLB on), 0 none; a link is {u32 gpa / 4096 (all ones: in no chain), u32 next, u32 previous, unused}, numbers + 1 too.
 */
export const GUEST_PAGE_CHAINS = 0x164000;
export const GUEST_PAGE_HASHES = 4096; // 16 KiB
export const GUEST_PAGE_LINKS = 0x3c00000; // 4 MiB
/** Jump cache: {i64 key, u32 generation, u32 record}. */
export const JUMP_CACHE = 0x4980000;
export const JUMP_CACHE_ENTRIES = 32768; // 512 KiB
/** A bit for each guest-physical page (its number modulo 1 Mi): the guest's walks have used it as a paging structure. */
export const STRUCTURE_PAGES = 0x1a0000; // 128 KiB
/** Hash table of blocks by physical address and mode: u32 block address per bucket. */
export const BLOCK_HASH = 0x1c0000;
export const BLOCK_HASH_ENTRIES = 65536; // 256 KiB
/** u32 per 4 KiB page of linear memory (1 Mi pages): head of the page's list of blocks, 0 none. 4 MiB, touched where used. */
export const PAGE_BLOCKS = 0x200000;
/**
 * A bit for each 4 KiB page of linear memory: its content is kept elsewhere, and comes when somebody needs it. The processor meets such a page
 * in a walk of the EPT, since nothing of it can be cached, and has the framework bring it.
 */
export const LATE_PAGES = 0x900000; // 128 KiB
/** Candidates of the second tier: {u32 first record of the block, u32 TLB_BASE when it became one, i64 linear address of its page then}. */
export const TIER_QUEUE = 0x920000;
export const TIER_QUEUE_ENTRIES = 64;
/**
 * Where regions find one another: {i64 linear address, u32 generation and mode as in the jump cache, u32 function in the table}. It is emptied whenever
 * functions go.
 */
export const REGION_CACHE = 0x880000;
export const REGION_CACHE_ENTRIES = 16384; // 256 KiB
/** u32 entries of a region, for each that counts them. */
export const TIER_COUNTERS = 0x8c0000;
export const TIER_COUNTERS_BYTES = 0x8000;
/**
 * A bit for each block that an earlier run has had a region for, by a hash of where it begins in its page and of its first bytes (assembly/blocks.ts,
 * src/translator/kept-regions.ts): it asks for the second tier early.
 */
export const KNOWN_BLOCKS = 0x8c8000;
export const KNOWN_BLOCKS_BITS = 1 << 17; // 16 KiB
/** Lists of the pages that a region has code in, where they are several: LIST_ of code-layout.ts. */
export const TIER_PAGES = 0x921000;
export const TIER_PAGES_BYTES = 0x60000;
/** Records of instructions that translated code leaves to a unit of the interpreter, and one to decode into. */
export const TIER_RECORDS = 0x981000;
export const TIER_RECORDS_BYTES = 0x7f000;
/** Arena of blocks and pre-decoded records. */
export const ARENA = 0xa00000;
export const ARENA_BYTES = 0x3200000; // 50 MiB
/** Memory the framework builds VMX structures in: VMCS regions, EPT tables, bitmaps, virtual-APIC pages. */
export const HYPERVISOR = 0x4a00000;
export const HYPERVISOR_BYTES = 0x2000000; // 32 MiB
/** Guest RAM starts here, at a multiple of 2 MiB, so that EPT can map it by large pages. */
export const GUEST_RAM = 0x6a00000;

// ---------------------------------------------------------------------------------------------- event delivery
/**
 * The event being delivered through the IDT (u32, interruption-information format: vector 7:0, type 10:8, error code valid
 * 11, valid 31), 0 when none. Whoever delivers an event sets it before the first memory access and clears it after the
 * last; a VM exit in between moves it to the IDT-vectoring information field (SDM 3C 28.2.4).
 */
export const EVENT_INFO = 0x2400;
/** u32 error code of that event. */
export const EVENT_ERROR = 0x2404;
/** u32 instruction length of that event when it is a software interrupt or software exception. */
export const EVENT_LENGTH = 0x2408;
/** u32: what the last enter() came to: basic exit reason (bit 31: failed entry), or one of the ENTER_ values in vmcs-layout.ts. */
export const ENTER_RESULT = 0x240c;
/** u32: the vmEntry rule that failed (a number of src/entry-rules.ts), 0 when none. */
export const ENTRY_RULE = 0x2414;
/** RETIRED value at which the framework wants to be back (i64); DEADLINE is the earlier of this and the preemption timer's expiry. */
export const HOST_DEADLINE = 0x2418;
/** RETIRED value at which the VMX-preemption timer expires (i64), maximal when it is not armed. */
export const TIMER_EXPIRY = 0x2420;
/** Copy of the secondary controls in force (u32): 0 when "activate secondary controls" is clear. */
export const SECONDARY_IN_FORCE = 0x2428;
/** u32: engine options that no VMCS field expresses; bits OPTION_ in vmcs-layout.ts. */
export const ENGINE_OPTIONS = 0x242c;
/** u32: what must be done after the next VM exit (saving of the preemption timer, MSR area, fields that are not saved); bits in assembly/vmx/exit-work.ts. */
export const EXIT_WORK = 0x2430;
/** EPT pointer in force (i64), 0 when "enable EPT" is clear. */
export const EPTP_IN_FORCE = 0x2438;
/** u32: B0-B3 of the data breakpoints that the current instruction has met. */
export const DATA_BREAKPOINTS = 0x2440;
/** u32, 0 or 1: a segment check has failed, and nobody has asked yet (assembly/mmu.ts). */
export const SEGMENT_CHECK_FAILED = 0x2444;
/** RIP at and behind the instruction that runs alone (i64 each): elsewhere it has branched. */
export const STEP_RIP = 0x2448;
export const STEP_NEXT = 0x2450;
/** PAUSE-loop exiting: TSC at the first and the last PAUSE of the present loop (i64 each). */
export const FIRST_PAUSE = 0x2458;
export const LAST_PAUSE = 0x2460;
/** u32: offset of the APIC register that the instruction in flight has written plus 1, 0 none. */
export const APIC_WRITTEN = 0x2468;
/** EPT hierarchy in force: u32 flags (assembly/ept.ts), u32 levels, i64 address of the top table. */
export const EPT_FLAGS = 0x2470;
export const EPT_LEVELS = 0x2474;
export const EPT_ROOT = 0x2478;
/** u32: VPID in force, 0 when "enable VPID" is clear. */
export const VPID_IN_FORCE = 0x2480;
/** u32: which of the processors that take turns on this engine this is: translations belong to one of them. */
export const PROCESSOR = 0x2484;
/**
 * The instruction that the framework gives in the place of the one at RIP (assembly/supplied.ts): u32 1 while it is still to be executed, i64 the RIP
 * that it is for, 16 bytes that begin with it.
 */
export const SUPPLIED = 0x2490;
export const SUPPLIED_RIP = 0x2498;
export const SUPPLIED_BYTES = 0x24a0;
/** The preemption timer counts down by 1 each time this bit of the TSC changes (IA32_VMX_MISC 4:0). */
export const TIMER_SHIFT = 5;

// ---------------------------------------------------------------------------------------------- caches
/*
 * What follows describes translations and decoded code. It belongs to the engine, not to a processor's state: it is neither saved nor
 * swapped, and everything in it can be made anew.
 */
/**
 * u32, 1 to 0xffffff: entries of the jump cache whose generation is neither this one nor GLOBAL_GENERATION are void. A second tier compares them too.
 * Code of global pages has the latter, so that it is known still after a change of address space.
 */
export const JUMP_GENERATION = 0x2500;
export const GLOBAL_GENERATION = 0x2800;
/** u32: grows when the arena is emptied; addresses of records from before mean nothing. */
export const ARENA_GENERATION = 0x2504;
/** u32: where in the arena the next block goes. */
export const ARENA_NEXT = 0x2508;
/** u32: the last generation given out. */
export const LAST_GENERATION = 0x250c;
/** u32: address of the current translation set's description, and of its first table. */
export const TLB_SET = 0x2510;
export const TLB_TABLES = 0x2514;
/** u32: grows with each choice of a set: which was used last. */
export const TLB_CLOCK = 0x2518;
/** u32: serial number of the last description of a page with code. */
export const CODE_SERIAL = 0x251c;
/** u32: number, 2 to 4095, of the EPT hierarchy in force, in the tags of EPT_CACHE; the last number given out. */
export const EPT_CONTEXT = 0x2520;
export const EPT_LAST_CONTEXT = 0x2524;
/** u32: first record of the block whose region has been entered last; regions say so themselves. */
export const TIER_ENTERED = 0x2528;
/** Flags on the way from one region to another, as code-layout.ts has them: u32 kind; i64 a, b, r, s and n. */
export const TIER_FLAGS_KIND = 0x252c;
export const TIER_FLAGS = 0x2558;
/** u32: how many times more a region may go on to another by itself. */
export const TIER_HOPS = 0x2554;
/** u32: executions after which a block is a candidate for the second tier, and half of how often a region may be left with CROSSED until it is one again; 0: there is none. */
export const TIER_THRESHOLD = 0x2530;
/** u32: the same for blocks in KNOWN_BLOCKS; 0: none is there. */
export const TIER_KNOWN_THRESHOLD = 0x2804;
/** u32: candidates that are handed over at a time, at most TIER_QUEUE_ENTRIES. */
export const TIER_BATCH = 0x2534;
/** u32: candidates waiting. */
export const TIER_QUEUED = 0x2538;
/** u32: status other than 0 that a unit has returned to translated code, and the record that it was for. */
export const TIER_STATUS = 0x253c;
export const TIER_RECORD = 0x2548;
/** u32: executions of blocks since they began to wait, and how many make a module worth its price though it is not full. */
export const TIER_WAITED = 0x254c;
export const TIER_PATIENCE = 0x2550;
/** i64: instructions retired in translated code. */
export const TIER_RETIRED = 0x2540;
/** EPT hierarchies used of late: {i64 EPT pointer, u32 flags as EPT_FLAGS has them, u32 number, 0 none}. */
export const EPT_CONTEXTS = 0x2580;
export const EPT_CONTEXTS_KEPT = 8;
/** Descriptions of the translation sets, 64 bytes each: assembly/tlb.ts. */
export const TLB_SET_INFO = 0x2600;
