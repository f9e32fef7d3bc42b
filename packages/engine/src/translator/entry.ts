/** How a region is entered and left: checks in front of its body, accounts and the way to the next region behind it. */
import {
  LEFT_AGAIN,
  LEFT_ELSEWHERE,
  LEFT_REFUSED,
  LISTED_BYTES,
  LISTED_DISTANCE,
  LIST_BASE,
  LIST_GENERATION,
  LIST_PAGES,
  MODE_SIZE,
} from '../code-layout.js';
import {
  ATTENTION,
  BUDGET,
  CODE_BASE,
  GLOBAL_GENERATION,
  JUMP_GENERATION,
  MODE,
  REGION_CACHE,
  REGION_CACHE_ENTRIES,
  RIP,
  SEG_BASE,
  SEG_CS,
  TIER_ENTERED,
  TIER_HOPS,
  TLB_BASE,
} from '../layout.js';
import { CONFIRM_PAGES, FIND_NEXT, REGION } from './called.js';
import { BASE, LEFT, START, TABLE, TARGET, V0, W0, WAY, WAY_EXIT, WAY_PAGE, WAY_UNDONE } from './locals.js';
import { I32, I64, Op } from './opcodes.js';
import type { Region } from './regions.js';
import { isOutside } from './segments.js';
import { hasTailCalls } from './tail-calls.js';
import { Code } from './wasm.js';
import type { OwnFunction } from './wasm.js';
import type { Setting } from './writer.js';

/** Instructions after which a region with a loop is left, so that V8 can put optimised code in the place of what is running. */
const LONGEST_STAY = 100_000;
const PAGE = 4096;

/** TARGET becomes what WAY says. */
export function aimFromWay(code: Code, { pages }: Region, { long }: Setting, list: number): void {
  code
    .get(BASE)
    .get(WAY)
    .i32(PAGE - 1)
    .op(Op.i32_and)
    .op(Op.i64_extend_i32_u)
    .op(Op.i64_add);
  if (pages.length > 1) addDistance(code, list);
  if (!long) code.i64(-1, 0).op(Op.i64_and);
  code.set(TARGET);
}
/** Adds to the i64 on the stack how far the page in WAY is from the first. */
function addDistance(code: Code, list: number): void {
  code
    .get(WAY)
    .i32(WAY_PAGE - Math.log2(LISTED_BYTES))
    .op(Op.i32_shr_u)
    .i32(((1 << (WAY_UNDONE - WAY_PAGE)) - 1) * LISTED_BYTES)
    .op(Op.i32_and)
    .access(Op.i64_load, list + LIST_PAGES + LISTED_DISTANCE)
    .op(Op.i64_add);
}

/**
 * Refuses if it could not run to its first way out, or something is not as it was made for: one of `traps` is set, the pages in `list` are elsewhere, or
 * the code is not all in its segment.
 * `loops`: it may stay in the region.
 */
export function enterRegion(
  code: Code,
  region: Region,
  setting: Setting,
  { list, traps, loops }: { list: number; traps: readonly number[]; loops: boolean },
): void {
  const { state } = setting;
  code.reserve();
  code
    .i32(0)
    .own(setting.record)
    .access(Op.i32_store, state + TIER_ENTERED);
  code
    .i32(0)
    .access(Op.i64_load, state + BUDGET)
    .tee(V0)
    .i64(region.instructions)
    .op(Op.i64_lt_s);
  if (setting.limited || setting.bits === 16) {
    const from = Math.min(...region.blocks.map(({ offset }) => offset)),
      end = Math.max(...region.blocks.map((block) => block.end));
    const base = (): void => void code.i32(0).access(Op.i64_load, state + CODE_BASE);
    isOutside(code, setting, base, from, end - from);
    code.op(Op.i32_or);
  }
  for (const trap of traps)
    code
      .i32(0)
      .access(Op.i32_load, state + trap)
      .op(Op.i32_or);
  code.unlikely().when();
  code.i32(LEFT_REFUSED).op(Op.return).end();
  code.i32(0).access(Op.i32_load, state + TLB_BASE);
  if (setting.tlb === 0) code.set(TABLE);
  else {
    code.i32(setting.tlb).op(Op.i32_ne).unlikely().when();
    code.i32(LEFT_ELSEWHERE).op(Op.return).end();
  }
  if (region.pages.length > 1) confirm(code, state, list);
  if (setting.counts !== undefined) {
    const { counter, most } = setting.counts;
    code.i32(0).i32(0).accessOwn(Op.i32_load, counter).i32(1).op(Op.i32_add).tee(W0);
    code.accessOwn(Op.i32_store, counter);
    code.get(W0).i32(most).op(Op.i32_eq).unlikely().when();
    code.i32(LEFT_AGAIN).op(Op.return).end();
  }
  code.get(V0);
  if (loops) code.i64(LONGEST_STAY).get(V0).i64(LONGEST_STAY).op(Op.i64_lt_s).op(Op.select);
  code.op(Op.i32_wrap_i64).tee(START).set(LEFT);
  code
    .i32(0)
    .access(Op.i64_load, state + CODE_BASE)
    .set(BASE);
}

function confirm(code: Code, state: number, list: number): void {
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
  code.unlikely().when();
  code.i32(list).callInTable(CONFIRM_PAGES).op(Op.i32_eqz).when();
  code.i32(LEFT_ELSEWHERE).op(Op.return).end().end();
}

/** Behind all ways out: TARGET and WAY say where the guest goes on, and why. To the next region it goes by itself, so that the host can tell each one's jump from the others'. */
export function leaveRegion(code: Code): void {
  code.get(TARGET).get(WAY).get(START).get(LEFT).op(Op.i32_sub);
  code.call(FIND_NEXT).tee(W0);
  if (hasTailCalls()) {
    code.i32(0).op(Op.i32_lt_s).when();
    code.get(W0).i32(-1).op(Op.i32_xor).op(Op.return).end();
    code.get(W0).returnCallIndirect(REGION);
  } else code.i32(-1).op(Op.i32_xor);
}

/**
 * What regions call at their end, with the state block at `state`: a function of RIP (i64), what WAY has, and how many instructions have been begun. It
 * keeps the accounts, and returns the function of the region at RIP if there is one, in the way of enterTranslated (assembly/run.ts); else the complement of why
 * the last one was left. There is one in each module and not in each region, so that there is less code that the host has to hold in its caches.
 */
export function findNext(state: number): OwnFunction {
  const RIP_NOW = 0,
    WAY_OUT = 1,
    BEGUN = 2,
    WHY = 3,
    MODE_NOW = 4,
    SLOT = 5,
    LINEAR_NOW = 6,
    CS_BASE = 7;
  const code = new Code();
  code
    .i32(0)
    .get(RIP_NOW)
    .access(Op.i64_store, state + RIP);
  // what was retired
  code.get(BEGUN).get(WAY_OUT).i32(WAY_UNDONE).op(Op.i32_shr_u);
  code
    .i32((1 << (WAY_EXIT - WAY_UNDONE)) - 1)
    .op(Op.i32_and)
    .op(Op.i32_sub)
    .set(BEGUN);
  code
    .i32(0)
    .i32(0)
    .access(Op.i64_load, state + BUDGET)
    .get(BEGUN)
    .op(Op.i64_extend_i32_s)
    .op(Op.i64_sub)
    .access(Op.i64_store, state + BUDGET);
  code.get(WAY_OUT).i32(WAY_EXIT).op(Op.i32_shr_u).set(WHY);
  code.reserve();
  if (hasTailCalls()) {
    const no = code.block();
    code
      .get(WHY)
      .i32(0)
      .access(Op.i32_load, state + ATTENTION)
      .op(Op.i32_or)
      .unlikely()
      .brIf(no);
    code
      .i32(0)
      .i32(0)
      .access(Op.i32_load, state + TIER_HOPS)
      .i32(1)
      .op(Op.i32_sub)
      .tee(SLOT)
      .access(Op.i32_store, state + TIER_HOPS);
    code.get(SLOT).op(Op.i32_eqz).unlikely().brIf(no);
    // the cache goes by linear addresses
    code.get(RIP_NOW).set(LINEAR_NOW);
    code
      .i32(0)
      .access(Op.i32_load, state + MODE)
      .tee(MODE_NOW)
      .i32(MODE_SIZE)
      .op(Op.i32_and)
      .i32(2)
      .op(Op.i32_ne)
      .unlikely()
      .when();
    code
      .i32(0)
      .access(Op.i64_load, state + SEG_BASE + SEG_CS * 8)
      .tee(CS_BASE)
      .get(RIP_NOW)
      .op(Op.i64_add)
      .i64(-1, 0)
      .op(Op.i64_and)
      .set(LINEAR_NOW);
    code.end();
    code.get(LINEAR_NOW).op(Op.i32_wrap_i64).i32(2).op(Op.i32_shr_u).tee(SLOT).get(SLOT).i32(13).op(Op.i32_shr_u);
    code
      .op(Op.i32_xor)
      .i32(REGION_CACHE_ENTRIES - 1)
      .op(Op.i32_and)
      .i32(4)
      .op(Op.i32_shl)
      .tee(SLOT);
    code.access(Op.i64_load, REGION_CACHE).get(LINEAR_NOW).op(Op.i64_ne).unlikely().brIf(no);
    code.reserve();
    const current = code.block();
    for (const generation of [JUMP_GENERATION, GLOBAL_GENERATION]) {
      const last = generation === GLOBAL_GENERATION;
      code
        .get(SLOT)
        .access(Op.i32_load, REGION_CACHE + 8)
        .get(MODE_NOW);
      code
        .i32(0)
        .access(Op.i32_load, state + generation)
        .i32(8)
        .op(Op.i32_shl)
        .op(Op.i32_or)
        .op(last ? Op.i32_ne : Op.i32_eq)
        .brIf(last ? no : current);
    }
    code.end();
    code
      .i32(0)
      .get(LINEAR_NOW)
      .i64(-PAGE)
      .op(Op.i64_and)
      .get(CS_BASE)
      .op(Op.i64_sub)
      .access(Op.i64_store, state + CODE_BASE);
    code
      .get(SLOT)
      .access(Op.i32_load, REGION_CACHE + 12)
      .op(Op.return);
    code.end();
  }
  code.get(WHY).i32(-1).op(Op.i32_xor).op(Op.end);
  return {
    parameters: [I64, I32, I32],
    results: [I32],
    locals: [
      [LINEAR_NOW - WHY, I32],
      [2, I64],
    ],
    code,
  };
}
