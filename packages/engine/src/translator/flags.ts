/**
 * Arithmetic flags in translated code: what made them, with its operands, in locals. Conditions are made from them where it is known what made
 * them; anything else, and every way out of a region, has the processor put them into their lazy form (assembly/flag-kinds.ts).
 */
import {
  MADE_ADD,
  MADE_DEC,
  MADE_EXACT,
  MADE_INC,
  MADE_LOGIC,
  MADE_MUL,
  MADE_SAR,
  MADE_SHL,
  MADE_SHR,
  MADE_SUB,
  THEN_CARRY,
  THEN_DEC,
  THEN_INC,
  THEN_NOTHING,
  THEN_ROL,
  THEN_ROR,
} from '../code-layout.js';
import { AFTER, FLAGS } from './exchange.js';
import { LF_AUX, LF_RESULT, TIER_FLAGS, TIER_FLAGS_KIND } from '../layout.js';
import { SETTLE_FLAGS } from './called.js';
import type { Size } from './instructions.js';
import { FA, FB, FK, FN, FR, FS } from './locals.js';
import { Op } from './opcodes.js';
import type { Code } from './wasm.js';

/** In the order of TIER_FLAGS; the last two belong to AFTER. */
const PASSED = [FA, FB, FR, FS, FN];
const MADE = 3;
/** Bits of FK from here on say what came after (code-layout.ts). */
const AFTER_SHIFT = 8;
const SIZE_CODES: Record<Size, number> = { 8: 0, 16: 1, 32: 2, 64: 3 };

export class Flags {
  /** False where several ways with different flags meet: FK says then what made them, and what came after. */
  private known = false;
  private afterKnown = false;
  private made: number = MADE_EXACT;
  private size: Size = 64;
  private after: number = THEN_NOTHING;
  private afterSize: Size = 64;
  /** ADD or SUB without a carry in. */
  private plain = false;
  /** The count of `after` may be 0. */
  private conditional = false;

  constructor(
    private readonly code: Code,
    private readonly state: number,
    /** To be told which of FLAGS and AFTER are read and written. */
    private readonly use: { read(registers: number): void; write(registers: number): void },
  ) {}

  /** Nothing is known any more: code that can be reached in several ways begins. */
  forget(): void {
    this.known = this.afterKnown = false;
  }
  /** Which knowledge there is, to be put back with {@link recall} where the same way goes on. */
  remember(): () => void {
    const { known, afterKnown, made, size, after, afterSize, plain, conditional } = this;
    return () => Object.assign(this, { known, afterKnown, made, size, after, afterSize, plain, conditional });
  }

  /** FA, FB and FR, as far as `made` has them, are set by the caller. */
  set(made: number, size: Size, plain = true): void {
    this.known = this.afterKnown = true;
    this.made = made;
    this.size = size;
    this.after = THEN_NOTHING;
    this.plain = plain;
    this.use.write(FLAGS);
    this.tell();
  }
  /** Flags of a comparison of numbers, as assembly/simd/float.ts has them, from what pushes 1 for equal and for less. */
  setCompared(equal: () => void, less: () => void): void {
    const { code } = this;
    code.i64(0).i64(1);
    equal();
    code.op(Op.select).set(FR);
    code
      .i64(0x100)
      .i64(0xc000_0000 | 0, 0)
      .i64(0);
    less();
    code.op(Op.select);
    equal();
    code.op(Op.select).set(FA);
    this.set(MADE_EXACT, 64);
  }
  /** To be called before FS and FN are set for `after`: flags as they are must be expressible below it, if it is `conditional`, all of them. */
  prepare(after: number, conditional = false): void {
    if (!this.afterKnown) {
      this.makeExactIfMore();
      this.after = THEN_NOTHING;
      return;
    }
    const replaces = this.after === THEN_CARRY || this.after === THEN_ROL || this.after === THEN_ROR;
    const fits =
      this.after === THEN_NOTHING ||
      (replaces && !this.conditional && !conditional && (after === THEN_ROL || after === THEN_ROR));
    if (!fits) this.makeExact();
  }
  /**
   * INC and DEC leave CF alone: to be called before the result goes to the local that this returns, and {@link step} behind it. Where it is not known what
   * has made CF, that stays below.
   */
  prepareStep(): number {
    const { code } = this;
    if (this.hasCarry() || (this.known && !this.isStep() && !(this.after !== THEN_NOTHING && this.conditional))) {
      this.cf();
      code.op(Op.i64_extend_i32_u).set(FA);
      return FR;
    }
    if (!(this.afterKnown && this.isStep())) this.prepare(THEN_INC);
    return FS;
  }
  step(result: number, up: boolean, size: Size): void {
    if (result === FR) this.set(up ? MADE_INC : MADE_DEC, size);
    else this.setThen(up ? THEN_INC : THEN_DEC, size, false);
  }
  private isStep(): boolean {
    return this.after === THEN_INC || this.after === THEN_DEC;
  }
  setThen(after: number, size: Size, conditional: boolean): void {
    this.after = after;
    this.afterSize = size;
    this.conditional = conditional;
    this.afterKnown = true;
    this.use.write(AFTER);
    if (!this.known) this.use.read(FLAGS);
    this.use.write(FLAGS);
    this.tell();
  }
  private tell(): void {
    const { code } = this,
      made = SIZE_CODES[this.size] | (this.made << 2),
      after = (SIZE_CODES[this.afterSize] << AFTER_SHIFT) | (this.after << (AFTER_SHIFT + 2));
    if (this.known) code.i32(made | after);
    else
      code
        .get(FK)
        .i32((1 << AFTER_SHIFT) - 1)
        .op(Op.i32_and)
        .i32(after)
        .op(Op.i32_or);
    code.set(FK);
  }
  /** Of flags that are not known: puts those that something came after into their exact form, so that there is room for it again. */
  private makeExactIfMore(): void {
    const { code } = this;
    this.use.read(FLAGS);
    code
      .get(FK)
      .i32(AFTER_SHIFT + 2)
      .op(Op.i32_shr_u)
      .when();
    this.settle();
    this.take();
    code.i32(SIZE_CODES[64] | (MADE_EXACT << 2)).set(FK);
    this.use.write(FLAGS);
    code.end();
  }

  /** Puts the flags of this place into the processor's state. */
  settle(): void {
    this.use.read(this.afterKnown && this.after === THEN_NOTHING ? FLAGS : FLAGS | AFTER);
    this.code.get(FK).get(FA).get(FB).get(FR).get(FS).get(FN).callInTable(SETTLE_FLAGS);
  }
  /** Takes flags, as far as `which` has them, from where regions hand them over. */
  takePassed(code: Code, which: number): void {
    const { state } = this;
    if ((which & FLAGS) !== 0)
      code
        .i32(0)
        .access(Op.i32_load, state + TIER_FLAGS_KIND)
        .set(FK);
    const end = endOfPassed(which);
    for (let n = beginningOfPassed(which); n < end; n++)
      code
        .i32(0)
        .access(Op.i64_load, state + TIER_FLAGS + n * 8)
        .set(PASSED[n]!);
  }
  /** Hands them over to whoever comes next. */
  givePassed(code: Code, which: number): void {
    const { state } = this;
    if ((which & FLAGS) !== 0)
      code
        .i32(0)
        .get(FK)
        .access(Op.i32_store, state + TIER_FLAGS_KIND);
    const end = endOfPassed(which);
    for (let n = beginningOfPassed(which); n < end; n++)
      code
        .i32(0)
        .get(PASSED[n]!)
        .access(Op.i64_store, state + TIER_FLAGS + n * 8);
  }
  /** Takes the flags from the processor's state. */
  load(): void {
    this.take();
    this.set(MADE_EXACT, 64);
  }
  private take(): void {
    const { code, state } = this;
    code
      .i32(0)
      .access(Op.i64_load, state + LF_RESULT)
      .set(FR);
    code
      .i32(0)
      .access(Op.i64_load32_u, state + LF_AUX)
      .set(FA);
  }
  makeExact(): void {
    if (this.known && this.made === MADE_EXACT && this.after === THEN_NOTHING) return;
    this.settle();
    this.load();
  }

  /** Pushes 1 (i32) if the condition, numbered as in Jcc, holds, else 0. */
  condition(number: number): void {
    const { code } = this,
      kind = number >>> 1;
    if (kind === 1 && this.hasCarry()) {
      this.cf();
      if ((number & 1) !== 0) code.op(Op.i32_eqz);
      return;
    }
    if (this.afterKnown && this.isStep() && kind !== 1 && kind !== 3) {
      this.conditionOfStep(kind);
      if ((number & 1) !== 0) code.op(Op.i32_eqz);
      return;
    }
    if (!this.known || (this.after !== THEN_NOTHING && this.conditional)) this.makeExact();
    if (this.after !== THEN_NOTHING && kind !== 1 && kind !== 2 && kind !== 4 && kind !== 5) this.makeExact();
    if (this.made === MADE_SUB && this.plain && this.after === THEN_NOTHING && compared[kind] !== undefined) {
      this.compare(compared[kind]!);
    } else if (kind === 0) this.of();
    else if (kind === 1) this.cf();
    else if (kind === 2) this.zf();
    else if (kind === 3) {
      if (this.made === MADE_LOGIC) this.zf();
      else {
        this.prepareBoth();
        this.cf();
        this.zf();
        code.op(Op.i32_or);
      }
    } else if (kind === 4) this.sf();
    else if (kind === 5) this.pf();
    else if (this.made === MADE_LOGIC)
      code
        .get(FR)
        .i64(0)
        .op(kind === 6 ? Op.i64_lt_s : Op.i64_le_s);
    else {
      this.prepareBoth();
      this.sf();
      this.of();
      code.op(Op.i32_xor);
      if (kind === 7) {
        this.zf();
        code.op(Op.i32_or);
      }
    }
    if ((number & 1) !== 0) code.op(Op.i32_eqz);
  }
  /** Of INC or DEC with its result in FS: any that CF has no part in. */
  private conditionOfStep(kind: number): void {
    const { code, afterSize: size } = this,
      up = this.after === THEN_INC;
    const zero = (): Code => code.get(FS).op(Op.i64_eqz),
      negative = (): Code => code.get(FS).i64(0).op(Op.i64_lt_s),
      overflow = (): void => this.isEnd(FS, size, up);
    if (kind === 0) overflow();
    else if (kind === 2) zero();
    else if (kind === 4) negative();
    else if (kind === 5) this.parityOf(FS);
    else {
      negative();
      overflow();
      code.op(Op.i32_xor);
      if (kind === 7) {
        zero();
        code.op(Op.i32_or);
      }
    }
  }
  /** Whether INC (`up`) or DEC to the value in a local has gone beyond the signed range: it is at its other end. */
  private isEnd(local: number, size: Size, up: boolean): void {
    const { code } = this;
    code.get(local);
    if (size === 64) code.i64(up ? 0 : -1, up ? -0x8000_0000 : 0x7fff_ffff);
    else code.i64(up ? -(2 ** (size - 1)) : 2 ** (size - 1) - 1);
    code.op(Op.i64_eq);
  }

  /** CF or OF of some operations needs the processor's help, which must not come between two parts of a condition. */
  private prepareBoth(): void {
    if (this.made === MADE_MUL || this.made === MADE_SHR) this.makeExact();
  }

  /** Of a plain SUB: the operands compared. */
  private compare({ op, signed, narrow }: { op: Op; signed: boolean; narrow?: Op }): void {
    const { code, size } = this;
    for (const operand of [FA, FB]) {
      code.get(operand);
      if (!signed) continue;
      if (size === 32) code.op(Op.i32_wrap_i64);
      else if (size !== 64) code.op(size === 8 ? Op.i64_extend8_s : Op.i64_extend16_s);
    }
    code.op(signed && size === 32 ? narrow! : op);
  }

  /** Pushes CF as an i32. */
  carry(): void {
    if (!this.hasCarry() && (!this.known || (this.after !== THEN_NOTHING && this.conditional))) this.makeExact();
    this.cf();
  }
  /** What came after gives CF, whatever made the flags. */
  private hasCarry(): boolean {
    const { after, afterKnown, conditional } = this;
    return afterKnown && !conditional && (after === THEN_CARRY || after === THEN_ROL || after === THEN_ROR);
  }
  private cf(): void {
    const { code, size } = this;
    if (this.after === THEN_CARRY) {
      code.get(FS).op(Op.i32_wrap_i64);
      return;
    }
    if (this.after === THEN_ROL || this.after === THEN_ROR) {
      this.bitOf(FS, this.after === THEN_ROL ? 0 : this.afterSize - 1);
      return;
    }
    switch (this.made) {
      case MADE_EXACT:
        code.get(FA).op(Op.i32_wrap_i64).i32(31).op(Op.i32_shr_u);
        return;
      case MADE_ADD:
        if (this.plain && size === 64) code.get(FR).get(FA).op(Op.i64_lt_u);
        else if (this.plain) code.get(FA).get(FB).op(Op.i64_add).i64(size).op(Op.i64_shr_u).op(Op.i32_wrap_i64);
        else {
          code.get(FA).get(FB).op(Op.i64_and).get(FA).get(FB).op(Op.i64_or).get(FR).i64(-1).op(Op.i64_xor);
          code.op(Op.i64_and).op(Op.i64_or);
          this.topBit();
        }
        return;
      case MADE_SUB:
        if (this.plain) code.get(FA).get(FB).op(Op.i64_lt_u);
        else {
          code.get(FA).i64(-1).op(Op.i64_xor).get(FB).op(Op.i64_and);
          code.get(FA).i64(-1).op(Op.i64_xor).get(FB).op(Op.i64_or).get(FR).op(Op.i64_and).op(Op.i64_or);
          this.topBit();
        }
        return;
      case MADE_LOGIC:
        code.i32(0);
        return;
      case MADE_INC:
      case MADE_DEC:
        code.get(FA).op(Op.i32_wrap_i64);
        return;
      case MADE_SHL:
        code.get(FA).i64(size).get(FB).op(Op.i64_sub).op(Op.i64_shr_u).op(Op.i32_wrap_i64).i32(1).op(Op.i32_and);
        return;
      case MADE_SHR:
      case MADE_SAR:
        code.get(FA);
        if (this.made === MADE_SAR && size === 32) code.op(Op.i64_extend32_s);
        code
          .get(FB)
          .i64(1)
          .op(Op.i64_sub)
          .op(this.made === MADE_SAR ? Op.i64_shr_s : Op.i64_shr_u);
        code.op(Op.i32_wrap_i64).i32(1).op(Op.i32_and);
        return;
      default:
        this.makeExact();
        this.cf();
    }
  }
  private of(): void {
    const { code, size } = this;
    switch (this.made) {
      case MADE_EXACT:
        code.get(FA).i64(1).op(Op.i64_shl).get(FA).op(Op.i64_xor).op(Op.i32_wrap_i64).i32(31).op(Op.i32_shr_u);
        return;
      case MADE_ADD:
        code.get(FA).get(FR).op(Op.i64_xor).get(FB).get(FR).op(Op.i64_xor).op(Op.i64_and);
        this.topBit();
        return;
      case MADE_SUB:
        code.get(FA).get(FB).op(Op.i64_xor).get(FA).get(FR).op(Op.i64_xor).op(Op.i64_and);
        this.topBit();
        return;
      case MADE_LOGIC:
      case MADE_SAR:
        code.i32(0);
        return;
      case MADE_INC:
      case MADE_DEC:
        this.isEnd(FR, size, this.made === MADE_INC);
        return;
      case MADE_SHL:
        this.cf();
        this.sf();
        code.op(Op.i32_xor);
        return;
      default:
        this.makeExact();
        this.of();
    }
  }
  private zf(): void {
    this.code.get(FR).op(Op.i64_eqz);
  }
  private sf(): void {
    const { code } = this;
    code.get(FR).i64(0).op(Op.i64_lt_s);
    if (this.made === MADE_EXACT) code.get(FA).op(Op.i32_wrap_i64).i32(1).op(Op.i32_and).op(Op.i32_xor);
  }
  private pf(): void {
    const { code } = this;
    if (this.made !== MADE_EXACT) {
      this.parityOf(FR);
      return;
    }
    code.get(FR).op(Op.i32_wrap_i64).get(FA).op(Op.i32_wrap_i64).i32(8).op(Op.i32_shr_u).op(Op.i32_xor);
    this.isEven();
  }
  private parityOf(local: number): void {
    this.code.get(local).op(Op.i32_wrap_i64);
    this.isEven();
  }
  /** Whether the low byte of the i32 on the stack has an even number of ones. */
  private isEven(): void {
    this.code.i32(0xff).op(Op.i32_and).op(Op.i32_popcnt).i32(1).op(Op.i32_and).op(Op.i32_eqz);
  }
  /** The top bit of an i64 of this size, as an i32. */
  private topBit(): void {
    this.code
      .i64(this.size - 1)
      .op(Op.i64_shr_u)
      .op(Op.i32_wrap_i64)
      .i32(1)
      .op(Op.i32_and);
  }
  private bitOf(local: number, bit: number): void {
    this.code.get(local).i64(bit).op(Op.i64_shr_u).op(Op.i32_wrap_i64).i32(1).op(Op.i32_and);
  }
}

/** Which places of PASSED belong to FLAGS and AFTER. */
function beginningOfPassed(which: number): number {
  return (which & FLAGS) !== 0 ? 0 : MADE;
}
function endOfPassed(which: number): number {
  return (which & AFTER) !== 0 ? PASSED.length : MADE;
}

/** Conditions (without their lowest bit) that are comparisons of the operands of a SUB. */
const compared: Partial<Record<number, { op: Op; signed: boolean; narrow?: Op }>> = {
  1: { op: Op.i64_lt_u, signed: false },
  2: { op: Op.i64_eq, signed: false },
  3: { op: Op.i64_le_u, signed: false },
  6: { op: Op.i64_lt_s, signed: true, narrow: Op.i32_lt_s },
  7: { op: Op.i64_le_s, signed: true, narrow: Op.i32_le_s },
};
