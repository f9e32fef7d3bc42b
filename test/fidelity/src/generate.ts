/** Seeded cases: a seed, a choice of groups and a count name the same cases for good. */
import { Builder } from './builder.js';
import { disassemble } from './disassembly.js';
import { CASE, CASE_BYTES, type CaseSet } from './format.js';
import { controlGroups } from './groups/control.js';
import type { Group } from './groups/group.js';
import { integerGroups } from './groups/integer.js';
import { miscGroups } from './groups/misc.js';
import { rightsGroups } from './groups/rights.js';
import { segmentedGroup } from './groups/segmented.js';
import { simdGroups } from './groups/simd.js';
import { x87Groups } from './groups/x87.js';
import { xsaveGroup } from './groups/xsave.js';
import { Prng } from './prng.js';
import { notComparable, shiftCount, undefinedFlags, undefinedResult } from './tolerance.js';

export const GROUPS: readonly Group[] = [
  ...integerGroups,
  ...controlGroups,
  segmentedGroup,
  ...x87Groups,
  ...simdGroups,
  xsaveGroup,
  ...miscGroups,
  ...rightsGroups,
];

/** Cases `first` to `first + count - 1` of a seed. With `only64` those that would be 32-bit code are other ones, in 64-bit code; `groups` must have that. */
export function generate(
  seed: number,
  first: number,
  count: number,
  groups: readonly Group[] = GROUPS,
  only64 = false,
): CaseSet {
  const wheel = groups.flatMap((g) => Array<Group>(g.weight ?? 1).fill(g));
  const bytes = new Uint8Array(count * CASE_BYTES);
  const names: string[] = [];
  for (let i = 0; i < count; i++) {
    const index = first + i;
    const rng = new Prng((Math.imul(seed, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b)) >>> 0);
    const group = wheel[index % wheel.length]!;
    const b = new Builder(rng);
    const is32 = !only64 && (group.modes === 'both' ? rng.oneIn(3) : group.modes === 32);
    b.begin(is32, group.style);
    group.build(b);
    trim(b, is32);
    bytes.set(b.end(), i * CASE_BYTES);
    names.push(group.name);
  }
  return { bytes, groups: names };
}

/** What lies behind the code of a case: INT3, as much as belongs to one instruction. */
const BEHIND = new Array<number>(14).fill(0xcc);

/** Cuts the code before the first instruction that reads an undefined flag, follows an undefined result, or has no place here. */
function trim(b: Builder, is32: boolean): void {
  let undefinedNow = 0;
  let length = 0;
  // The last instruction may go on in what lies behind the code
  for (const i of disassemble(Uint8Array.from([...b.code, ...BEHIND]), b.codeAddress(0), b.bits)) {
    if (length >= b.code.length || i.flagsRead & undefinedNow || (length > 0 && notComparable(i, is32))) break;
    length += i.length;
    const count = shiftCount(i);
    // a shift by CL may leave the flags alone: what was undefined stays so
    const kept = i.flagsModified && count >= 0 ? undefinedNow & ~i.flagsModified : undefinedNow;
    undefinedNow = kept | undefinedFlags(i, count);
    if (undefinedResult(i, count)) break;
  }
  if (length > 0 && length < b.code.length) b.code.length = length;
  if (b.code.length > CASE.codeBytes) b.code.length = CASE.codeBytes;
}
