/**
 * What may differ between two correct processors, each row with the place in the manuals that allows it.
 *
 * "SDM" is the Intel 64 and IA-32 Architectures Software Developer's Manual (volume, section or instruction page), "APM" the
 * AMD64 Architecture Programmer's Manual. The cases run on whatever machine is at hand; the engine is an Intel-style processor.
 */
import { Mnemonic, type Decoded } from './disassembly.js';

const CF = 1,
  PF = 4,
  AF = 0x10,
  ZF = 0x40,
  SF = 0x80,
  OF = 0x800;

interface FlagRow {
  readonly mnemonics: readonly Mnemonic[];
  readonly undefinedFlags: number;
  readonly cite: string;
}

/** Flags that an instruction leaves undefined whatever its operands. */
export const UNDEFINED_FLAGS: readonly FlagRow[] = [
  {
    mnemonics: [Mnemonic.And, Mnemonic.Or, Mnemonic.Xor, Mnemonic.Test],
    undefinedFlags: AF,
    cite: 'SDM 2A AND, 2B OR, 2B TEST, 2D XOR: "The state of the AF flag is undefined"',
  },
  {
    mnemonics: [Mnemonic.Mul, Mnemonic.Imul],
    undefinedFlags: SF | ZF | AF | PF,
    cite: 'SDM 2B MUL, 2A IMUL: "The SF, ZF, AF, and PF flags are undefined"',
  },
  {
    mnemonics: [Mnemonic.Div, Mnemonic.Idiv],
    undefinedFlags: CF | OF | SF | ZF | AF | PF,
    cite: 'SDM 2A DIV, IDIV: "The CF, OF, SF, ZF, AF, and PF flags are undefined"',
  },
  {
    mnemonics: [Mnemonic.Bt, Mnemonic.Bts, Mnemonic.Btr, Mnemonic.Btc],
    undefinedFlags: OF | SF | AF | PF,
    cite: 'SDM 2A BT, BTC, BTR, BTS: "The OF, SF, AF, and PF flags are undefined"; ZF unaffected',
  },
  {
    mnemonics: [Mnemonic.Bsf, Mnemonic.Bsr],
    undefinedFlags: CF | OF | SF | AF | PF,
    cite: 'SDM 2A BSF, BSR: "The CF, OF, SF, AF, and PF flags are undefined"',
  },
  {
    mnemonics: [Mnemonic.Tzcnt, Mnemonic.Lzcnt],
    undefinedFlags: OF | SF | AF | PF,
    cite: 'SDM 2B LZCNT, 2D TZCNT: "OF, SF, PF, and AF flags are undefined"',
  },
  { mnemonics: [Mnemonic.Andn], undefinedFlags: AF | PF, cite: 'SDM 2A ANDN: "The AF and PF flags are undefined"' },
  {
    mnemonics: [Mnemonic.Bextr],
    undefinedFlags: AF | SF | PF,
    cite: 'SDM 2A BEXTR: "The AF, SF, and PF flags are undefined"',
  },
  {
    mnemonics: [Mnemonic.Blsi, Mnemonic.Blsr, Mnemonic.Bzhi],
    undefinedFlags: AF | PF,
    cite: 'SDM 2A BLSI, BLSR, BZHI: "AF and PF flags are undefined"',
  },
  { mnemonics: [Mnemonic.Blsmsk], undefinedFlags: AF | PF, cite: 'SDM 2A BLSMSK: "AF and PF flags are undefined"' },
  {
    mnemonics: [Mnemonic.Aaa, Mnemonic.Aas],
    undefinedFlags: OF | SF | ZF | PF,
    cite: 'SDM 2A AAA, AAS: "the OF, SF, ZF, and PF flags are undefined"',
  },
  {
    mnemonics: [Mnemonic.Aad, Mnemonic.Aam],
    undefinedFlags: OF | AF | CF,
    cite: 'SDM 2A AAD, AAM: "the OF, AF, and CF flags are undefined"',
  },
  { mnemonics: [Mnemonic.Daa, Mnemonic.Das], undefinedFlags: OF, cite: 'SDM 2A DAA, DAS: "The OF flag is undefined"' },
];
const flagRows = new Map<Mnemonic, number>();
for (const row of UNDEFINED_FLAGS) for (const m of row.mnemonics) flagRows.set(m, row.undefinedFlags);

const SHIFTS = new Set<Mnemonic>([Mnemonic.Shl, Mnemonic.Sal, Mnemonic.Shr, Mnemonic.Sar]);
const ROTATES = new Set<Mnemonic>([Mnemonic.Rol, Mnemonic.Ror, Mnemonic.Rcl, Mnemonic.Rcr]);
const DOUBLE_SHIFTS = new Set<Mnemonic>([Mnemonic.Shld, Mnemonic.Shrd]);

/**
 * Flags undefined after one instruction. `count` is the shift count if known (CL or immediate), or -1: then the widest set.
 *
 * - SHL SHR SAR (SDM 2B SAL/SAR/SHL/SHR): AF undefined for a non-zero count; OF undefined unless the masked count is 1; CF undefined for
 *   SHL and SHR when the count is at least the operand size.
 * - ROL ROR RCL RCR (SDM 2B): OF undefined unless the masked count is 1.
 * - SHLD SHRD (SDM 2B): AF undefined; OF undefined unless the count is 1; all of CF OF SF ZF AF PF undefined when the
 *   count exceeds the operand size.
 */
export function undefinedFlags(i: Decoded, count: number): number {
  const fixed = flagRows.get(i.mnemonic);
  if (fixed !== undefined) return fixed;
  const shift = SHIFTS.has(i.mnemonic);
  const double = DOUBLE_SHIFTS.has(i.mnemonic);
  if (!shift && !double && !ROTATES.has(i.mnemonic)) return 0;
  const bits = i.operandBytes * 8;
  const masked = count < 0 ? -1 : count & (bits === 64 ? 63 : 31);
  if (masked === 0) return 0;
  if (shift)
    return (
      AF |
      (masked === 1 ? 0 : OF) |
      ((masked < 0 || masked >= bits) && i.mnemonic !== Mnemonic.Sar && bits < 32 ? CF : 0)
    );
  if (double)
    return masked > bits || (masked < 0 && bits === 16) ? CF | OF | SF | ZF | AF | PF : AF | (masked === 1 ? 0 : OF);
  return masked === 1 ? 0 : OF;
}

/** The count of a shift by immediate or by one; -1 when it is in CL. */
export function shiftCount(i: Decoded): number {
  if (/, CL$/i.test(i.text)) return -1;
  return i.immediate >= 0 ? i.immediate : 1;
}

/** Destinations that an instruction may leave undefined. */
export function undefinedResult(i: Decoded, count: number): boolean {
  // SDM 2B SHLD, SHRD: "If the count is greater than the operand size, the result is undefined"
  return DOUBLE_SHIFTS.has(i.mnemonic) && i.operandBytes === 2 && (count < 0 || (count & 31) > 16);
}

/** Features of processors the engine does not model; instructions that need one are left out of the cases. */
const FOREIGN_FEATURES =
  /^(AVX512|VAES|VPCLMUL|GFNI|SSE4A|D3NOW|XOP|FMA4|TBM|LWP|SVM|CLZERO|MONITORX?|RDPRU|MCOMMIT|SEV|SNP|PK|CET|AMX|KL|AVX_|AVXVNNI|AVX_VNNI|VMX|SMX|SGX|TSX|RTM|HLE|CLDEMOTE|MOVDIR|ENQCMD|UINTR|HRESET|PTWRITE|WAITPKG|SERIALIZE|PCONFIG|WBNOINVD|RDPID|RDRAND|RDSEED|RDTSCP|XSAVE|CYRIX|GEODE|CENTAUR|PADLOCK|TSXLDTRK|INVEPT|INVVPID|UDBG|MPX|PREFETCHW|PREFETCHWT1|PREFETCHITI|SKINIT|MSR)/;

/**
 * Instructions whose outcome depends on the machine and its kernel, or that AMD and Intel define differently.
 * - RDTSC CPUID XGETBV...: not a function of the state.
 * - SGDT SIDT SLDT STR SMSW: the kernel emulates them under UMIP. LAR LSL VERR VERW: look into the kernel's GDT.
 * - SYSCALL SYSENTER SYSRET SYSEXIT, VMCALL VMMCALL: enter the kernel or hypervisor.
 * - INT1: a hypervisor below may take its #DB, and tell of another address (SDM 3A 18.3.1.4).
 * - SYSENTER/SYSEXIT in long mode are #UD on AMD only (APM 3 SYSENTER).
 */
const MACHINE_DEPENDENT = new Set<string>([
  'rdtsc',
  'rdtscp',
  'cpuid',
  'rdpmc',
  'xgetbv',
  'xsetbv',
  'sgdt',
  'sidt',
  'sldt',
  'str',
  'smsw',
  'lar',
  'lsl',
  'verr',
  'verw',
  'syscall',
  'sysenter',
  'sysret',
  'sysretq',
  'sysexit',
  'sysexitq',
  'vmcall',
  'vmmcall',
  'getsec',
  'rsm',
  'monitor',
  'mwait',
  'rdfsbase',
  'wrfsbase',
  'rdgsbase',
  'wrgsbase',
  'swapgs',
  'prefetchw',
  'prefetch',
  'prefetchwt1',
  'femms',
  'jmpe',
  'loadall',
  'rdshr',
  'wrshr',
  'smint',
  'dmint',
  'rdm',
  'svdc',
  'rsdc',
  'svldt',
  'rsldt',
  'svts',
  'rsts',
  'lmsw',
  'int1',
  'ptwrite',
  'tpause',
  'umonitor',
  'umwait',
  'hlt',
  'invlpga',
  'cmpxchg486',
  'umov',
  'xbts',
  'ibts',
  'rdpru',
  'getsecq',
  'xstore',
  'altinst',
]);

/** True when the instruction has no place in a comparison with another maker's processor. */
export function notComparable(i: Decoded, is32: boolean): boolean {
  if (MACHINE_DEPENDENT.has(i.name)) return true;
  if (i.features.some((f) => FOREIGN_FEATURES.test(f))) return true;
  // APM 3 1.2.1 and SDM 2A 2.2.1.2: in 64-bit mode Intel ignores the 66 prefix of near branches, AMD cuts the target to 16 bits
  if (!is32 && i.prefixed66 && (i.isBranch || i.name.startsWith('loop') || /^j[re]?cxz$/.test(i.name))) return true;
  // SDM 2A 2.1.1: repeat prefixes on other instructions are reserved; AMD's LOOPE and LOOPNE take their condition from them
  if (/^loop(n?e|n?z)$/.test(i.name) && i.repeated) return true;
  // 0F 0D with a register: #UD by APM 3 PREFETCH, a NOP on Intel (SDM 2D table A-3)
  if (/0F0D$/.test(i.codeName)) return true;
  // SDM 2A 2.3.7: VEX.W that stands for REX.W is ignored outside 64-bit mode; AMD has #UD
  if (is32 && /^v(pinsr|pextr|mov)[dq]$/.test(i.name) && i.vexW) return true;
  // SDM 2A ARPL does not say whether an operand that is not changed must be writable
  if (i.name === 'arpl' && i.hasMemory) return true;
  return false;
}
