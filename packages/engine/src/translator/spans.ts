/**
 * Accesses of a block that one check serves: those with the same base and index, at displacements near one another, while neither of the two changes.
 * Pushes, pops and operands at RSP are such accesses too. The check is made before the first of them, for all bytes from the lowest to the highest; if it
 * does not hold, the first instruction and those behind it are the interpreter's.
 *
 * It lasts to the end of the block at most: only a unit of the interpreter, or leaving the region, changes the TLB.
 */
import { AM_CHECKED, AM_FULL, AM_SIMPLE, NO_REGISTER } from '../code-layout.js';
import { hasFarDisplacement } from './instructions.js';
import type { Instruction, Row } from './instructions.js';
import { FIRST_SPAN, RSP, SPANS } from './locals.js';
import { isChecked } from './segments.js';
import type { Setting } from './writer.js';

/** Bytes that a span covers at most: one that crosses a page is of no use, and the wider it is the more often it does. */
const WIDEST = 256;
const RDX = 2;

export interface Span {
  /** What is covered, relative to where base and index point at the beginning (`at` of {@link Access} counts in the same way). */
  from: number;
  to: number;
  writes: boolean;
  accesses: number;
  /** Local that has the host address of `from` once the check is made. */
  readonly local: number;
  checked: boolean;
}

/** The access of an instruction, as part of a span. */
export interface Access {
  readonly span: Span;
  readonly at: number;
}

/** A span that may still grow. */
interface Open {
  base: number;
  index: number;
  scale: number;
  segment: number;
  mode: number;
  span: Span;
}

/** Accesses by instruction; undefined for those that have none, or one that no span can have: where segments are asked, each access is by itself. */
export function planSpans(
  instructions: readonly Instruction[],
  setting: Pick<Setting, 'spans' | 'flat' | 'long' | 'stackBits'>,
): (Access | undefined)[] {
  const { long } = setting;
  if (!setting.spans || !setting.flat || setting.stackBits === 16) return [];
  const plan: (Access | undefined)[] = [],
    open: (Open | undefined)[] = [];
  /** How far RSP has moved since the block's beginning. */
  let moved = 0,
    next = 0;
  const access = (
    base: number,
    index: number,
    scale: number,
    mode: number,
    segment: number,
    at: number,
    bytes: number,
    writes: boolean,
  ): Access => {
    for (const one of open) {
      if (one === undefined || one.base !== base || one.index !== index || one.scale !== scale) continue;
      if (one.segment !== segment || one.mode !== mode) continue;
      const { span } = one,
        from = Math.min(span.from, at),
        to = Math.max(span.to, at + bytes);
      if (to - from > WIDEST) continue;
      span.from = from;
      span.to = to;
      span.writes ||= writes;
      span.accesses++;
      return { span, at };
    }
    const local = next++ % SPANS,
      span = { from: at, to: at + bytes, writes, accesses: 1, local: FIRST_SPAN + local, checked: false };
    open[local] = { base, index, scale, segment, mode, span };
    return { span, at };
  };
  const stack = (at: number, bytes: number, writes: boolean): Access =>
    access(RSP * 8, NO_REGISTER, 0, AM_SIMPLE, 0, at, bytes, writes);
  const close = (register: number): void => {
    open.forEach((one, n) => {
      if (one !== undefined && (one.base >>> 3 === register || one.index >>> 3 === register)) open[n] = undefined;
    });
  };
  for (const i of instructions) {
    const row = i.row!,
      bytes = bytesOf(row);
    let found: Access | undefined;
    if (bytes > 0 && usesSpans(i, long) && !isChecked(setting, i)) {
      const segment = i.addressMode === AM_SIMPLE || !long ? 0 : i.baseSegment;
      found = access(
        i.base,
        i.index,
        i.scale,
        i.addressMode,
        segment,
        i.displacement + (i.base === RSP * 8 ? moved : 0),
        bytes,
        writes(row),
      );
    }
    switch (row.kind) {
      case 'push':
        moved -= row.size >>> 3;
        if (row.form !== 'M') found = stack(moved, row.size >>> 3, true);
        break;
      case 'call':
        found = stack(moved - (row.size >>> 3), row.size >>> 3, true);
        break;
      case 'pop':
        found = stack(moved, row.size >>> 3, false);
        moved += row.size >>> 3;
        close(i.reg >>> 3);
        break;
      case 'return':
        found = stack(moved, row.size >>> 3, false);
        break;
      case 'arithmetic':
        if (row.operation === 'CMP' || row.operation === 'TEST' || row.form.startsWith('M')) break;
        if (
          i.reg === RSP * 8 &&
          row.form === 'RI' &&
          row.size === (long ? 64 : 32) &&
          (row.operation === 'ADD' || row.operation === 'SUB')
        )
          moved += row.operation === 'ADD' ? i.immediate : -i.immediate;
        else close(i.reg >>> 3);
        break;
      case 'lea':
        if (
          i.reg === RSP * 8 &&
          i.base === RSP * 8 &&
          i.index === NO_REGISTER &&
          usesSpans(i, long) &&
          row.size === (long ? 64 : 32)
        )
          moved += i.displacement;
        else close(i.reg >>> 3);
        break;
      case 'move':
      case 'unary':
        if (!row.form.startsWith('M')) close(i.reg >>> 3);
        break;
      case 'extend':
      case 'multiply':
      case 'shift':
      case 'conditional-move':
        close(i.reg >>> 3);
        break;
      case 'set':
        close(i.rm >>> 3);
        break;
      case 'jump':
      case 'jump-if':
        break;
      case 'plain':
        if (row.operation === 'NOP') break;
        close(row.operation === 'CDQ' || row.operation === 'CQO' ? RDX : row.operation === 'XCHG' ? i.reg >>> 3 : 0);
        if (row.operation === 'XCHG') close(i.rm >>> 3);
        break;
      default: // a unit, or what may become one
        open.length = 0;
    }
    plan.push(found);
  }
  return plan;
}

/** Bytes of the memory operand that the row's translation opens; 0: none. */
function bytesOf(row: Row): number {
  switch (row.kind) {
    case 'arithmetic':
    case 'move':
    case 'unary':
    case 'multiply':
      return row.form.includes('M') ? row.size >>> 3 : 0;
    case 'extend':
      return row.form === 'RM' ? row.from >>> 3 : 0;
    default:
      return 0;
  }
}
function writes(row: Row): boolean {
  return (
    (row.kind === 'move' || row.kind === 'unary' || row.kind === 'arithmetic') &&
    row.form.startsWith('M') &&
    !(row.kind === 'arithmetic' && (row.operation === 'CMP' || row.operation === 'TEST'))
  );
}
/** Not where an address that is cut could wrap around between two accesses, nor where the displacement must not matter. */
function usesSpans(i: Instruction, long: boolean): boolean {
  return (
    !i.short &&
    !(long && hasFarDisplacement(i)) &&
    (i.addressMode === AM_SIMPLE || i.addressMode === AM_FULL || i.addressMode === AM_CHECKED)
  );
}
