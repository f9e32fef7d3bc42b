import {
  BLOCK_HEADER, B_BYTES, B_SECOND_PAGE, E_COUNT, E_CROSSED, E_FUNCTION, E_LIMIT, LEFT_AGAIN, LEFT_CROSSED, LEFT_ELSEWHERE, LEFT_EXITED, LEFT_INTERPRET, LEFT_LOOK_UP, LEFT_REFUSED,
} from "../src/code-layout";
import {
  ARENA, ATTENTION, BUDGET, CODE_BASE, EFLAGS, INTERRUPTIBILITY, JUMP_CACHE, JUMP_CACHE_ENTRIES, MODE, REGIONS_LEFT, REGION_CACHE, REGION_CACHE_ENTRIES, RIP, RUN_FLAGS, SEG_BASE, SEG_CS,
  SEG_LIMIT, TIER_ENTERED, TIER_HOPS, TIER_LEFT_BUDGET, TIER_LEFT_RIP, TIER_RECORD, TIER_RETIRED, TIER_STATUS, TIER_THRESHOLD,
} from "../src/layout";
import { decodeOne, findBlock, pageAfter } from "./blocks";
import { arenaGeneration } from "./code-pages";
import { IF, RF, TF } from "./flags";
import { giveFlags, takeFlags } from "./flag-kinds";
import { becameHot } from "./hot-blocks";
import { V_INSTRUCTION_LENGTH } from "../src/vmcs-layout";
import { clearLog, rewindLog } from "./mmio";
import {
  ATT_BUS_LOCK, ATT_DEBUG, ATT_INTERRUPT_WINDOW, ATT_STEPPED, ATT_MMIO, ATT_MTF, ATT_NMI_WINDOW, ATT_RESUME_FLAG, ATT_SHADOW, ATT_SHADOW_OLD, ATT_STEP,
  ATT_SUPPLIED, ATT_TPR, ATT_VIRTUAL_INTERRUPT, MODE_CS_CHECK, MODE_SIZE, currentRip, linearOfRip, nextRip, updateAttention,
} from "./mode";
import { OP_ENTER } from "./generated/ops";
import { RECORD, recLeft, recLength, recOffset, recOp } from "./record";
import {
  BUS_LOCKED, BUS_LOCK_DONE, DEADLINE_REACHED, EVENT_DELIVERED, EXIT_RECORDED, MMIO_STARTED, MTF_ARMED, RIP_FINAL, STEPPED, STEPPED_TF, SUPPLIED_STARTED,
} from "./run-flags";
import { END, EXIT, FAULT, JUMP, OK, REPEAT } from "./status";
import { dropSupplied, suppliedRecord } from "./supplied";
import { instructionBreakpoint } from "./system/breakpoints";
import { afterInstruction, beginStep } from "./system/debug";
import { deliverException } from "./system/exceptions";
import { raiseError } from "./system/raise";
import { isCurrentJump, jumpKey } from "./tlb";
import { busLock } from "./vmx/bus-lock";
import { interruptWindow, monitorTrap, nmiWindow, virtualApicEvents } from "./vmx/events";
/**
 * The run loop around the interpreter's switch. Between blocks it finds the next one
 * (jump cache, then block table); whatever needs a look between instructions (single steps, breakpoints, interrupt shadows,
 * windows, the monitor trap flag) is behind one word, ATTENTION, and makes it go one instruction at a time.
 */

/**
 * How often a region goes on to another by a tail call before one returns: V8 notices only at a return, or in a loop, that a function should be
 * optimised. A prime, so that in a circle of regions each has its turn.
 */
const HOPS: u32 = 61;

/** The record at RIP, delivering what fetching it raises; 0 = leave. */
export function next(): usize {
  while (true) {
    const pc = lookup();
    if (pc != 0) return pc;
    if (load<u32>(RUN_FLAGS) & (EXIT_RECORDED | DEADLINE_REACHED)) return 0;
    if (deliverException() == EXIT) return 0;
    // a delivered fault costs one, so that a guest whose handlers cannot be fetched still meets its deadline
    const b = load<i64>(BUDGET);
    if (b <= 0) return leaveAtDeadline();
    store<i64>(BUDGET, b - 1);
    store<u32>(RUN_FLAGS, (load<u32>(RUN_FLAGS) & ~(STEPPED | STEPPED_TF | RIP_FINAL)) | EVENT_DELIVERED);
  }
}
function leaveAtDeadline(): usize {
  store<u32>(RUN_FLAGS, load<u32>(RUN_FLAGS) | DEADLINE_REACHED);
  return 0;
}

/** What follows an instruction that did not simply finish. */
export function settle(pc: usize, status: i32): usize {
  if (status == END || status == JUMP) {
    store<u64>(BUDGET, load<u64>(BUDGET) + <u64>(recLeft(pc) - 1));
    if (status == END) store<u64>(RIP, nextRip(pc));
    return next();
  }
  if (status == REPEAT) { // the iterations done so far count as one instruction
    store<u64>(BUDGET, load<u64>(BUDGET) + <u64>(recLeft(pc) - 1));
    store<u64>(RIP, currentRip(pc));
    store<u32>(RUN_FLAGS, load<u32>(RUN_FLAGS) & ~SUPPLIED_STARTED); // it goes on
    // an event between iterations saves RF = 1, and a breakpoint at the instruction is not met again (SDM 3B 18.3.1.1)
    if (load<u32>(ATTENTION) != 0 || load<i64>(BUDGET) <= 0) {
      store<u32>(EFLAGS, load<u32>(EFLAGS) | RF);
      store<u32>(ATTENTION, load<u32>(ATTENTION) | ATT_RESUME_FLAG);
    }
    return next();
  }
  const flags = load<u32>(RUN_FLAGS);
  if (status == EXIT && (flags & RIP_FINAL) != 0) { // trap-like: the instruction is done
    store<u64>(BUDGET, load<u64>(BUDGET) + <u64>(recLeft(pc) - 1));
    return 0;
  }
  store<u64>(BUDGET, load<u64>(BUDGET) + <u64>recLeft(pc));
  if ((flags & RIP_FINAL) == 0) store<u64>(RIP, currentRip(pc));
  if (flags & EXIT_RECORDED) {
    store<u32>(V_INSTRUCTION_LENGTH, recLength(pc)); // accesses to memory that exit tell of the instruction too (SDM 3C 28.2.5)
    return 0;
  }
  if (deliverException() == EXIT) return 0;
  const b = load<i64>(BUDGET);
  store<u32>(RUN_FLAGS, (load<u32>(RUN_FLAGS) & ~(STEPPED | STEPPED_TF | RIP_FINAL)) | EVENT_DELIVERED);
  if (b <= 0) return leaveAtDeadline();
  store<i64>(BUDGET, b - 1);
  return next();
}

// @ts-ignore: decorator
@inline function linearRip(): u64 { return linearOfRip(load<u64>(RIP)); }

/** Where the jump cache has what it knows of a linear address. */
// @ts-ignore: decorator
@inline function jumpSlot(linear: u64): usize {
  return JUMP_CACHE + (((<u32>linear ^ (<u32>linear >>> 13)) & (JUMP_CACHE_ENTRIES - 1)) << 4);
}

/** Where regions look for the one at a linear address: small, so that it stays in the host's caches, with what lies close together in one line of them. */
// @ts-ignore: decorator
@inline function regionSlot(linear: u64): usize {
  const n = <u32>linear >>> 2;
  return REGION_CACHE + (((n ^ (n >>> 13)) & (REGION_CACHE_ENTRIES - 1)) << 4);
}

/** Record of the code at RIP with its budget taken; 0: fault raised, exit recorded or deadline reached. */
export function lookup(): usize {
  let resumes = false;
  if (load<u32>(ATTENTION) != 0) {
    const single = attend();
    if (single != 1) return single;
    resumes = (load<u32>(ATTENTION) & ATT_RESUME_FLAG) != 0;
  }
  const mode = load<u32>(MODE);
  const linear = linearRip();
  const slot = jumpSlot(linear);
  let pc: usize;
  if (load<u64>(slot) == linear && isCurrentJump(load<u32>(slot, 8), mode)) pc = load<u32>(slot, 12);
  else {
    if (load<i64>(BUDGET) <= 0) return leaveAtDeadline(); // a fault of the fetch is raised, and counted, behind it
    pc = findBlock(linear, mode, load<u64>(slot) == linear ? load<u32>(slot, 12) : 0);
    if (pc == 0) return 0;
    store<u64>(slot, linear);
    store<u32>(slot, jumpKey(linear, load<u32>(pc - BLOCK_HEADER, B_SECOND_PAGE) != 0 ? pageAfter(linear) : 0, mode), 8);
    store<u32>(slot, <u32>pc, 12);
  }
  const left = load<i64>(BUDGET) - <i64>recLeft(pc);
  if (left < 0 || ((mode & MODE_CS_CHECK) != 0 && load<u64>(RIP) + load<u16>(pc - BLOCK_HEADER, B_BYTES) - 1 > <u64>load<u32>(SEG_LIMIT + SEG_CS * 4))) {
    pc = single(linear, mode);
    if (pc == 0) return 0;
  } else {
    store<i64>(BUDGET, left);
    store<u64>(CODE_BASE, (linear & ~0xfff) - ((mode & MODE_SIZE) == 2 ? 0 : load<u64>(SEG_BASE + SEG_CS * 8)));
  }
  if (resumes) endResumption();
  return pc;
}

/** RF lasts until an instruction is begun. */
function endResumption(): void {
  store<u32>(EFLAGS, load<u32>(EFLAGS) & ~RF);
  store<u32>(ATTENTION, load<u32>(ATTENTION) & ~ATT_RESUME_FLAG);
}

/** Goes from the block of `pc` to a computed target (RET, indirect JMP and CALL) or to one in another page. */
export function transfer(pc: usize, target: u64): usize {
  store<u64>(BUDGET, load<u64>(BUDGET) + <u64>(recLeft(pc) - 1));
  store<u64>(RIP, target);
  const mode = load<u32>(MODE);
  if (load<u32>(ATTENTION) == 0 && (mode & MODE_CS_CHECK) == 0) {
    const base: u64 = (mode & MODE_SIZE) == 2 ? 0 : load<u64>(SEG_BASE + SEG_CS * 8);
    const linear = (mode & MODE_SIZE) == 2 ? target : (base + target) & 0xffffffff;
    const slot = jumpSlot(linear);
    if (load<u64>(slot) == linear && isCurrentJump(load<u32>(slot, 8), mode)) {
      const to = <usize>load<u32>(slot, 12);
      const left = load<i64>(BUDGET) - <i64>recLeft(to);
      if (left >= 0) {
        store<i64>(BUDGET, left);
        store<u64>(CODE_BASE, (linear & ~0xfff) - base);
        return to;
      }
    }
  }
  return next();
}

/**
 * Goes to the translated code of the block whose first record is `pc`, and from region to region as long as there are any: a region goes on to the next
 * one by itself where the host's WebAssembly has tail calls.
 */
export function enterTranslated(pc: usize): usize {
  store<u64>(BUDGET, load<u64>(BUDGET) + <u64>recLeft(pc)); // translated code counts for itself
  while (true) {
    store<u32>(TIER_ENTERED, <u32>pc);
    store<u32>(TIER_HOPS, HOPS);
    giveFlags();
    const budget = load<u64>(BUDGET), why = call_indirect<u32>(load<u32>(pc, E_FUNCTION)), count = REGIONS_LEFT + (<usize>why << 2);
    takeFlags();
    pc = load<u32>(TIER_ENTERED);
    store<u32>(count, load<u32>(count) + 1);
    store<u64>(TIER_RETIRED, load<u64>(TIER_RETIRED) + budget - load<u64>(BUDGET));
    if (why == LEFT_LOOK_UP) {
      const mode = load<u32>(MODE), rip = load<u64>(RIP);
      store<u64>(TIER_LEFT_BUDGET, load<u64>(BUDGET));
      store<u64>(TIER_LEFT_RIP, rip);
      if (load<u32>(ATTENTION) != 0) return next();
      const base: u64 = (mode & MODE_SIZE) == 2 ? 0 : load<u64>(SEG_BASE + SEG_CS * 8);
      const linear = (mode & MODE_SIZE) == 2 ? rip : (base + rip) & 0xffffffff;
      const slot = jumpSlot(linear);
      if (load<u64>(slot) != linear || !isCurrentJump(load<u32>(slot, 8), mode)) return next();
      const to = <usize>load<u32>(slot, 12), left = load<i64>(BUDGET) - <i64>recLeft(to);
      if (left < 0) return next();
      store<u64>(CODE_BASE, (linear & ~0xfff) - base);
      if (recOp(to) == OP_ENTER && load<u32>(to, E_FUNCTION) != 0) {
        const region = regionSlot(linear);
        store<u64>(region, linear);
        store<u32>(region, load<u32>(slot, 8), 8);
        store<u32>(region, load<u32>(to, E_FUNCTION), 12);
        pc = to;
        continue;
      }
      if ((mode & MODE_CS_CHECK) != 0) return next();
      store<i64>(BUDGET, left);
      return to;
    }
    if (why == LEFT_REFUSED || why == LEFT_ELSEWHERE || why == LEFT_AGAIN) {
      if (why == LEFT_ELSEWHERE) countEntry(pc); // often enough, and it is made again, for any table
      else if (why == LEFT_AGAIN) becameHot(pc);
      if (load<u32>(MODE) & MODE_CS_CHECK) { // a region before it has not looked at the limit
        store<u64>(RIP, currentRip(pc));
        return interpreted(next());
      }
      const left = load<i64>(BUDGET) - <i64>recLeft(pc);
      if (left < 0) return next();
      store<i64>(BUDGET, left);
      return pc + RECORD;
    }
    if (why == LEFT_INTERPRET || why == LEFT_CROSSED) {
      if (why == LEFT_CROSSED) countCrossing(pc);
      return interpreted(next());
    }
    if (why == LEFT_EXITED) return 0;
    return settle(load<u32>(TIER_RECORD), load<i32>(TIER_STATUS));
  }
}

/** The block at `pc`, or what is there instead of one, without its region. */
// @ts-ignore: decorator
@inline function interpreted(pc: usize): usize { return pc != 0 && recOp(pc) == OP_ENTER ? pc + RECORD : pc; }

/** The region of the block whose first record is `pc` is made again with a check for each access, if a page keeps ending between some that share one. */
function countCrossing(pc: usize): void {
  const n = load<u32>(pc, E_CROSSED) + 1;
  store<u32>(pc, n, E_CROSSED);
  if (n == load<u32>(TIER_THRESHOLD) << 1) becameHot(pc);
}

/** Counts an execution of the block whose first record is `pc`. */
// @ts-ignore: decorator
@inline export function countEntry(pc: usize): void {
  const n = load<u32>(pc, E_COUNT) + 1;
  store<u32>(pc, n, E_COUNT);
  if (n >= load<u32>(pc, E_LIMIT)) becameHot(pc);
}

/** One instruction by itself. */
function single(linear: u64, mode: u32, supplied: bool = false): usize {
  const b = load<i64>(BUDGET);
  if (b <= 0) return leaveAtDeadline();
  let pc = supplied ? suppliedRecord(linear, mode) : 0;
  if (pc == 0) pc = decodeOne(linear, mode);
  if (pc == 0) return 0;
  store<i64>(BUDGET, b - 1);
  store<u64>(CODE_BASE, (linear & ~0xfff) - ((mode & MODE_SIZE) == 2 ? 0 : load<u64>(SEG_BASE + SEG_CS * 8)));
  return pc;
}

/**
 * Between instructions with ATTENTION set, in the order of SDM 3A table 7-2: traps of the last instruction, windows, instruction
 * breakpoints. Returns 1 to go on with whole blocks, else a single instruction's record or 0.
 */
function attend(): usize {
  let flags = load<u32>(RUN_FLAGS);
  if (flags & BUS_LOCKED) {
    flags |= BUS_LOCK_DONE;
    store<u32>(RUN_FLAGS, flags);
  }
  store<u32>(ATTENTION, load<u32>(ATTENTION) & ~ATT_STEPPED);
  // an instruction with logged accesses has been done
  if (load<u32>(ATTENTION) & ATT_MMIO) {
    if (flags & MMIO_STARTED) { clearLog(); flags &= ~MMIO_STARTED; }
    else { rewindLog(); flags |= MMIO_STARTED; }
    store<u32>(RUN_FLAGS, flags);
  }
  if (flags & SUPPLIED_STARTED) {
    dropSupplied();
    flags = load<u32>(RUN_FLAGS);
  }
  if (flags & STEPPED) {
    store<u32>(RUN_FLAGS, flags & ~(STEPPED | STEPPED_TF));
    // the shadow covers exactly one instruction
    if (load<u32>(ATTENTION) & ATT_SHADOW_OLD) {
      store<u32>(INTERRUPTIBILITY, load<u32>(INTERRUPTIBILITY) & ~3);
      store<u32>(ATTENTION, load<u32>(ATTENTION) & ~(ATT_SHADOW | ATT_SHADOW_OLD));
    }
    const after = afterInstruction((flags & STEPPED_TF) != 0);
    updateAttention();
    if (after != OK) return 0;
  }
  if ((load<u32>(ATTENTION) & ATT_BUS_LOCK) != 0 && busLock() == EXIT) return 0;
  const attention = load<u32>(ATTENTION);
  if (attention & ATT_MTF) {
    if (flags & (MTF_ARMED | EVENT_DELIVERED)) { monitorTrap(); return 0; }
    store<u32>(RUN_FLAGS, load<u32>(RUN_FLAGS) | MTF_ARMED);
  }
  store<u32>(RUN_FLAGS, load<u32>(RUN_FLAGS) & ~EVENT_DELIVERED);
  if ((attention & ATT_NMI_WINDOW) != 0 && (load<u32>(INTERRUPTIBILITY) & 0xb) == 0) { nmiWindow(); return 0; }
  if ((attention & ATT_INTERRUPT_WINDOW) != 0 && (load<u32>(EFLAGS) & IF) != 0 && (load<u32>(INTERRUPTIBILITY) & 3) == 0) { interruptWindow(); return 0; }
  if (attention & (ATT_TPR | ATT_VIRTUAL_INTERRUPT)) {
    const status = virtualApicEvents();
    if (status == EXIT || status == FAULT) return 0;
    if (status == JUMP) return lookup(); // at the handler now; ATTENTION has changed
  }
  // the resume flag alone is nobody's business: lookup() ends it
  if ((attention & ATT_STEP & ~ATT_RESUME_FLAG) == 0) return 1;
  const linear = linearRip();
  // MOV SS and POP SS suppress a breakpoint on the instruction behind them (SDM 3B 18.3.1.1)
  if ((attention & ATT_DEBUG) != 0 && (load<u32>(EFLAGS) & RF) == 0 && (load<u32>(INTERRUPTIBILITY) & 2) == 0 && instructionBreakpoint(linear) != OK) return 0;
  const pc = single(linear, load<u32>(MODE), (attention & ATT_SUPPLIED) != 0);
  if (pc == 0) return 0;
  beginStep(pc);
  store<u32>(RUN_FLAGS, load<u32>(RUN_FLAGS) | STEPPED | ((load<u32>(EFLAGS) & TF) != 0 ? STEPPED_TF : 0));
  store<u32>(ATTENTION, load<u32>(ATTENTION) | ATT_STEPPED | (attention & ATT_SHADOW ? ATT_SHADOW_OLD : 0));
  if (attention & ATT_RESUME_FLAG) endResumption();
  return pc;
}

/** Goes to the target of a direct branch. Within a page the record keeps a link to its target. */
// @ts-ignore: decorator
@inline export function branch(pc: usize): usize {
  const link = <usize>load<u32>(pc, 16);
  if (link != 0) {
    const left = load<i64>(BUDGET) + <i64>(recLeft(pc) - 1) - <i64>recLeft(link);
    if (left >= 0) { store<i64>(BUDGET, left); return link; }
  }
  return branchSlow(pc);
}
/** Goes from the end of a block to the code behind it. Nothing of the block is left to be given back. */
export function goOn(pc: usize): usize {
  const link = <usize>load<u32>(pc, 16);
  if (link != 0) {
    const left = load<i64>(BUDGET) - <i64>recLeft(link);
    if (left >= 0) { store<i64>(BUDGET, left); return link; }
  }
  const base = load<u64>(CODE_BASE), offset = recOffset(pc);
  store<u64>(RIP, currentRip(pc));
  const generation = arenaGeneration(), to = next();
  if (generation == arenaGeneration()) linkTo(pc, to, base, <i64>offset);
  return to;
}
/** A link is valid as long as both its ends are: they lie in one page, so they are dropped together. */
function linkTo(pc: usize, to: usize, base: u64, offset: i64): void {
  if (to >= <usize>ARENA && pc >= <usize>ARENA && offset >= 0 && offset < 4096 && load<u64>(CODE_BASE) == base && (load<u32>(MODE) & MODE_CS_CHECK) == 0
    && load<u16>(to, 2) == <u16>offset && load<u32>(to - BLOCK_HEADER, B_SECOND_PAGE) == 0 && load<u32>(ATTENTION) == 0) store<u32>(pc, <u32>to, 16);
}
function branchSlow(pc: usize): usize {
  const offset = load<i64>(pc, 24), base = load<u64>(CODE_BASE), size = load<u8>(pc, 14);
  const target = base + <u64>offset, cut = size == 8 ? target : size == 4 ? target & 0xffffffff : target & 0xffff;
  // a target beyond the code segment is a fault of the jump (SDM 2A JMP)
  if ((load<u32>(MODE) & MODE_CS_CHECK) != 0 && cut > <u64>load<u32>(SEG_LIMIT + SEG_CS * 4)) return settle(pc, raiseError(13, 0));
  if (offset < 0 || offset >= 4096 || size == 2) return transfer(pc, cut);
  const generation = arenaGeneration(), to = transfer(pc, cut);
  if (generation == arenaGeneration()) linkTo(pc, to, base, offset);
  return to;
}
