/** How a region is entered and left: checks in front of its body, accounts and the way to the next region behind it. */
import {
  E_ENTRIES,
  E_FUNCTION,
  LEFT_AGAIN,
  LEFT_ELSEWHERE,
  LEFT_REFUSED,
  LISTED_BYTES,
  LISTED_DISTANCE,
  LIST_BASE,
  LIST_GENERATION,
  LIST_PAGES,
  R_HANDLER,
} from '../code-layout.js';
import {
  ATTENTION,
  BUDGET,
  CODE_BASE,
  GLOBAL_GENERATION,
  JUMP_CACHE,
  JUMP_CACHE_ENTRIES,
  JUMP_GENERATION,
  RIP,
  SEG_BASE,
  SEG_CS,
  TIER_ENTERED,
  TIER_HOPS,
  TLB_BASE,
} from '../layout.js';
import { CONFIRM_PAGES, IMPORTS } from './imports.js';
import { BASE, LEFT, START, TABLE, TARGET, V0, W0, W1, W2, WAY, WAY_EXIT, WAY_PAGE, WAY_UNDONE } from './locals.js';
import { Op } from './opcodes.js';
import type { Region } from './regions.js';
import type { Code } from './wasm.js';
import type { Chain, Setting } from './writer.js';

/** Instructions after which a region is left, so that V8 can put optimised code in the place of what is running. */
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

/** Refuses if it could not run to its first way out, or something is not as it was made for: one of `traps` is set, or the pages in `list` are elsewhere. */
export function enterRegion(
  code: Code,
  region: Region,
  setting: Setting,
  { list, traps }: { list: number; traps: readonly number[] },
): void {
  const { state } = setting;
  code.reserve();
  code
    .i32(0)
    .access(Op.i64_load, state + BUDGET)
    .tee(V0)
    .i64(region.instructions)
    .op(Op.i64_lt_s);
  for (const trap of traps)
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
  if (region.pages.length > 1) confirm(code, state, list);
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
  code.when();
  code.i32(list).call(CONFIRM_PAGES).op(Op.i32_eqz).when();
  code.i32(LEFT_ELSEWHERE).op(Op.return).end().end();
}

/** Behind all ways out: TARGET and WAY say where the guest goes on, and why. */
export function leaveRegion(code: Code, setting: Setting): void {
  const { state } = setting;
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
  if (setting.chain !== undefined) goOn(code, setting, setting.chain);
}
/** Goes to the region at TARGET if there is one, in the way of enterTranslated (assembly/run.ts); else leaves why on the stack. */
function goOn(code: Code, { state, long }: Setting, { mode, enter }: Chain): void {
  code.set(W0);
  const no = code.block();
  code
    .get(W0)
    .i32(0)
    .access(Op.i32_load, state + ATTENTION)
    .op(Op.i32_or)
    .brIf(no);
  if (!long) {
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
