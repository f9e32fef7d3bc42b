/** The LDT of cases with real segmentation: the same table as in native/harness.c. */
import { CODE_BYTES, CODE_LOW, DATA_BYTES, DATA_LOW, SEGMENTS_CODE16, USER_DS } from './format.js';

export interface LdtSegment {
  readonly selector: number;
  readonly base: number;
  /** Limit field; for expand-down segments valid offsets lie above it. */
  readonly limit: number;
  readonly pages: boolean;
  readonly big: boolean;
  readonly present: boolean;
  /** Type field of the descriptor (SDM 3A 3.4.5.1), accessed. */
  readonly type: number;
}

const segment = (
  index: number,
  base: number,
  limit: number,
  type: number,
  big = false,
  present = true,
  pages = false,
): LdtSegment => ({
  selector: index * 8 + 7,
  base,
  limit,
  type,
  big,
  present,
  pages,
});

/** Types: 3 data, 1 read-only data, 7 expand-down data, 11 readable code, 9 execute-only code. */
export const LDT: readonly LdtSegment[] = [
  segment(0, CODE_LOW, CODE_BYTES - 1, 11),
  segment(1, DATA_LOW, DATA_BYTES - 1, 3),
  segment(2, DATA_LOW, DATA_BYTES - 1, 1),
  segment(3, DATA_LOW, 0xfff, 7),
  segment(4, DATA_LOW + 0x800, 0xfff, 3, true),
  segment(5, CODE_LOW, CODE_BYTES - 1, 11, true),
  segment(6, DATA_LOW, DATA_BYTES - 1, 3, false, false),
  segment(7, CODE_LOW, CODE_BYTES - 1, 9, true),
  segment(8, DATA_LOW, 1, 7, true, true, true),
];
const FLAT: LdtSegment = { selector: USER_DS, base: 0, limit: 0xfffff, type: 3, big: true, present: true, pages: true };
const NULL: LdtSegment = { selector: 0, base: 0, limit: 0, type: 0, big: false, present: false, pages: false };

/** What the three-bit and two-bit fields of the segments word choose from. */
export const DATA_CHOICES: readonly LdtSegment[] = [LDT[1]!, LDT[2]!, LDT[3]!, LDT[4]!, FLAT, LDT[5]!, NULL, LDT[8]!];
export const STACK_CHOICES: readonly LdtSegment[] = [LDT[1]!, LDT[4]!, LDT[3]!, FLAT];

/** ES CS SS DS FS GS of a segments word. */
export function chosenSegments(word: number): LdtSegment[] {
  const data = (shift: number) => DATA_CHOICES[(word >> shift) & 7]!;
  return [data(3), LDT[word & SEGMENTS_CODE16 ? 0 : 5]!, STACK_CHOICES[(word >> 12) & 3]!, data(0), data(6), data(9)];
}

/** Lowest and highest valid offset. */
export function bounds(s: LdtSegment): [number, number] {
  const limit = s.pages ? s.limit * 4096 + 4095 : s.limit;
  if ((s.type & 0xc) === 4) return [limit + 1, s.big ? 0xffffffff : 0xffff];
  return [0, limit];
}

/** Access rights in the VMCS format (SDM 3C table 25-2). */
export function accessRights(s: LdtSegment): number {
  if (s === NULL) return 0x10000;
  return s.type | 0x70 | (s.present ? 0x80 : 0) | (s.big ? 0x4000 : 0) | (s.pages ? 0x8000 : 0);
}

/** The descriptor's eight bytes. */
export function descriptor(s: LdtSegment): bigint {
  // available for software: the host kernel sets it from `useable`
  const base = BigInt(s.base),
    limit = BigInt(s.limit),
    rights = BigInt((accessRights(s) & 0xf0ff) | 0x1000);
  return (
    (limit & 0xffffn) | ((base & 0xffffffn) << 16n) | (rights << 40n) | ((limit >> 16n) << 48n) | ((base >> 24n) << 56n)
  );
}

export function describeSegments(word: number): string {
  return chosenSegments(word)
    .map((s, i) => `${['es', 'cs', 'ss', 'ds', 'fs', 'gs'][i]}=${s.selector.toString(16)}`)
    .join(' ');
}
