/** Decoding with iced-x86: what a case's instructions are, read and leave undefined. */
import {
  Decoder,
  DecoderOptions,
  Formatter,
  FormatterSyntax,
  type Instruction,
  CpuidFeature,
  Mnemonic,
  Code,
  OpKind,
  Register,
  RflagsBits,
} from 'iced-x86';

export { Mnemonic, Code, OpKind, Register, RflagsBits };

/** What the rest of this package needs to know about one instruction. */
export interface Decoded {
  readonly address: bigint;
  readonly length: number;
  readonly text: string;
  readonly mnemonic: Mnemonic;
  readonly name: string;
  readonly code: Code;
  readonly codeName: string;
  readonly valid: boolean;
  readonly flagsRead: number;
  readonly flagsUndefined: number;
  readonly flagsModified: number;
  /** Immediate of the last operand when it is a byte, or -1. */
  readonly immediate: number;
  readonly operandBytes: number;
  readonly memoryBytes: number;
  readonly hasMemory: boolean;
  readonly features: readonly string[];
  readonly isBranch: boolean;
  readonly firstRegister: number;
  readonly firstKind: number;
  readonly secondKind: number;
  readonly prefixed66: boolean;
  /** Has an F2 or F3 prefix. */
  readonly repeated: boolean;
  /** Three-byte VEX prefix with W set. */
  readonly vexW: boolean;
  /** Encoding number of the general register an instruction writes as its first operand, or -1. */
  readonly destination: number;
  /** Effective address of the memory operand with the given registers (segment bases are 0); undefined for VSIB or none. */
  effectiveAddress(register: (n: number) => bigint, bits: 32 | 64): bigint | undefined;
}

/** RFLAGS bit positions of iced's flag set. */
const FLAG_BITS: readonly (readonly [number, number])[] = [
  [RflagsBits.OF, 0x800],
  [RflagsBits.SF, 0x80],
  [RflagsBits.ZF, 0x40],
  [RflagsBits.AF, 0x10],
  [RflagsBits.CF, 1],
  [RflagsBits.PF, 4],
  [RflagsBits.DF, 0x400],
  [RflagsBits.AC, 0x40000],
];
function rflags(bits: number): number {
  let v = 0;
  for (const [iced, bit] of FLAG_BITS) if (bits & iced) v |= bit;
  return v;
}

const formatter = new Formatter(FormatterSyntax.Intel);
formatter.spaceAfterOperandSeparator = true;

const featureNames = new Map<number, string>();
for (const [name, value] of Object.entries(CpuidFeature)) if (typeof value === 'number') featureNames.set(value, name);
const mnemonicNames = new Map<number, string>();
for (const [name, value] of Object.entries(Mnemonic))
  if (typeof value === 'number') mnemonicNames.set(value, name.toLowerCase());

function describe(i: Instruction, bytes: Uint8Array, at: number): Decoded {
  const last = i.opCount > 0 ? i.opKind(i.opCount - 1) : OpKind.Register;
  let prefixed66 = false;
  let repeated = false;
  for (let k = at; k < at + i.length; k++) {
    const p = bytes[k]!;
    if (p === 0x66) prefixed66 = true;
    else if (p === 0xf2 || p === 0xf3) repeated = true;
    else if (![0x67, 0xf0, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65].includes(p)) break;
  }
  const memory =
    i.opCount > 0 && Array.from({ length: i.opCount }, (_, k) => i.opKind(k)).some((k) => k === OpKind.Memory);
  return {
    address: i.ip,
    length: i.length,
    text: formatter.format(i),
    mnemonic: i.mnemonic,
    name: mnemonicNames.get(i.mnemonic) ?? '?',
    code: i.code,
    codeName: Code[i.code] ?? '',
    valid: i.code !== Code.INVALID,
    flagsRead: rflags(i.rflagsRead),
    flagsUndefined: rflags(i.rflagsUndefined),
    flagsModified: rflags(i.rflagsModified),
    immediate: last === OpKind.Immediate8 ? i.immediate8 : -1,
    operandBytes: i.opCount > 0 ? operandSize(i) : 0,
    memoryBytes: memory ? i.memorySize : 0,
    hasMemory: memory,
    features: [...i.cpuidFeatures()].map((f) => featureNames.get(f) ?? '?'),
    isBranch:
      i.isJccShortOrNear ||
      i.isJmpShortOrNear ||
      i.isJmpNearIndirect ||
      i.isCallNear ||
      i.isCallNearIndirect ||
      i.flowControl === 4,
    firstRegister: i.opCount > 0 && i.opKind(0) === OpKind.Register ? i.opRegister(0) : 0,
    firstKind: i.opCount > 0 ? i.opKind(0) : -1,
    secondKind: i.opCount > 1 ? i.opKind(1) : -1,
    prefixed66,
    repeated,
    vexW: vexW(bytes, at),
    destination: i.opCount > 0 && i.opKind(0) === OpKind.Register ? registerNumber(i.opRegister(0)) : -1,
    effectiveAddress: addressOf(i, memory),
  };
}

/** Encoding number of a general register of any size, -1 for others. AH-BH count as RSP-RDI do not: as their wide registers. */
function registerNumber(r: Register): number {
  if (r >= Register.AL && r <= Register.R15L)
    return r - Register.AL < 4 ? r - Register.AL : r - Register.AL < 8 ? r - Register.AL - 4 : r - Register.AL - 4;
  if (r >= Register.AX && r <= Register.R15W) return r - Register.AX;
  if (r >= Register.EAX && r <= Register.R15D) return r - Register.EAX;
  if (r >= Register.RAX && r <= Register.R15) return r - Register.RAX;
  return -1;
}

function addressOf(i: Instruction, memory: boolean): Decoded['effectiveAddress'] {
  if (!memory) return () => undefined;
  const base = i.memoryBase,
    index = i.memoryIndex,
    scale = i.memoryIndexScale,
    displacement = i.memoryDisplacement;
  const ripRelative = i.isIpRelMemoryOperand,
    target = ripRelative ? i.ipRelMemoryAddress : 0n;
  const narrow = (base >= Register.EAX && base <= Register.R15D) || (index >= Register.EAX && index <= Register.R15D);
  const word = (base >= Register.AX && base <= Register.R15W) || (index >= Register.AX && index <= Register.R15W);
  return (register, bits) => {
    if (ripRelative) return target;
    if (index >= Register.XMM0) return undefined;
    let v = displacement;
    if (base !== Register.None) v += register(registerNumber(base));
    if (index !== Register.None) v += register(registerNumber(index)) * BigInt(scale);
    return BigInt.asUintN(word ? 16 : narrow ? 32 : bits, v);
  };
}

function vexW(bytes: Uint8Array, at: number): boolean {
  while ([0x67, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65].includes(bytes[at]!)) at++;
  return bytes[at] === 0xc4 && (bytes[at + 2]! & 0x80) !== 0;
}

/** Size of the first operand of an integer instruction in bytes, from its code's name (rm8, r16 ...). */
function operandSize(i: Instruction): number {
  if (i.opKind(0) === OpKind.Register) {
    const r = i.opRegister(0);
    if (r >= Register.AL && r <= Register.R15L) return 1;
    if (r >= Register.AX && r <= Register.R15W) return 2;
    if (r >= Register.EAX && r <= Register.R15D) return 4;
    return 8;
  }
  const name = Code[i.code] ?? '';
  const m = /_rm(8|16|32|64)/.exec(name);
  return m ? Number(m[1]) / 8 : 8;
}

/** Decodes `code` up to its end, or up to `count` instructions. */
export function disassemble(code: Uint8Array, address: bigint, bits: number, count = 64): Decoded[] {
  const out: Decoded[] = [];
  const decoder = new Decoder(bits, code, DecoderOptions.NoInvalidCheck & 0);
  decoder.ip = address;
  let at = 0;
  while (decoder.canDecode && out.length < count) {
    const i = decoder.decode();
    out.push(describe(i, code, at));
    at += i.length;
    i.free();
  }
  decoder.free();
  return out;
}
