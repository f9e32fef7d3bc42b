/**
 * Which events and operands exit: exception bitmap, I/O and MSR bitmaps, control-register masks and shadows
 * (SDM 3C 26.1.3, 25.6.3 to 25.6.9). Bitmaps are read where the framework put them: their HPA is an address here.
 */
import { CR0, CR4 } from "../../src/layout";
import {
  V_CR0_MASK, V_CR0_SHADOW, V_CR3_TARGETS, V_CR3_TARGET_COUNT, V_CR4_MASK, V_CR4_SHADOW, V_EXCEPTION_BITMAP, V_IO_BITMAP_A,
  V_IO_BITMAP_B, V_MSR_BITMAP, V_PFEC_MASK, V_PFEC_MATCH, V_TSC_MULTIPLIER, V_TSC_OFFSET, V_XSS_EXITING,
} from "../../src/vmcs-layout";
import {
  PRIMARY_CR3_LOAD_EXITING, PRIMARY_IO_BITMAPS, PRIMARY_MSR_BITMAPS, PRIMARY_TSC_OFFSETTING, PRIMARY_UNCONDITIONAL_IO_EXITING,
  SECONDARY_TSC_SCALING, primaryControl, secondaryControl,
} from "./controls";

const CR0_PE: u64 = 1;
const CR0_TS: u64 = 8;

/** Exceptions and software exceptions (INT1, INT3, INTO, BOUND); not INT n. #PF also looks at mask and match (25.2). */
export function interceptsException(vector: u32, error: u32): bool {
  const bit = (load<u32>(V_EXCEPTION_BITMAP) >>> vector) & 1;
  if (vector != 14) return bit != 0;
  const matches = u32((error & load<u32>(V_PFEC_MASK)) == load<u32>(V_PFEC_MATCH));
  return bit == matches;
}

/** IN, OUT, INS, OUTS to `size` bytes from `port` (26.1.3). An access that wraps around 0xFFFF exits when bitmaps are used. */
export function ioIntercepted(port: u32, size: u32): bool {
  if (!primaryControl(PRIMARY_IO_BITMAPS)) return primaryControl(PRIMARY_UNCONDITIONAL_IO_EXITING);
  if (port + size > 0x10000) return true;
  for (let p = port; p < port + size; p++) {
    const bitmap = load<u32>(p < 0x8000 ? V_IO_BITMAP_A : V_IO_BITMAP_B);
    const index = p & 0x7fff;
    if ((load<u8>(bitmap + (index >>> 3)) >>> (index & 7)) & 1) return true;
  }
  return false;
}

/** Exit qualification of an I/O instruction (table 28-5). `size` 1, 2 or 4. */
export function ioQualification(port: u32, size: u32, input: bool, string: bool, rep: bool, immediate: bool): u64 {
  return <u64>((size - 1) | (u32(input) << 3) | (u32(string) << 4) | (u32(rep) << 5) | (u32(immediate) << 6) | (port << 16));
}

// @ts-ignore: decorator
@inline function msrBit(index: u32, half: u32): bool {
  if (!primaryControl(PRIMARY_MSR_BITMAPS)) return true;
  let offset = half;
  if (index >= 0xc0000000) { index -= 0xc0000000; offset += 1024; }
  if (index > 0x1fff) return true;
  return ((load<u8>(load<u32>(V_MSR_BITMAP) + offset + (index >>> 3)) >>> (index & 7)) & 1) != 0;
}
/** RDMSR of `index` exits. */
export function msrReadIntercepted(index: u32): bool { return msrBit(index, 0); }
/** WRMSR of `index` exits. */
export function msrWriteIntercepted(index: u32): bool { return msrBit(index, 2048); }

/** CR0 as MOV from CR0 and SMSW show it (26.3). */
export function cr0Visible(): u64 {
  const mask = load<u64>(V_CR0_MASK);
  return (load<u64>(CR0) & ~mask) | (load<u64>(V_CR0_SHADOW) & mask);
}
/** CR4 as MOV from CR4 shows it. */
export function cr4Visible(): u64 {
  const mask = load<u64>(V_CR4_MASK);
  return (load<u64>(CR4) & ~mask) | (load<u64>(V_CR4_SHADOW) & mask);
}
/** MOV to CR0 of `value` exits: a host-owned bit would differ from its shadow. */
export function cr0WriteIntercepted(value: u64): bool {
  return ((value ^ load<u64>(V_CR0_SHADOW)) & load<u64>(V_CR0_MASK)) != 0;
}
export function cr4WriteIntercepted(value: u64): bool {
  return ((value ^ load<u64>(V_CR4_SHADOW)) & load<u64>(V_CR4_MASK)) != 0;
}
/** What a MOV to CR0 that does not exit puts into CR0: host-owned bits stay. */
export function cr0Merge(value: u64): u64 {
  const mask = load<u64>(V_CR0_MASK);
  return (value & ~mask) | (load<u64>(CR0) & mask);
}
export function cr4Merge(value: u64): u64 {
  const mask = load<u64>(V_CR4_MASK);
  return (value & ~mask) | (load<u64>(CR4) & mask);
}
/** CLTS exits when TS is host-owned and its shadow is 1. */
export function cltsIntercepted(): bool {
  return (load<u64>(V_CR0_MASK) & load<u64>(V_CR0_SHADOW) & CR0_TS) != 0;
}
/** CLTS changes CR0.TS only when TS is not host-owned (26.3). */
export function cltsChangesTs(): bool { return (load<u64>(V_CR0_MASK) & CR0_TS) == 0; }
/** LMSW of `source`: PE counts only when set (LMSW cannot clear it), MP EM TS when they differ from the shadow. */
export function lmswIntercepted(source: u32): bool {
  const mask = load<u64>(V_CR0_MASK), shadow = load<u64>(V_CR0_SHADOW), value = <u64>source;
  if ((mask & value & ~shadow & CR0_PE) != 0) return true;
  return ((value ^ shadow) & mask & 0xe) != 0;
}
/** MOV to CR3 of `value` (CR3-target values, 25.6.7). */
export function cr3LoadIntercepted(value: u64): bool {
  if (!primaryControl(PRIMARY_CR3_LOAD_EXITING)) return false;
  const count = load<u32>(V_CR3_TARGET_COUNT);
  for (let i: u32 = 0; i < count && i < 4; i++) {
    if (load<u64>(V_CR3_TARGETS + i * 8) == value) return false;
  }
  return true;
}
/** Qualification of a control-register access (table 28-3). `type` 0 MOV to, 1 MOV from, 2 CLTS, 3 LMSW. */
export function crQualification(cr: u32, type: u32, register: u32, lmswMemory: bool, lmswSource: u32): u64 {
  return <u64>(cr | (type << 4) | (u32(lmswMemory) << 6) | (register << 8) | ((lmswSource & 0xffff) << 16));
}
/** Qualification of MOV DR (table 28-4). */
export function drQualification(dr: u32, fromDr: bool, register: u32): u64 {
  return <u64>(dr | (u32(fromDr) << 4) | (register << 8));
}
/** XSAVES and XRSTORS exit when EDX:EAX & IA32_XSS has a bit of the XSS-exiting bitmap. */
export function xssIntercepted(requested: u64): bool {
  return (requested & load<u64>(V_XSS_EXITING)) != 0;
}

/** Guest TSC of a host TSC value: scaling, then offset (26.3, 25.6.5). */
export function guestTsc(host: u64): u64 {
  if (!primaryControl(PRIMARY_TSC_OFFSETTING)) return host;
  let value = host;
  if (secondaryControl(SECONDARY_TSC_SCALING)) value = scale48(value, load<u64>(V_TSC_MULTIPLIER));
  return value + load<u64>(V_TSC_OFFSET);
}
/** Bits 111:48 of the 128-bit product. */
function scale48(a: u64, b: u64): u64 {
  const a0 = a & 0xffffffff, a1 = a >> 32, b0 = b & 0xffffffff, b1 = b >> 32;
  const low = a0 * b0, mid1 = a1 * b0, mid2 = a0 * b1, high = a1 * b1;
  const carry = (low >> 32) + (mid1 & 0xffffffff) + (mid2 & 0xffffffff);
  const lowWord = (carry << 32) | (low & 0xffffffff);
  const highWord = high + (mid1 >> 32) + (mid2 >> 32) + (carry >> 32);
  return (lowWord >> 48) | (highWord << 16);
}
