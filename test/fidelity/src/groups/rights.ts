/**
 * Memory operands on pages without a right: read-only, absent, of the supervisor, and across two pages of different rights (SDM 3A 5.6, 5.7). What
 * counts is which access faults, with which error code, at which address, and what was done before.
 */
import type { Builder } from '../builder.js';
import { form, type Form } from '../form.js';
import { DATA_LOW, HIGH, ZONE, ZONE_PAGES } from '../format.js';
import { RAX, RBP, RCX, RDI, RSI, RSP } from '../registers.js';
import { TABLES, type Group } from './group.js';

/** First byte of the page behind each boundary of the zone between pages of different rights. */
const BOUNDARIES = ZONE_PAGES.flatMap((rights, page) =>
  page > 0 && rights !== ZONE_PAGES[page - 1] ? [ZONE + page * 0x1000] : [],
);
const INSIDE = ZONE_PAGES.flatMap((rights, page) => (rights === 'writable' ? [] : [ZONE + page * 0x1000]));
/** They store pointers and reserved bits that differ by processor, so here they only fault. */
const STATE_FORMS = ['D9 /6 m28 mem u', 'DD /6 m108 mem u', '0F AE /0 m512 mem u', '0F AE /4 m576 mem u'];
const LOADS_OF_STATE = ['D9 /4 m28 mem u', 'D9 /5 m2 mem u', 'DD /4 m108 mem u', '0F AE /1 m512 mem u'];
const X87_BYTES = [
  'D9 /3 m4',
  'DB /2 m4',
  'DD /3 m8',
  'DF /3 m2',
  'DF /6 m10',
  'DB /7 m10',
  'DB /5 m10',
  'D8 /0 m4',
  'DF /7 m8',
];
const MORE = [
  ...X87_BYTES.map((text) => `${text} mem u`),
  ...LOADS_OF_STATE,
  'D9 /7 m2 mem u', // FNSTCW
  'DD /7 m2 mem u', // FNSTSW
  '0F AE /2 m4 mem u', // LDMXCSR, STMXCSR
  '0F AE /3 m4 mem u',
  '0F AB /r v mem',
  '0F BB /r v mem',
  '0F A3 /r v mem',
  'F2 0F 38 F0 /r m1 y',
];
const ONLY_32 = ['63 /r m2 mem', '63 /r m2 mem', '62 /r m8 mem'];

/** A place for `size` bytes: in a page without a right, or across two pages of different rights. */
function place(b: Builder, size: number, align: number): number {
  const { rng } = b;
  if (size < 2 || rng.oneIn(3)) {
    const at = rng.pick(INSIDE) + rng.below(0x1000 - size);
    return align > 1 ? at & -align : at;
  }
  const at = rng.pick(BOUNDARIES) - rng.range(1, Math.min(size, 64) - 1);
  return align > 1 ? at & -align : at;
}

/** Forms with a memory operand, of all tables. */
let forms: Readonly<Record<32 | 64, readonly Form[]>> | undefined;
function tableForms(): Readonly<Record<32 | 64, readonly Form[]>> {
  if (forms !== undefined) return forms;
  const all = [...TABLES.values()].flat().filter((f) => f.modrm && f.operand !== 'reg' && !f.vsib);
  return (forms = { 32: all.filter((f) => f.only !== 64), 64: all.filter((f) => f.only !== 32) });
}

function operands(b: Builder): void {
  const { rng } = b;
  b.setPattern(rng.below(16));
  if (!b.is32 && rng.oneIn(12)) b.policy = 'supervisor';
  const kind = rng.below(8);
  if (kind === 0 && b.is32) emit(b, rng.pick(ONLY_32), 0);
  else if (kind < 3) {
    // an unmasked error keeps an x87 instruction from storing
    b.setFcw(rng.oneIn(2) ? 0x37f : 0x340 | rng.below(64));
    b.setFtw(rng.below(256));
    emit(b, rng.pick(MORE), 1);
  } else if (kind === 3) {
    const text = rng.pick(STATE_FORMS);
    emit(b, text, text.startsWith('0F') ? 64 : 1);
  } else {
    const f = rng.pick(tableForms()[b.is32 ? 32 : 64]);
    if (f.opcode === 0xd3 || f.opcode === 0xd2 || f.opcode === 0xa5 || f.opcode === 0xad)
      b.setGpr(RCX, rng.oneIn(2) ? 0n : BigInt(rng.below(70))); // shifts by CL, of nothing too
    emit(b, f, f.aligned ? 16 : 1);
  }
}
function emit(b: Builder, what: string | Form, align: number): void {
  const f = typeof what === 'string' ? form(what) : what;
  const size = b.rng.pick(b.is32 ? [16, 32] : [16, 32, 64]);
  const bytes = f.memoryBytes || (f.size === 'b' ? 1 : f.size === 'w' ? 2 : size / 8);
  b.emit(f, { memory: true, size, target: place(b, bytes, align) });
}

/** Instructions that push and pop, with the stack across two pages; one or several slots. */
function stacks(b: Builder): void {
  const { rng, is32 } = b;
  const slot = is32 ? 4 : 8;
  const at = rng.pick(BOUNDARIES) + rng.range(-6, 6) * slot + (rng.oneIn(4) ? rng.below(slot) : 0);
  const pointer = (offset: number): bigint => BigInt(DATA_LOW + offset) + (!is32 && rng.oneIn(2) ? BigInt(HIGH) : 0n);
  b.setGpr(RSP, pointer(at));
  b.setGpr(RBP, pointer(rng.oneIn(2) ? 0x1800 : rng.pick(BOUNDARIES) + rng.range(-4, 4) * slot));
  const narrow = rng.oneIn(4) ? [0x66] : [];
  switch (rng.below(is32 ? 9 : 6)) {
    case 0:
      return b.raw(...narrow, 0x50 | rng.below(8));
    case 1:
      return b.raw(...narrow, 0x58 | rng.below(8));
    case 2:
      b.raw(...narrow, 0xc8);
      b.push(rng.pick([0, 0, 8, 0x100, 0x1000]), 2);
      return b.raw(rng.pick([0, 0, 1, 2, 5]));
    case 3:
      return b.raw(...narrow, 0xc9);
    case 4:
      return b.raw(...narrow, 0x9c);
    case 5:
      return b.emit(rng.oneIn(2) ? 'FF /6 v' : '8F /0 v', {
        memory: true,
        size: is32 ? 32 : 64,
        target: rng.oneIn(2) ? 0x800 : place(b, slot, 1),
      });
    case 6:
      return b.raw(...narrow, 0x60);
    case 7:
      return b.raw(...narrow, 0x61);
    default:
      return b.raw(...narrow, rng.pick([0x06, 0x0e, 0x16, 0x1e]));
  }
}

/** String instructions that run from one page into another. */
function strings(b: Builder): void {
  const { rng } = b;
  const op = rng.pick([0xa4, 0xa6, 0xaa, 0xac, 0xae]) + rng.below(2);
  const down = rng.oneIn(3);
  if (down) b.setRflags(b.rflags | 0x400);
  b.setPattern(rng.pick([12, 13, 0]));
  const pointer = (): bigint =>
    BigInt(DATA_LOW + rng.pick(BOUNDARIES) + rng.range(-40, 40)) + (!b.is32 && rng.oneIn(2) ? BigInt(HIGH) : 0n);
  b.setGpr(RSI, rng.oneIn(2) ? pointer() : BigInt(DATA_LOW + 0x800));
  b.setGpr(RDI, rng.oneIn(2) ? pointer() : BigInt(DATA_LOW + 0xc00));
  b.setGpr(RCX, BigInt(rng.oneIn(6) ? 0 : rng.range(1, 40))); // nothing at all is looked at then
  if ((op & 0xfe) === 0xae) b.setGpr(RAX, 0n);
  b.raw(...rng.pick([[], [0xf3], [0xf3], [0xf2]]), op);
}

/** Stores of the bytes that a mask names at RDI, and gathers of the elements that one names: what is masked off is not accessed. */
const MASKED_STORES = ['NP 0F F7 /r Rm Mm reg', '66 0F F7 /r x reg', 'VEX.128.66.0F.WIG F7 /r reg'];
function masked(b: Builder): void {
  const { rng } = b;
  if (rng.oneIn(2)) return b.emit(rng.pick(TABLES.get('gather')!), { target: place(b, 8, 1) });
  b.setFtw(0);
  b.setGpr(RDI, BigInt(DATA_LOW + place(b, 16, 1)) + (!b.is32 && rng.oneIn(2) ? BigInt(HIGH) : 0n));
  b.emit(rng.pick(MASKED_STORES));
}

function build(b: Builder): void {
  const kind = b.rng.below(9);
  if (kind === 8) masked(b);
  else if (kind < 5) operands(b);
  else if (kind < 7) stacks(b);
  else strings(b);
}

/** Apart by mode, because a kernel may have no 32-bit programs. */
export const rightsGroups: Group[] = [
  { name: 'rights', modes: 64, style: 'integer', weight: 3, build },
  { name: 'rights-32', modes: 32, style: 'integer', build },
];
