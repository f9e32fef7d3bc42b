/** Linear addresses through the guest's page tables as the processor walks them (Intel SDM volume 3A, chapter 4). */
import type { GuestMemory, TranslationFault } from '@visorkit/core';
import {
  Cr0,
  Cr4,
  Efer,
  ENTRY_ADDRESS,
  PageEntry,
  PageFaultError,
  Rflags,
  isCanonical,
  pagingMode,
  tableIndex,
} from '@visorkit/x86';

export type TranslationMemory = Pick<GuestMemory, 'contains' | 'readU32' | 'readU64' | 'writeU32' | 'writeU64'>;

/** The registers that translation depends on. */
export interface TranslationState {
  readonly cr0: bigint;
  readonly cr3: bigint;
  readonly cr4: bigint;
  readonly efer: bigint;
  /** CPL = 3. */
  readonly user: boolean;
  readonly rflags: number;
}

export type Access = 'probe' | 'read' | 'write' | 'execute';

const PAGE_FAULT = 14,
  GENERAL_PROTECTION = 13;
const NOT_BACKED = 0;

/** One entry on the way, for the accessed and dirty flags. */
interface Step {
  readonly at: number;
  readonly entry: bigint;
}

/**
 * Returns the guest-physical address, or -1 with `fault` filled. A `probe` looks at no rights and changes nothing; the others check
 * rights as the processor does at the current privilege level and set accessed and dirty flags.
 */
export function translateLinear(
  state: TranslationState,
  memory: TranslationMemory,
  linear: bigint,
  access: Access,
  fault: TranslationFault,
): number {
  const { cr0, cr3, cr4, efer } = state,
    mode = pagingMode(cr0, cr4, efer);
  fault.linear = linear;
  fault.vector = fault.errorCode = 0;
  if (mode === 'none') return Number(linear & 0xffff_ffffn);
  const long = mode === '4-level' || mode === '5-level';
  if (long && !isCanonical(linear, mode === '5-level' ? 57 : 48)) {
    fault.vector = GENERAL_PROTECTION;
    return -1;
  }
  if (!long) linear &= 0xffff_ffffn;
  const wide = mode !== '32-bit',
    steps: Step[] = [];
  const read = (at: number): bigint | undefined =>
    !memory.contains(at, wide ? 8 : 4) ? undefined : wide ? memory.readU64(at) : BigInt(memory.readU32(at));

  let writable = true,
    user = true,
    executable = true,
    gpa = -1;
  let level = mode === '5-level' ? 5 : mode === '4-level' ? 4 : mode === 'pae' ? 3 : 2;
  let table = Number(
    mode === 'pae' ? cr3 & 0xffff_ffe0n : mode === '32-bit' ? cr3 & 0xffff_f000n : cr3 & ENTRY_ADDRESS,
  );
  for (; ; level--) {
    const index = wide
      ? mode === 'pae' && level === 3
        ? Number((linear >> 30n) & 3n)
        : tableIndex(linear, level)
      : Number((linear >> BigInt(2 + 10 * level)) & 0x3ffn);
    const at = table + index * (wide ? 8 : 4),
      entry = read(at);
    if (entry === undefined) {
      fault.vector = NOT_BACKED;
      return -1;
    }
    if ((entry & PageEntry.PRESENT) === 0n) return pageFault(state, access, false, fault);
    const pdpte = mode === 'pae' && level === 3;
    if (!pdpte) {
      writable &&= (entry & PageEntry.WRITE) !== 0n;
      user &&= (entry & PageEntry.USER) !== 0n;
      if (wide && (efer & Efer.NXE) !== 0n) executable &&= (entry & PageEntry.NX) === 0n;
      steps.push({ at, entry });
    }
    const large =
      (entry & PageEntry.LARGE) !== 0n &&
      (wide ? level === 2 || (level === 3 && !pdpte) : level === 2 && (cr4 & Cr4.PSE) !== 0n);
    if (level === 1 || large) {
      const shift = BigInt(wide ? 3 + 9 * level : 2 + 10 * level),
        mask = (1n << shift) - 1n;
      // PSE-36: bits 20:13 of a 4 MiB entry are address bits 39:32 (4.3)
      const base = wide
        ? entry & ENTRY_ADDRESS & ~mask
        : large
          ? (((entry >> 13n) & 0xffn) << 32n) | (entry & 0xffc0_0000n)
          : entry & 0xffff_f000n;
      gpa = Number(base | (linear & mask));
      break;
    }
    table = Number(wide ? entry & ENTRY_ADDRESS : entry & 0xffff_f000n);
  }
  if (access === 'probe') return gpa;
  if (!allowed(state, access, writable, user, executable)) return pageFault(state, access, true, fault);
  steps.forEach(({ at, entry }, position) => {
    const dirty = access === 'write' && position === steps.length - 1 ? PageEntry.DIRTY : 0n,
      marked = entry | PageEntry.ACCESSED | dirty;
    if (marked === entry) return;
    if (wide) memory.writeU64(at, marked);
    else memory.writeU32(at, Number(marked));
  });
  return gpa;
}

/** Rights of 4.6: write protection, SMEP and SMAP for the supervisor, user pages for the user. */
function allowed(
  { cr0, cr4, user: atUser, rflags }: TranslationState,
  access: Access,
  writable: boolean,
  user: boolean,
  executable: boolean,
): boolean {
  if (access === 'execute') return executable && (atUser ? user : !(user && (cr4 & Cr4.SMEP) !== 0n));
  if (atUser) return user && (access === 'read' || writable);
  if (user && (cr4 & Cr4.SMAP) !== 0n && (rflags & Rflags.AC) === 0) return false;
  return access === 'read' || writable || (cr0 & Cr0.WP) === 0n;
}

function pageFault(
  { user, cr4, efer }: TranslationState,
  access: Access,
  present: boolean,
  fault: TranslationFault,
): -1 {
  const fetch = access === 'execute' && ((cr4 & Cr4.SMEP) !== 0n || (efer & Efer.NXE) !== 0n);
  fault.vector = PAGE_FAULT;
  fault.errorCode =
    (present ? PageFaultError.PRESENT : 0) |
    (access === 'write' ? PageFaultError.WRITE : 0) |
    (user ? PageFaultError.USER : 0) |
    (fetch ? PageFaultError.FETCH : 0);
  return -1;
}
