/** A region as a WebAssembly function: blocks in their structure, and control transfers. What is in front of them and behind them is entry.ts's. */
import { fail } from '@visorkit/core';
import { LEFT_INTERPRET } from '../code-layout.js';
import { aimFromWay, enterRegion, leaveRegion } from './entry.js';
import { canTranslate, countDown, pushLoops, pushValue, translate } from './integer.js';
import { endsBlock } from './instructions.js';
import type { Instruction, Row, Size } from './instructions.js';
import { BASE, LEFT, ONWARD, TARGET, V2 } from './locals.js';
import type { Block, Edge, Region } from './regions.js';
import { insideCode, moveStack } from './segments.js';
import { planSpans } from './spans.js';
import { structure } from './structure.js';
import type { Structure } from './structure.js';
import { Op } from './opcodes.js';
import type { Code } from './wasm.js';
import { Integer } from './unit-numbers.js';
import { Writer } from './writer.js';
import type { Setting } from './writer.js';

/** A jump table from the first to the last target has at most this many places; otherwise targets are compared one by one. */
const WIDEST_TABLE = 4096;
const FEWEST_FOR_TABLE = 4;

/** Whether this instruction can be part of a region. */
export function translatable(setting: Setting): (i: Instruction) => boolean {
  return (i) => canTranslate(setting, i);
}

/** Arrays that are written into again for each region. */
export interface Buffers {
  readonly body: Code;
  readonly whole: Code;
  /** The last region has vector instructions in line. */
  vectors: boolean;
}

/**
 * The function of a region: it has no parameters and returns why it was left (one of LEFT_). It is in `buffers.whole` until the next one is written.
 * `list` is where the list of its pages lies, if it has several.
 */
export function emitRegion(region: Region, setting: Setting, list: number, buffers: Buffers): Code {
  new RegionEmitter(region, setting, list, buffers).emit();
  return buffers.whole;
}

/** Where a branch to a block goes: a label that is open. */
interface Target {
  block: number;
  label: number;
}

class RegionEmitter {
  private readonly w: Writer;
  private readonly code: Code;
  private readonly shape: Structure;
  private readonly loops: boolean;
  private readonly targets: Target[] = [];

  constructor(
    private readonly region: Region,
    private readonly setting: Setting,
    private readonly list: number,
    private readonly buffers: Buffers,
  ) {
    buffers.body.clear();
    this.shape = structure(
      region.blocks.map(successorsOf),
      region.blocks.map(({ targets }) => targets.length > 0),
    );
    this.loops = this.shape.loops.includes(true);
    const scalars = region.blocks.some(({ instructions }) => instructions.some(({ row }) => row?.kind === 'scalar'));
    this.w = new Writer(setting, region.pages, buffers.body, !this.loops, scalars);
    this.code = this.w.code;
  }

  emit(): void {
    const { w } = this;
    w.forget();
    this.tree(0);
    const { whole } = this.buffers;
    whole.clear();
    const { region, setting, list, loops } = this;
    enterRegion(whole, region, setting, { list, traps: w.traps(), loops });
    w.finish(whole, this.shape, (to) => aimFromWay(to, region, setting, list));
    leaveRegion(whole);
    whole.op(Op.end);
    this.buffers.vectors = w.vectors || w.wideVectors;
  }

  // ---------------------------------------------------------------------------------------------- structure
  /** A block and all that it dominates. */
  private tree(block: number): void {
    const { code, shape, targets } = this;
    if (shape.loops[block] !== true) {
      this.within(block, shape.joined[block]!);
      return;
    }
    const label = code.loop();
    targets.push({ block, label });
    this.within(block, shape.joined[block]!);
    targets.pop();
    code.end();
  }
  /** The block, in front of the blocks where its ways join again. */
  private within(block: number, joined: readonly number[]): void {
    const [last, ...others] = joined;
    if (last === undefined) {
      this.block(block);
      return;
    }
    const { code, targets } = this,
      label = code.block();
    targets.push({ block: last, label });
    this.within(block, others);
    targets.pop();
    code.end();
    this.tree(last);
  }

  private label(block: number): number {
    const { targets } = this;
    for (let n = targets.length - 1; n >= 0; n--) if (targets[n]!.block === block) return targets[n]!.label;
    return fail(
      'ENGINE_ABORT',
      `The translator stopped itself: block ${block} of a region has no label that is open.`,
      { block },
    );
  }
  /** Whether a branch to the block is a jump to a label that is open. */
  private isJump(from: number, to: number): boolean {
    const { order, merges } = this.shape;
    return order[to]! <= order[from]! || merges[to] === true;
  }
  /** Whether a branch leads back to a block. A dispatcher looks itself whether there is enough left. */
  private isBack(from: number, to: number): boolean {
    const { order } = this.shape;
    return !this.isDispatcher(to) && order[to]! <= order[from]!;
  }
  /**
   * In front of a branch back: leaves if what may still run could be less than comes until the next such branch, each block of the region at most once. It is
   * here and not where the loop begins, since here it is known what has made the flags: there they would have to be kept in locals round after round.
   */
  private leaveIfDue(leave: () => void): void {
    const { code, region } = this;
    code.get(LEFT).i32(region.instructions).op(Op.i32_lt_s).unlikely().when();
    leave();
    code.end();
  }
  /** Goes along an edge; `at` is its place among the successors, `by` the branch that is taken, if it is one. */
  private follow(from: number, at: number, edge: Edge, by?: Instruction): void {
    this.code.reserve();
    this.w.storeRegisters();
    const to = this.shape.successors[from]![at]!;
    if (to < 0) {
      if (by?.size === 2) {
        this.pushTaken(edge.to, 2);
        this.code.set(TARGET);
        this.w.leaveForTarget();
      } else this.w.leaveFor(edge.to);
      return;
    }
    if (this.isDispatcher(to)) this.aim(edge.to);
    if (this.isJump(from, to)) {
      if (this.isBack(from, to)) this.leaveIfDue(() => this.w.leaveFor(edge.to));
      this.w.beforeBranch([to]);
      this.code.br(this.label(to));
      return;
    }
    if (this.shape.loops[to] === true) this.w.beforeBranch([to]);
    this.tree(to);
  }

  /** A direct branch out of the region may be one that faults. */
  private checkDirect(from: number, { taken }: Block, i: Instruction): void {
    if (this.shape.successors[from]![0]! < 0) insideCode(this.w, () => this.pushTaken(taken!.to, i.size));
  }
  /** Pushes the RIP that a branch with this operand size has at an offset. */
  private pushTaken(to: number, bytes: number): void {
    this.w.ripAt(to);
    if (bytes === 2) this.code.i64(0xffff).op(Op.i64_and);
  }

  private isDispatcher(node: number): boolean {
    return node >= this.region.blocks.length;
  }
  /** Says to a dispatcher which block is meant. */
  private aim(offset: number): void {
    this.code.i64(offset).set(ONWARD);
  }

  // ---------------------------------------------------------------------------------------------- blocks
  private block(number: number): void {
    const { w, code, shape, region } = this;
    if (this.isDispatcher(number)) {
      this.dispatcher(number);
      return;
    }
    const block = region.blocks[number]!,
      count = block.instructions.length;
    code.reserve();
    w.beginNode(number);
    if (shape.merges[number] === true || shape.loops[number] === true) w.forget();
    if (count > 0) code.get(LEFT).i32(count).op(Op.i32_sub).set(LEFT);
    const accesses = planSpans(block.instructions, this.setting);
    block.instructions.forEach((i, n) => {
      w.begin(i.offset, count - n, accesses[n]);
      const row = i.row!;
      if (n === count - 1 && this.transfers(number, block, i, row)) return;
      translate(w, i, row);
    });
    const { next } = block;
    const last = block.instructions[count - 1];
    if (next !== undefined && (last === undefined || !endsBlock(last.row!))) {
      if (block.stops) w.leaveFor(block.end, LEFT_INTERPRET);
      else this.follow(number, 0, next);
    }
  }

  /** Goes to the block that ONWARD says. */
  private dispatcher(node: number): void {
    const { w, code, shape, region } = this;
    code.reserve();
    w.beginNode(node);
    w.forget();
    this.leaveIfDue(() => {
      code.get(BASE).get(ONWARD).op(Op.i64_add);
      if (!this.setting.long) code.i64(-1, 0).op(Op.i64_and);
      code.set(TARGET);
      w.leaveForTarget();
    });
    this.select(
      ONWARD,
      shape.dispatchers[node - region.blocks.length]!.map((block, n) => ({
        to: region.blocks[block]!.offset,
        block: shape.successors[node]![n]!,
      })),
    );
    code.op(Op.unreachable);
  }

  /** Translates an instruction that ends a block; false: it is another. */
  private transfers(number: number, block: Block, i: Instruction, row: Row): boolean {
    const { w } = this;
    switch (row.kind) {
      case 'jump-if':
        this.checkDirect(number, block, i);
        this.branch(number, block, i, () => w.flags.condition(row.condition));
        return true;
      case 'loop':
        this.checkDirect(number, block, i);
        if (row.unit !== Integer.JCXZ) countDown(w, row.counter);
        this.branch(number, block, i, () => pushLoops(w, row));
        return true;
      case 'jump':
        this.checkDirect(number, block, i);
        this.follow(number, 0, block.taken!, i);
        return true;
      case 'call':
        this.checkDirect(number, block, i);
        pushValue(w, row.size, () => this.returnAddress(i, row.size));
        this.follow(number, 0, block.taken!, i);
        return true;
      case 'call-to':
        this.target(i, row.form, row.size);
        pushValue(w, row.size, () => this.returnAddress(i, row.size));
        this.dispatch(number, block);
        return true;
      case 'jump-to':
        this.target(i, row.form, row.size);
        this.dispatch(number, block);
        return true;
      case 'return':
        w.stack(0, row.size >>> 3, false);
        this.loadTarget(row.size);
        moveStack(w, (row.size >>> 3) + (i.immediate & 0xffff));
        this.dispatch(number, block);
        return true;
      default:
        return false;
    }
  }

  /** `condition` pushes whether the branch is taken (i32). */
  private branch(number: number, block: Block, i: Instruction, condition: () => void): void {
    const { w, code, shape } = this,
      [taken, next] = shape.successors[number]!;
    w.storeRegisters();
    condition();
    if (taken! >= 0 && this.isBack(number, taken!)) {
      code.when();
      this.follow(number, 0, block.taken!, i);
      code.end();
    } else if (next! >= 0 && this.isBack(number, next!)) {
      code.op(Op.i32_eqz).when();
      this.follow(number, 1, block.next!);
      code.end();
      this.follow(number, 0, block.taken!, i);
      return;
    } else if (taken! >= 0 && this.isJump(number, taken!)) {
      if (this.isDispatcher(taken!)) this.aim(block.taken!.to);
      w.beforeBranch([taken!]);
      code.brIf(this.label(taken!));
    } else if (next! >= 0 && this.isJump(number, next!)) {
      if (this.isDispatcher(next!)) this.aim(block.next!.to);
      code.op(Op.i32_eqz);
      w.beforeBranch([next!]);
      code.brIf(this.label(next!));
      this.follow(number, 0, block.taken!, i);
      return;
    } else {
      const recall = w.remember();
      code.when();
      this.follow(number, 0, block.taken!, i);
      code.end();
      recall();
      w.resumeNode(number);
    }
    this.follow(number, 1, block.next!);
  }

  private returnAddress(i: Instruction, size: Size): void {
    this.w.ripAt(i.offset + i.length);
    if (size !== 64) this.code.op(Op.i32_wrap_i64);
  }
  /** TARGET becomes the operand of an indirect jump or call. */
  private target(i: Instruction, form: string, size: Size): void {
    const { w, code } = this;
    if (form === 'M') {
      w.address(i, size >>> 3, false);
      w.check(size >>> 3, false);
      this.loadTarget(size);
      return;
    }
    w.read(i.reg, size);
    if (size !== 64) code.op(Op.i64_extend_i32_u);
    code.set(TARGET);
    this.checkTarget(size);
  }
  private loadTarget(size: Size): void {
    this.w.load(size);
    if (size !== 64) this.code.op(Op.i64_extend_i32_u);
    this.code.set(TARGET);
    this.checkTarget(size);
  }
  /** A target that is not canonical, or beyond the limit, is the interpreter's; with five levels of tables it looks at some more than it must. */
  private checkTarget(size: Size): void {
    if (size !== 64) {
      insideCode(this.w, () => this.code.get(TARGET));
      return;
    }
    this.code.get(TARGET).i64(16).op(Op.i64_shl).i64(16).op(Op.i64_shr_s).get(TARGET).op(Op.i64_ne);
    this.w.leaveIf();
  }

  /** Goes to TARGET: to one of the block's targets, or out. */
  private dispatch(number: number, block: Block): void {
    const { w, code, shape } = this,
      here = block.targets
        .map(({ to }, n) => ({ to, block: shape.successors[number]![n]! }))
        .filter((edge) => edge.block >= 0);
    if (here.length === 0) {
      w.leaveForTarget();
      return;
    }
    w.storeRegisters();
    if (here.some((edge) => this.isBack(number, edge.block))) this.leaveIfDue(() => w.leaveForTarget());
    code.get(TARGET).get(BASE).op(Op.i64_sub);
    if (!this.setting.long) code.op(Op.i32_wrap_i64).op(Op.i64_extend_i32_s);
    const aims = here.some((edge) => this.isDispatcher(edge.block));
    code.set(aims ? ONWARD : V2);
    this.select(aims ? ONWARD : V2, here);
    w.leaveForTarget();
  }
  /** Goes to the block at the offset in a local (i64), if it is one of these; all have labels that are open. */
  private select(local: number, edges: readonly Edge[]): void {
    const { code } = this,
      here = [...edges].sort((a, b) => a.to - b.to);
    const out = code.block(),
      first = here[0]!.to,
      last = here[here.length - 1]!.to;
    this.w.beforeBranch(here.map(({ block }) => block));
    if (here.length < FEWEST_FOR_TABLE || last - first >= WIDEST_TABLE) {
      for (const edge of here) code.get(local).i64(edge.to).op(Op.i64_eq).brIf(this.label(edge.block));
    } else {
      code
        .get(local)
        .i64(first)
        .op(Op.i64_sub)
        .tee(V2)
        .i64(last - first)
        .op(Op.i64_gt_u)
        .brIf(out);
      const places = new Array<number>(last - first + 1).fill(out);
      for (const edge of here) places[edge.to - first] = this.label(edge.block);
      code.get(V2).op(Op.i32_wrap_i64).brTable(places, out);
    }
    code.end();
  }
}

/** Numbers of the blocks behind a block, in the order of its edges: taken, next, targets; -1 outside. */
function successorsOf({ taken, next, targets }: Block): number[] {
  return [taken, next, ...targets].filter((edge) => edge !== undefined).map(({ block }) => block);
}
