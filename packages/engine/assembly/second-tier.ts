/**
 * What a second tier (a translator of hot code to WebAssembly, run as more functions in this module's table) needs of the processor. Nothing
 * in the interpreter calls these; src/second-tier.ts has their types.
 *
 * The second tier reads registers, flags, the TLB and the generations where src/layout.ts says they are. A record it hands in has the form of
 * record.ts and lies outside the arena; functions that take a record as `pc` read what the interpreter reads of it: RIP (CODE_BASE + its
 * offset), its length, and for the clock the instructions left.
 */
import {
  BLOCK_HEADER, B_HOST, B_MODE, B_NEXT, B_SECOND_PAGE, ENDS_BLOCK, E_COUNT, E_COUNTER, LEFT_SETTLE, LISTED_BYTES, LISTED_DISTANCE, LISTED_HOST, LISTED_SERIAL,
  LIST_BASE, LIST_COUNT, LIST_GENERATION, LIST_PAGES, MODE_USER,
} from "../src/code-layout";
import { arenaDescriptor, bucket, codeLines, codeSerial, coverLines } from "./code-pages";
import { CODE_BASE, FPU_SW, FPU_TRAP, GLOBAL_GENERATION, JUMP_GENERATION, RIP, RUN_FLAGS, TIER_ENTERED, TIER_RECORD, TIER_STATUS } from "../src/layout";
import { decode, decodedEnds } from "./decode";
import { giveFlags, takeFlags } from "./flag-kinds";
import { arithmeticFlags, setArithmeticFlags } from "./flags";
import { execGroup15 } from "./fp/state";
import { execX87 } from "./fp/x87";
import { quickArithmetic, quickCompare, quickMove } from "./fp/x87-quick";
import { SW_ES } from "./fp/x87-state";
import { interpret } from "./generated/dispatch";
import { OP_INTEGER, OP_SIMD, OP_STATE, OP_STRING, OP_SYSTEM, OP_TOO_LONG, OP_UNDEFINED, OP_X87 } from "./generated/ops";
import { testCondition } from "./integer/condition";
import { execInteger } from "./integer/integer";
import { codePageQuietly, commit, fetchTable, fetchTableOf, readSlow, writeSlow } from "./mmu";
import { currentRip, linearOfRip } from "./mode";
import { recModrm, recOp, recUnitOp } from "./record";
import { next, settle } from "./run";
import { DEADLINE_REACHED, EXIT_RECORDED } from "./run-flags";
import { execSimd } from "./simd/exec";
import { quickFused } from "./simd/fused";
import { FAULT } from "./status";
import { execString, quickString } from "./strings";
import { raise, raiseError } from "./system/raise";
import { execSystem } from "./system/system";
import { isGlobalCode, noteCode } from "./tlb";

/** runUnit(): the record is not one of a unit. */
const NOT_A_UNIT: i32 = -1;
const VECTOR_UD: u32 = 6;
const VECTOR_GP: u32 = 13;

/**
 * Decodes the instruction at host address `source`, of which `available` bytes may be read (up to the end of its page), into the record at
 * `record` (32 bytes). `pageOffset` is where it lies in its page, `mode` the MODE key. Returns its length in bits 7:0, with bit 8 set when
 * it ends a block, or 0 when more bytes are wanted: it goes on in the next page. An undefined instruction is a record that raises #UD.
 */
export function decodeRecord(record: usize, source: usize, available: u32, pageOffset: u32, mode: u32): u32 {
  const length = decode(record, source, available, pageOffset, mode);
  return length | (length != 0 && decodedEnds ? ENDS_BLOCK : 0);
}

/**
 * Runs the instruction of a record that belongs to a unit (integer, string, system, x87, state, vector, undefined). Returns its status
 * (status.ts): 0 done, 1 an exception is raised, 2 done and RIP set, 3 a VM exit is recorded, 4 done and code must be looked up anew, 5 one
 * iteration done; -1 for a record of another handler, which has done nothing.
 */
export function runUnit(pc: usize): i32 {
  switch (recOp(pc)) {
    case OP_INTEGER: return execInteger(pc);
    case OP_STRING: return execString(pc);
    case OP_SYSTEM: return execSystem(pc);
    case OP_X87: return execX87(pc);
    case OP_STATE: return execGroup15(pc);
    case OP_SIMD: return execSimd(pc);
    case OP_UNDEFINED: raise(VECTOR_UD); return FAULT;
    case OP_TOO_LONG: raiseError(VECTOR_GP, 0); return FAULT;
    default: return NOT_A_UNIT;
  }
}

/**
 * Run an x87 instruction between registers if its case is the usual one: nothing pending, no exception but PE. False: nothing has been done, and it is
 * runUnit()'s. Each is for some opcodes, so that little is asked (fp/x87-quick.ts).
 */
export function runQuickArithmetic(pc: usize): bool { return isReady() && quickArithmetic(pc, recUnitOp(pc), recModrm(pc)); }
export function runQuickMove(pc: usize): bool { return isReady() && quickMove(pc, recUnitOp(pc), recModrm(pc)); }
export function runQuickCompare(pc: usize): bool { return isReady() && quickCompare(pc, recUnitOp(pc), recModrm(pc)); }
// @ts-ignore: decorator
@inline function isReady(): bool { return (load<u32>(FPU_TRAP) | (load<u16>(FPU_SW) & SW_ES)) == 0; }

/** Runs a repeated MOVS or STOS if it is a short one that nothing can go wrong with. False: it has done nothing, and is runUnit()'s. */
export function runQuickString(pc: usize): bool { return quickString(pc); }

/** Runs a fused multiplication and addition between registers if its case is the usual one: no exception but PE, which is set already. False: as above. */
export function runQuickFused(pc: usize): bool { return quickFused(pc); }

/**
 * A read that the TLB entry did not allow: walks the tables, fills the entry, or gathers the parts of an access that crosses pages or is
 * memory-mapped. Returns where the `size` bytes are, 0 when an exception is raised or a VM exit recorded. `segment` decides between #SS and
 * #GP for an address that is not canonical.
 */
export function loadSlow(linear: u64, size: u32, segment: u32, pc: usize): usize { return readSlow(linear, size, segment, pc); }

/**
 * The same for a write: where to store the `size` bytes, before finishStore(). With `modify` what is there can be read there first. A write to
 * decoded code drops it and ends the block of the record at `pc`.
 */
export function storeSlow(linear: u64, size: u32, segment: u32, pc: usize, modify: bool): usize { return writeSlow(linear, size, segment, pc, modify); }

/** Ends a write of storeSlow(): false when it made a VM exit, and nothing has been written. */
export function finishStore(pointer: usize): bool { return commit(pointer); }

/**
 * Translated code was made from `length` bytes at host address `host`, in one page: writes to them are seen from now on and drop what is
 * known of the page. Returns the page's serial number, for codeIsCurrent(). May empty the arena.
 */
export function coverCode(host: u32, length: u32): u32 {
  const descriptor = arenaDescriptor(host);
  coverLines(descriptor, host & 0xfff, length);
  return codeSerial(descriptor);
}

/** Whether nothing of the page of `host` has been dropped since coverCode() gave `serial`: what was made from it holds. */
export function codeIsCurrent(host: u32, serial: u32): bool {
  const descriptor = codeLines(host);
  return descriptor != 0 && codeSerial(descriptor) == serial;
}

/** How often the block at a host address has been entered, interpreted or as a region that counts, at least 1; 0: none has been made for this mode, or it goes on in another page. */
export function blockExecutions(host: u32, mode: u32): u32 {
  for (let block = load<u32>(bucket(host, mode)); block != 0; block = load<u32>(block, B_NEXT)) {
    if (load<u32>(block, B_HOST) == host && load<u32>(block, B_MODE) == mode && load<u32>(block, B_SECOND_PAGE) == 0) {
      const counter = <usize>load<u32>(block + BLOCK_HEADER, E_COUNTER);
      return max<u32>(1, load<u32>(block + BLOCK_HEADER, E_COUNT) + (counter == 0 ? 0 : load<u32>(counter)));
    }
  }
  return 0;
}

/** Host page of the code at a linear address in a mode, with the tables in force; 0 where that cannot be known without an effect besides. */
export function hostPageOfCode(linear: u64, mode: u32): u32 { return codePageQuietly(fetchTableOf((mode & MODE_USER) != 0), linear); }

/**
 * Whether the pages of a list are where they were, seen from CODE_BASE, and have the code that they had. The list says so from then on, for as long as
 * the generation that it gets is in force.
 */
export function confirmPages(list: usize): bool {
  const base = load<u64>(CODE_BASE), table = fetchTable(), end = list + LIST_PAGES + <usize>load<u32>(list, LIST_COUNT) * LISTED_BYTES;
  let place: usize = GLOBAL_GENERATION;
  for (let page = list + LIST_PAGES; page < end; page += LISTED_BYTES) {
    const linear = linearOfRip(base + load<u64>(page, LISTED_DISTANCE)), host = load<u32>(page, LISTED_HOST);
    if (codePageQuietly(table, linear) != host || !codeIsCurrent(host, load<u32>(page, LISTED_SERIAL))) return false;
    if (!isGlobalCode(linear)) place = JUMP_GENERATION;
  }
  for (let page = list + LIST_PAGES; page < end; page += LISTED_BYTES) noteCode(linearOfRip(base + load<u64>(page, LISTED_DISTANCE)), place);
  store<u64>(list, base, LIST_BASE);
  store<u32>(list, load<u32>(place), LIST_GENERATION);
  return true;
}

/** CF, PF, AF, ZF, SF and OF at their places in RFLAGS, from their lazy form, and back. */
export function flagsFromLazy(): u32 { return arithmeticFlags(); }
export function flagsToLazy(flags: u32): void { setArithmeticFlags(flags); }

/** Whether condition `cc` (0-15, as in Jcc) holds for the lazy flags. */
export function conditionHolds(cc: u32): bool { return testCondition(cc); }

// ------------------------------------------------------------------------------------------------ for the verifier

/**
 * A region has been left because of `why`, and BUDGET is 0: goes on to where the run loop would stop then, at the deadline or with a VM exit
 * recorded. What the last instruction has raised is delivered. True: it is an exit.
 */
export function finishRegion(why: u32): bool {
  takeFlags();
  if (why == LEFT_SETTLE) settle(load<u32>(TIER_RECORD), load<i32>(TIER_STATUS));
  else next();
  return exitRecorded();
}

/**
 * Interprets BUDGET instructions from the beginning of the region that has been entered last, in its place. What follows in the run loop is as in
 * finishRegion().
 */
export function interpretRegion(): bool {
  takeFlags();
  store<u64>(RIP, currentRip(load<u32>(TIER_ENTERED)));
  const pc = next();
  if (pc != 0) interpret(pc);
  giveFlags();
  return exitRecorded();
}

/** The deadline was not the real one. */
function exitRecorded(): bool {
  const flags = load<u32>(RUN_FLAGS);
  store<u32>(RUN_FLAGS, flags & ~DEADLINE_REACHED);
  return (flags & EXIT_RECORDED) != 0;
}
