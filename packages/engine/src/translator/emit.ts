/** A region as a WebAssembly function: entry, blocks in their structure, control transfers, and the ways out. */
import { fail } from '@visorkit/core';
import {
  E_ENTRIES,
  E_FUNCTION,
  LEFT_AGAIN,
  LEFT_ELSEWHERE,
  LEFT_INTERPRET,
  LEFT_REFUSED,
  LISTED_BYTES,
  LISTED_DISTANCE,
  LIST_BASE,
  LIST_GENERATION,
  LIST_PAGES,
  MOST_PAGES,
  R_HANDLER,
} from '../code-layout.js';
import {
  ATTENTION,
  AVX_TRAP,
  BUDGET,
  CODE_BASE,
  GLOBAL_GENERATION,
  JUMP_CACHE,
  JUMP_CACHE_ENTRIES,
  JUMP_GENERATION,
  RIP,
  SEG_BASE,
  SEG_CS,
  SSE_TRAP,
  TIER_ENTERED,
  TIER_HOPS,
  TLB_BASE,
} from '../layout.js';
import { canTranslate, pushValue, translate } from './integer.js';
import { endsBlock } from './instructions.js';
import type { Instruction, Row, Size } from './instructions.js';
import {
  BASE,
  LEFT,
  ONWARD,
  RSP,
  START,
  TABLE,
  TARGET,
  V0,
  V2,
  W0,
  W1,
  W2,
  WAY,
  WAY_EXIT,
  WAY_PAGE,
  WAY_UNDONE,
} from './locals.js';
import type { Block, Edge, Region } from './regions.js';
import { planSpans } from './spans.js';
import { structure } from './structure.js';
import type { Structure } from './structure.js';
import { I32, I64, Op } from './opcodes.js';
import type { Code, ImportedFunction } from './wasm.js';
import { Writer } from './writer.js';
import type { Chain, Setting } from './writer.js';

/** What a region's module imports, in the order of the function indices; all are exports of the processor. */
export const IMPORTS: readonly ImportedFunction[] = [
  { name: 'settleFlags', parameters: [I32, I64, I64, I64, I64, I64], results: [] },
  { name: 'runUnit', parameters: [I32], results: [I32] },
  { name: 'runQuickX87', parameters: [I32], results: [I32] },
  { name: 'confirmPages', parameters: [I32], results: [I32] },
];
const CONFIRM_PAGES = 3;

/** Instructions after which a region is left, so that V8 can put optimised code in the place of what is running. */
const LONGEST_STAY = 100_000;
const PAGE = 4096;
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
  private readonly targets: Target[] = [];

  constructor(
    private readonly region: Region,
    private readonly setting: Setting,
    private readonly list: number,
    private readonly buffers: Buffers,
  ) {
    buffers.body.clear();
    this.w = new Writer(setting, region.pages, buffers.body);
    this.code = this.w.code;
    this.shape = structure(
      region.blocks.map(successorsOf),
      region.blocks.map(({ targets }) => targets.length > 0),
    );
  }

  emit(): void {
    const { w } = this;
    w.flags.forget();
    this.tree(0);
    const { whole } = this.buffers;
    whole.clear();
    this.enter(whole);
    w.finish(whole, this.shape, (to) => this.aimFromWay(to));
    this.leave(whole);
    whole.op(Op.end);
  }

  /** TARGET becomes what WAY says. */
  private aimFromWay(code: Code): void {
    code
      .get(BASE)
      .get(WAY)
      .i32(PAGE - 1)
      .op(Op.i32_and)
      .op(Op.i64_extend_i32_u)
      .op(Op.i64_add);
    if (this.region.pages.length > 1) this.addDistance(code);
    if (!this.setting.long) code.i64(-1, 0).op(Op.i64_and);
    code.set(TARGET);
  }
  /** Adds to the i64 on the stack how far the page in WAY is from the first. */
  private addDistance(code: Code): void {
    code
      .get(WAY)
      .i32(WAY_PAGE - Math.log2(LISTED_BYTES))
      .op(Op.i32_shr_u)
      .i32(MOST_PAGES * LISTED_BYTES)
      .op(Op.i32_and)
      .access(Op.i64_load, this.list + LIST_PAGES + LISTED_DISTANCE)
      .op(Op.i64_add);
  }

  /** Refuses if it could not run to its first way out. */
  private enter(code: Code): void {
    const { w, setting, region } = this,
      { state } = setting;
    code.reserve();
    code
      .i32(0)
      .access(Op.i64_load, state + BUDGET)
      .tee(V0)
      .i64(region.instructions)
      .op(Op.i64_lt_s);
    for (const trap of [...(w.vectors ? [SSE_TRAP] : []), ...(w.wideVectors ? [AVX_TRAP] : [])])
      code
        .i32(0)
        .access(Op.i32_load, state + trap)
        .op(Op.i32_or);
    code.when();
    code.i32(LEFT_REFUSED).op(Op.return).end();
    code.i32(0).access(Op.i32_load, state + TLB_BASE);
    if (setting.tlb === 0) code.set(TABLE);
    else {
      code.i32(setting.tlb).op(Op.i32_ne).when();
      code.i32(LEFT_ELSEWHERE).op(Op.return).end();
    }
    if (region.pages.length > 1) this.confirm(code);
    if (setting.counts !== undefined) {
      const { record, most } = setting.counts;
      code.i32(record);
      code.i32(record).access(Op.i32_load, E_ENTRIES).i32(1).op(Op.i32_add).tee(W0);
      code.access(Op.i32_store, E_ENTRIES);
      code.get(W0).i32(most).op(Op.i32_eq).when();
      code.i32(LEFT_AGAIN).op(Op.return).end();
    }
    code.get(V0).i64(LONGEST_STAY).get(V0).i64(LONGEST_STAY).op(Op.i64_lt_s).op(Op.select);
    code.op(Op.i32_wrap_i64).tee(START).set(LEFT);
    code
      .i32(0)
      .access(Op.i64_load, state + CODE_BASE)
      .set(BASE);
  }

  /** Refuses if the region's other pages are not where they were. */
  private confirm(code: Code): void {
    const { list } = this,
      { state } = this.setting;
    code
      .i32(0)
      .access(Op.i32_load, list + LIST_GENERATION)
      .tee(W0);
    code
      .i32(0)
      .access(Op.i32_load, state + JUMP_GENERATION)
      .op(Op.i32_ne);
    code
      .get(W0)
      .i32(0)
      .access(Op.i32_load, state + GLOBAL_GENERATION)
      .op(Op.i32_ne)
      .op(Op.i32_and);
    code.i32(0).access(Op.i64_load, list + LIST_BASE);
    code
      .i32(0)
      .access(Op.i64_load, state + CODE_BASE)
      .op(Op.i64_ne)
      .op(Op.i32_or);
    code.when();
    code.i32(list).call(CONFIRM_PAGES).op(Op.i32_eqz).when();
    code.i32(LEFT_ELSEWHERE).op(Op.return).end().end();
  }

  /** Behind all ways out. */
  private leave(code: Code): void {
    const { setting } = this,
      { state } = setting;
    code
      .i32(0)
      .get(TARGET)
      .access(Op.i64_store, state + RIP);
    // what was retired
    code.get(START).get(LEFT).op(Op.i32_sub).get(WAY).i32(WAY_UNDONE).op(Op.i32_shr_u);
    code
      .i32((1 << (WAY_EXIT - WAY_UNDONE)) - 1)
      .op(Op.i32_and)
      .op(Op.i32_sub);
    code.op(Op.i64_extend_i32_s).set(V0);
    code
      .i32(0)
      .i32(0)
      .access(Op.i64_load, state + BUDGET)
      .get(V0)
      .op(Op.i64_sub)
      .access(Op.i64_store, state + BUDGET);
    code.get(WAY).i32(WAY_EXIT).op(Op.i32_shr_u);
    if (setting.chain !== undefined) this.goOn(code, setting.chain);
  }
  /** Goes to the region at TARGET if there is one, in the way of enterTranslated (assembly/run.ts); else leaves why on the stack. */
  private goOn(code: Code, { mode, enter }: Chain): void {
    const { state } = this.setting;
    code.set(W0);
    const no = code.block();
    code
      .get(W0)
      .i32(0)
      .access(Op.i32_load, state + ATTENTION)
      .op(Op.i32_or)
      .brIf(no);
    if (!this.setting.long) {
      // the jump cache goes by linear addresses
      code
        .i32(0)
        .access(Op.i64_load, state + SEG_BASE + SEG_CS * 8)
        .op(Op.i64_eqz)
        .op(Op.i32_eqz)
        .brIf(no);
    }
    code
      .i32(0)
      .i32(0)
      .access(Op.i32_load, state + TIER_HOPS)
      .i32(1)
      .op(Op.i32_sub)
      .tee(W1)
      .access(Op.i32_store, state + TIER_HOPS);
    code.get(W1).op(Op.i32_eqz).brIf(no);
    code.get(TARGET).op(Op.i32_wrap_i64).tee(W1).get(W1).i32(13).op(Op.i32_shr_u).op(Op.i32_xor);
    code
      .i32(JUMP_CACHE_ENTRIES - 1)
      .op(Op.i32_and)
      .i32(4)
      .op(Op.i32_shl)
      .tee(W1);
    code.access(Op.i64_load, JUMP_CACHE).get(TARGET).op(Op.i64_ne).brIf(no);
    code
      .get(W1)
      .access(Op.i32_load, JUMP_CACHE + 8)
      .i32(mode)
      .op(Op.i32_sub)
      .set(W2);
    const current = code.block();
    code
      .get(W2)
      .i32(0)
      .access(Op.i32_load, state + JUMP_GENERATION)
      .i32(8)
      .op(Op.i32_shl)
      .op(Op.i32_eq)
      .brIf(current);
    code
      .get(W2)
      .i32(0)
      .access(Op.i32_load, state + GLOBAL_GENERATION)
      .i32(8)
      .op(Op.i32_shl)
      .op(Op.i32_ne)
      .brIf(no);
    code.end();
    code
      .get(W1)
      .access(Op.i32_load, JUMP_CACHE + 12)
      .tee(W2)
      .access(Op.i32_load16_u, R_HANDLER)
      .i32(enter)
      .op(Op.i32_ne)
      .brIf(no);
    code.get(W2).access(Op.i32_load, E_FUNCTION).tee(W1).op(Op.i32_eqz).brIf(no);
    code
      .i32(0)
      .get(TARGET)
      .i64(-PAGE)
      .op(Op.i64_and)
      .access(Op.i64_store, state + CODE_BASE);
    code
      .i32(0)
      .get(W2)
      .access(Op.i32_store, state + TIER_ENTERED);
    code.get(W1).returnCallIndirect(IMPORTS.length);
    code.end().get(W0);
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
  /** Goes along an edge; `at` is its place among the successors. */
  private follow(from: number, at: number, edge: Edge): void {
    this.code.reserve();
    const to = this.shape.successors[from]![at]!;
    if (to < 0) {
      this.w.leaveFor(edge.to);
      return;
    }
    if (this.isDispatcher(to)) this.aim(edge.to);
    if (this.isJump(from, to)) {
      this.w.beforeBranch([to]);
      this.code.br(this.label(to));
      return;
    }
    if (this.shape.loops[to] === true) this.w.beforeBranch([to]);
    this.tree(to);
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
    if (shape.merges[number] === true || shape.loops[number] === true) w.flags.forget();
    if (shape.loops[number] === true) {
      code.get(LEFT).i32(region.instructions).op(Op.i32_lt_s).when();
      w.leaveFor(block.offset);
      code.end();
    }
    if (count > 0) code.get(LEFT).i32(count).op(Op.i32_sub).set(LEFT);
    const accesses = planSpans(block.instructions, this.setting.long);
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
    w.flags.forget();
    code.get(LEFT).i32(region.instructions).op(Op.i32_lt_s).when();
    code.get(BASE).get(ONWARD).op(Op.i64_add);
    if (!this.setting.long) code.i64(-1, 0).op(Op.i64_and);
    code.set(TARGET);
    w.leaveForTarget();
    code.end();
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
        this.branch(number, block, row.condition);
        return true;
      case 'jump':
        this.follow(number, 0, block.taken!);
        return true;
      case 'call':
        pushValue(w, row.size, () => this.returnAddress(i, row.size));
        this.follow(number, 0, block.taken!);
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
        w.stackPointer((row.size >>> 3) + (i.immediate & 0xffff));
        w.setWhole(RSP);
        this.dispatch(number, block);
        return true;
      default:
        return false;
    }
  }

  private branch(number: number, block: Block, condition: number): void {
    const { w, code, shape } = this,
      [taken, next] = shape.successors[number]!;
    w.flags.condition(condition);
    if (taken! >= 0 && this.isJump(number, taken!)) {
      if (this.isDispatcher(taken!)) this.aim(block.taken!.to);
      w.beforeBranch([taken!]);
      code.brIf(this.label(taken!));
    } else if (next! >= 0 && this.isJump(number, next!)) {
      if (this.isDispatcher(next!)) this.aim(block.next!.to);
      code.op(Op.i32_eqz);
      w.beforeBranch([next!]);
      code.brIf(this.label(next!));
      this.follow(number, 0, block.taken!);
      return;
    } else {
      const recall = w.flags.remember();
      code.when();
      this.follow(number, 0, block.taken!);
      code.end();
      recall();
      w.resumeNode(number);
    }
    this.follow(number, 1, block.next!);
  }

  private returnAddress(i: Instruction, size: Size): void {
    this.w.ripAt(i.offset + i.length);
    if (size === 32) this.code.op(Op.i32_wrap_i64);
  }
  /** TARGET becomes the operand of an indirect jump or call. */
  private target(i: Instruction, form: string, size: Size): void {
    const { w, code } = this;
    if (form === 'M') {
      w.address(i);
      w.check(size >>> 3, false);
      this.loadTarget(size);
      return;
    }
    w.read(i.reg, size);
    if (size === 32) code.op(Op.i64_extend_i32_u);
    code.set(TARGET);
    this.checkTarget(size);
  }
  private loadTarget(size: Size): void {
    this.w.load(size);
    if (size === 32) this.code.op(Op.i64_extend_i32_u);
    this.code.set(TARGET);
    this.checkTarget(size);
  }
  /** A target that is not canonical is the interpreter's; with five levels of tables it looks at some more than it must. */
  private checkTarget(size: Size): void {
    if (size !== 64) return;
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
