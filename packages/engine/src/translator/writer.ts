/**
 * The parts that translated instructions are made of: registers in locals, addresses, accesses with the TLB check in line, and ways out of the
 * region. Nothing an instruction does is visible before its last check: a way out leaves the state as it was before the instruction.
 */
import {
  AM_SHORT,
  AM_SIMPLE,
  NO_REGISTER,
  RIP_BASE,
  LEFT_CROSSED,
  LEFT_INTERPRET,
  LEFT_LOOK_UP,
} from '../code-layout.js';
import { AVX_TRAP, SSE_TRAP, CODE_BASE, REGS, SEG_BASE, SEG_FS, SEG_GS } from '../layout.js';
import { BlockUse, planExchanges, shareTails } from './exchange.js';
import { Flags } from './flags.js';
import { HeldVectors } from './held-vectors.js';
import { hasAddress, hasFarDisplacement } from './instructions.js';
import type { Instruction, Size } from './instructions.js';
import { BASE, P, REGISTERS, RSP, TARGET, WAY, WAY_EXIT, WAY_PAGE, WAY_UNDONE } from './locals.js';
import { Op } from './opcodes.js';
import { pageOf } from './regions.js';
import { inSegment, isChecked, inStack } from './segments.js';
import type { CodeMode } from './segments.js';
import type { Access } from './spans.js';
import type { Structure } from './structure.js';
import { checkFor } from './tlb-check.js';
import type { Code } from './wasm.js';

const ALL_REGISTERS = (1 << REGISTERS) - 1;

/** What is fixed for a region. */
export interface Setting extends CodeMode {
  /** Where the processor's state block begins: addresses of layout.ts count from here. */
  state: number;
  /** TLB table that the checks are made for; 0: for the one in force when the region is entered. */
  tlb: number;
  /** First record of the block that enters it. */
  record: number;
  /** Undefined: entries are not counted; else in the word at an address, and after so many of them the region asks to be made again. */
  counts: { counter: number; most: number } | undefined;
  /** One check may serve several accesses. */
  spans: boolean;
  /** Where a copy of the instruction's record lies for a unit; 0: there is no room. */
  place(i: Instruction): number;
}

/** What is put into the body when it is known what all of it does with registers. */
type Insertion = { at: number } & (
  | { kind: 'block'; node: number }
  | { kind: 'edges'; from: number; to: readonly number[] }
  | { kind: 'give'; node: number; registers: number; written: number }
  | { kind: 'take'; registers: number }
  | { kind: 'exit'; node: number; written: number; held: number; depth: number; far: boolean; conditional: boolean }
);

export class Writer {
  readonly flags: Flags;
  readonly held = new HeldVectors();
  private readonly insertions: Insertion[] = [];
  /** By node of the structure. */
  private readonly uses: BlockUse[] = [];
  /** The node being written, what it does with registers so far, and how deep its code is nested. */
  private node = 0;
  private use = new BlockUse();
  /** With `stores`: registers that this node has written and not put back. */
  private unstored = 0;
  private depth = 0;
  private readonly depths: number[] = [];
  /** SSE instructions run here, or AVX ones: they must be usable. */
  vectors = false;
  wideVectors = false;
  /** The instruction being translated, and how many of its block, itself included, have not been done. */
  at = 0;
  undone = 0;
  /** Its access, if that may be part of a span; and how far behind the host address on the stack, or in P, its operand lies. */
  private access: Access | undefined;
  private displaced = 0;

  constructor(
    readonly setting: Setting,
    /** Offsets of the pages that the region has code in. */
    private readonly pages: readonly number[],
    /** Empty; the body is written into it. */
    readonly code: Code,
    /**
     * Registers that were written are put back in front of each way out, not behind it. Ways out are short then, and V8 has less to keep for them: there is
     * a tenth less machine code, and it is sooner compiled. But a loop stores each time what it could keep.
     */
    private readonly stores: boolean,
    /** Scalar doubles are calculated with: vector registers are mostly written by halves. */
    readonly scalars = false,
  ) {
    this.flags = new Flags(this.code, setting.state, {
      read: (registers) => this.use.read(registers),
      write: (registers) => this.use.write(registers, this.isCertain(), false),
    });
  }

  /** Begins a node of the structure, behind its label. */
  beginNode(node: number): void {
    this.node = node;
    this.use = this.uses[node] = new BlockUse();
    this.depth = this.depths[node] = this.code.depth;
    this.insertions.push({ kind: 'block', at: this.code.length, node });
  }
  /** Goes on with a node after others, which control does not come from. */
  resumeNode(node: number): void {
    this.node = node;
    this.use = this.uses[node]!;
    this.depth = this.depths[node]!;
  }
  /** In front of a branch to these nodes, of which one is reached in several ways. */
  beforeBranch(to: readonly number[]): void {
    this.insertions.push({ kind: 'edges', at: this.code.length, from: this.node, to });
  }
  /** Nothing is known any more of flags and of vectors: code that can be reached in several ways begins. */
  forget(): void {
    this.flags.forget();
    this.held.forget();
  }
  /** What is known, to be put back where the same way goes on. */
  remember(): () => void {
    const flags = this.flags.remember(),
      held = this.held.remember();
    return () => {
      flags();
      held();
    };
  }
  /** Whether control comes here whenever the node is entered. */
  isCertain(): boolean {
    return this.code.depth === this.depth;
  }

  /** Begins an instruction. */
  begin(offset: number, undone: number, access: Access | undefined): void {
    this.at = offset;
    this.undone = undone;
    this.access = access;
    this.displaced = 0;
    this.code.reserve();
  }

  /** Words of the state that must be 0 for what runs here. */
  traps(): number[] {
    return [...(this.vectors ? [SSE_TRAP] : []), ...(this.wideVectors ? [AVX_TRAP] : [])];
  }

  // ---------------------------------------------------------------------------------------------- ways out
  /** Leaves before the instruction if the i32 on the stack is not 0. */
  leaveIf(exit: number = LEFT_INTERPRET): void {
    this.code.i32(this.way(this.at, this.undone, exit)).set(WAY);
    this.exit(false, true);
  }
  /** Everything before `offset`, which may lie out of the region's pages, has been done; `undone` instructions of the block have not. */
  leaveFor(offset: number, exit: number = LEFT_LOOK_UP, undone = 0): void {
    const { code } = this;
    if (this.pages.includes(pageOf(offset))) {
      code.i32(this.way(offset, undone, exit)).set(WAY);
      this.exit(false, false);
      return;
    }
    this.ripAt(offset);
    code.set(TARGET);
    this.leaveForTarget(exit, undone);
  }
  leaveForTarget(exit: number = LEFT_LOOK_UP, undone = 0): void {
    this.code.i32(this.way(0, undone, exit)).set(WAY);
    this.exit(true, false);
  }
  /** A branch out, if `conditional` only where the i32 on the stack is not 0: to an offset in WAY, or to TARGET if it is `far`. */
  private exit(far: boolean, conditional: boolean): void {
    this.storeRegisters();
    const { code, node, use } = this;
    this.insertions.push({
      kind: 'exit',
      at: code.length,
      node,
      written: use.writes,
      held: use.held,
      depth: code.depth,
      far,
      conditional,
    });
  }
  /** A way out to an offset in one of the region's pages, as the local WAY has it. */
  private way(offset: number, undone: number, exit: number): number {
    const page = pageOf(offset);
    return (offset - page) | (this.pages.indexOf(page) << WAY_PAGE) | (undone << WAY_UNDONE) | (exit << WAY_EXIT);
  }
  /** Pushes the RIP of an offset. */
  ripAt(offset: number): void {
    const { code } = this;
    code.get(BASE);
    this.plus(offset);
    if (!this.setting.long) code.i64(-1, 0).op(Op.i64_and);
  }
  /** CODE_BASE becomes what it is for the instruction: units look there. */
  giveBase(): void {
    if (this.pages.length === 1) return;
    this.code.i32(0);
    this.ripAt(pageOf(this.at));
    this.code.access(Op.i64_store, this.setting.state + CODE_BASE);
  }
  /** Adds a constant of up to 53 bits to the i64 on the stack. */
  private plus(value: number): void {
    if (value !== 0) this.code.i64(value | 0, Math.floor(value / 0x1_0000_0000)).op(Op.i64_add);
  }

  // ---------------------------------------------------------------------------------------------- registers
  /** Pushes a register operand, zero-extended: an i64 for 64 bits, else an i32. `offset` is from REGS; an odd one is AH to BH. */
  read(offset: number, size: Size): void {
    const { code } = this,
      n = offset >>> 3;
    this.use.read(1 << n);
    code.get(n);
    if (size === 64) return;
    code.op(Op.i32_wrap_i64);
    if ((offset & 7) !== 0) code.i32(8).op(Op.i32_shr_u);
    if (size === 8) code.i32(0xff).op(Op.i32_and);
    else if (size === 16) code.i32(0xffff).op(Op.i32_and);
  }
  /** Pops a value of this size, zero-extended, into a register. */
  write(offset: number, size: Size): void {
    const { code } = this,
      n = offset >>> 3;
    this.writes(n, size >= 32 && this.isCertain());
    if (size !== 64) code.op(Op.i64_extend_i32_u);
    if (size === 8 || size === 16) {
      const high = (offset & 7) !== 0;
      if (high) code.i64(8).op(Op.i64_shl);
      code
        .get(n)
        .i64(high ? ~0xff00 : size === 8 ? ~0xff : ~0xffff)
        .op(Op.i64_and)
        .op(Op.i64_or);
    }
    code.set(n);
  }
  /** Pushes all 64 bits of register `n`. */
  whole(n: number): void {
    this.use.read(1 << n);
    this.code.get(n);
  }
  setWhole(n: number): void {
    this.writes(n, this.isCertain());
    this.code.set(n);
  }
  private writes(n: number, certain: boolean): void {
    this.use.write(1 << n, certain, this.stores);
    if (this.stores) this.unstored |= 1 << n;
  }
  /** Puts back those of the registers that have been written since they were: control may go elsewhere from here. */
  storeRegisters(which = ALL_REGISTERS): void {
    const registers = this.unstored & which;
    if (registers === 0) return;
    this.putBack(this.code, registers);
    if (this.isCertain()) this.unstored &= ~registers;
  }
  /** Pushes an immediate as an operand of this size. */
  immediate(i: Instruction, size: Size): void {
    const { code } = this;
    if (size === 64 && this.setting.long && hasAddress(i) && i.reg !== RSP * 8) code.operand(i.immediate, i.offset);
    else if (size === 64) code.i64(i.immediate, i.immediateHigh);
    else code.i32(size === 32 ? i.immediate : i.immediate & (size === 8 ? 0xff : 0xffff));
  }

  // ---------------------------------------------------------------------------------------------- addresses
  /** Pushes the linear address of the memory operand (i64), of which `bytes` bytes are to be read or, with `write`, written. */
  address(i: Instruction, bytes: number, write: boolean): void {
    const { code } = this;
    this.offset(i);
    if (isChecked(this.setting, i)) inSegment(this, i.segment, bytes, write);
    else if (
      this.setting.long &&
      i.addressMode !== AM_SIMPLE &&
      (i.baseSegment === SEG_FS || i.baseSegment === SEG_GS)
    ) {
      code
        .i32(0)
        .access(Op.i64_load, this.setting.state + SEG_BASE + i.baseSegment * 8)
        .op(Op.i64_add);
    }
  }
  /** Pushes base + index * scale + displacement, cut to the address size: without the segment's base. */
  offset(i: Instruction): void {
    const { code } = this;
    let parts = 0,
      { displacement } = i;
    if (i.base === RIP_BASE) {
      code.get(BASE);
      displacement += pageOf(i.offset);
      parts++;
    } else if (i.base !== NO_REGISTER) {
      this.whole(i.base >>> 3);
      parts++;
    }
    if (i.index !== NO_REGISTER) {
      this.whole(i.index >>> 3);
      if (i.scale !== 0) code.i64(i.scale).op(Op.i64_shl);
      if (parts++ > 0) code.op(Op.i64_add);
    }
    if (this.setting.long && hasFarDisplacement(i)) {
      code.operand(displacement, i.offset, i.base === RIP_BASE ? i.offset + i.length : 0);
      if (parts > 0) code.op(Op.i64_add);
    } else if (parts === 0) code.i64(displacement);
    else this.plus(displacement);
    if (i.short) code.i64(0xffff).op(Op.i64_and);
    else if (!this.setting.long || i.addressMode === AM_SHORT) code.i64(-1, 0).op(Op.i64_and);
  }

  // ---------------------------------------------------------------------------------------------- memory
  /**
   * Pops a linear address, checks that `bytes` bytes there may be read or, with `write`, written, and pushes their host address; leaves the region
   * before the instruction when the TLB does not say so.
   */
  check(bytes: number, write: boolean, exit: number = LEFT_INTERPRET): void {
    const { code } = this;
    code.append(checkFor(this.setting.tlb, bytes, write));
    this.leaveIf(exit);
  }
  /** Checks the memory operand and pushes its host address, which the next load and store are made at. */
  operand(i: Instruction, bytes: number, write: boolean): void {
    this.reach(bytes, write, () => this.address(i, bytes, write));
  }
  /** The same for what lies `by` bytes from the stack pointer. */
  stack(by: number, bytes: number, write: boolean): void {
    this.reach(bytes, write, () => {
      this.whole(RSP);
      if (by !== 0) this.code.i64(by).op(Op.i64_add);
      inStack(this, bytes, write);
    });
  }
  private reach(bytes: number, write: boolean, address: () => void): void {
    const { code, access } = this;
    if (access === undefined || access.span.accesses < 2) {
      address();
      this.check(bytes, write);
      return;
    }
    const { span, at } = access;
    if (span.checked) code.get(span.local);
    else {
      address();
      if (at !== span.from) code.i64(span.from - at).op(Op.i64_add);
      this.check(span.to - span.from, span.writes, LEFT_CROSSED);
      code.tee(span.local);
      span.checked = true;
    }
    this.displaced = at - span.from;
  }
  /** The same as {@link check}, with the host address in P. */
  open(bytes: number, write: boolean): void {
    this.check(bytes, write);
    this.code.set(P);
  }
  /** Pops a host address, pushes what is there: an i64 for 64 bits, else an i32. */
  load(size: Size): void {
    this.code.access(LOADS[size], this.displaced);
  }
  /** The same at P. */
  loadOpen(size: Size): void {
    this.code.get(P).access(LOADS[size], this.displaced);
  }
  /** Pops a host address and, above it, a value like that of {@link load}, and stores it. */
  store(size: Size): void {
    this.code.access(STORES[size], this.displaced);
  }
  /** The same for the low bits of an i64. */
  storeLow(size: Size): void {
    this.code.access(STORES_LOW[size], this.displaced);
  }
  /** Stores the value that `push` pushes at P. */
  storeOpen(size: Size, push: () => void): void {
    this.code.get(P);
    push();
    this.store(size);
  }

  // ---------------------------------------------------------------------------------------------- the state
  /** Registers go to the state here, if they may have been written. */
  giveRegisters(registers: number): void {
    if (registers === 0) return;
    this.storeRegisters(registers);
    const { code, node, use } = this;
    this.insertions.push({ kind: 'give', at: code.length, node, registers, written: use.writes });
  }
  /** Registers come from the state here, if the region has anything to do with them. */
  takeRegisters(registers: number): void {
    if (registers === 0) return;
    const { code, use } = this;
    use.take(registers, this.isCertain());
    this.insertions.push({ kind: 'take', at: code.length, registers });
  }
  private takeNow(code: Code, which: number): void {
    for (let n = 0; n < REGISTERS; n++) {
      if ((which & (1 << n)) !== 0)
        code
          .i32(0)
          .access(Op.i64_load, this.setting.state + REGS + n * 8)
          .set(n);
    }
    this.flags.takePassed(code, which);
  }
  private putBack(code: Code, which: number): void {
    for (let n = 0; n < REGISTERS; n++) {
      if ((which & (1 << n)) !== 0)
        code
          .i32(0)
          .get(n)
          .access(Op.i64_store, this.setting.state + REGS + n * 8);
    }
    this.flags.givePassed(code, which);
  }

  /**
   * Appends the region to `whole`: the body, with registers taken from the state and put back where they must be. All ways out end behind it, with TARGET
   * where the guest goes on, which `target` sets from WAY for those that are not far.
   */
  finish(whole: Code, structure: Structure, target: (code: Code) => void): void {
    const { insertions, uses } = this,
      plan = planExchanges(structure, uses),
      exits = insertions.filter((one) => one.kind === 'exit');
    const { tails, numbers } = shareTails(
      exits.map(({ node, written, held }) => {
        const must = plan.written[node]! | written;
        return { must, may: plan.held[node]! | held | must };
      }),
    );
    const used = uses.reduce((sum, { all }) => sum | all, 0);
    this.takeNow(whole, plan.held[0]!);
    const end = whole.block(),
      labels = tails.map(() => ({ far: whole.block(), near: whole.block() })),
      outside = whole.depth;
    const body = this.code;
    const passed = { bytes: 0, marks: 0, hints: 0 };
    let exit = 0;
    for (const one of insertions) {
      whole.appendCode(body, one.at, passed);
      whole.reserve();
      switch (one.kind) {
        case 'block':
          this.takeNow(whole, uses[one.node]!.reads & ~plan.held[one.node]!);
          break;
        case 'edges':
          this.takeNow(whole, one.to.reduce((all, to) => all | plan.held[to]!, 0) & ~plan.left[one.from]!);
          break;
        case 'give':
          this.putBack(whole, one.registers & (plan.written[one.node]! | one.written));
          break;
        case 'take':
          this.takeNow(whole, one.registers & used);
          break;
        case 'exit': {
          const { far, near } = labels[numbers[exit++]!]!;
          whole.depth = outside + one.depth;
          if (one.conditional) whole.unlikely().brIf(one.far ? far : near);
          else whole.br(one.far ? far : near);
        }
      }
      whole.reserve();
    }
    whole.appendCode(body, body.length, passed);
    whole.reserve();
    whole.depth = outside;
    whole.op(Op.unreachable);
    for (let n = tails.length - 1; n >= 0; n--) {
      whole.reserve();
      whole.end(); // near
      target(whole);
      whole.end(); // far
      this.putBack(whole, tails[n]!);
      whole.br(end);
    }
    whole.end();
    whole.reserve();
  }
}

const LOADS: Record<Size, Op> = { 8: Op.i32_load8_u, 16: Op.i32_load16_u, 32: Op.i32_load, 64: Op.i64_load };
const STORES_LOW: Record<Size, Op> = { 8: Op.i64_store8, 16: Op.i64_store16, 32: Op.i64_store32, 64: Op.i64_store };
const STORES: Record<Size, Op> = { 8: Op.i32_store8, 16: Op.i32_store16, 32: Op.i32_store, 64: Op.i64_store };
