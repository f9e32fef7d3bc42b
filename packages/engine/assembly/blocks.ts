import {
  BLOCK_HEADER, B_BYTES, B_HOST, B_INSTRUCTIONS, B_MODE, B_NEXT, B_SECOND_PAGE, B_VALID, E_COUNT, E_LIMIT, R_LEFT, R_LENGTH,
} from "../src/code-layout";
import {
  ARENA, ARENA_BYTES, COUNTERS, FETCH_BUFFER, KNOWN_BLOCKS, KNOWN_BLOCKS_BITS, MODE, RIP, SCRATCH_RECORDS, SEG_CS, SEG_LIMIT, TIER_KNOWN_THRESHOLD,
  TIER_THRESHOLD,
} from "../src/layout";
import { arenaNext, bucket, enlist, resetBlocks, takeArena } from "./code-pages";
import { decode, decodedEnds, tooLong } from "./decode";
import { OP_CONTINUE, OP_ENTER, OP_JCC0, OP_JCC15, OP_NEXT, fusedWithBranch } from "./generated/ops";
import { codePage } from "./mmu";
import { MODE_CS_CHECK, MODE_SIZE } from "./mode";
import { RECORD, recOp } from "./record";
import { raiseError } from "./system/raise";
/**
 * Decoded code. A block is a run of records from one address on, kept by host-physical address and mode, so that it serves every
 * linear address and survives changes of address space. It ends at an unconditional transfer, at an instruction that changes how
 * code is read, at the end of the page or after MAX_RECORDS. A block of the one instruction that crosses into the next page
 * belongs to both pages. Its header and where it is listed: code-pages.ts.
 */
const MAX_RECORDS: u32 = 32;
const BLOCK_SPACE: u32 = BLOCK_HEADER + (MAX_RECORDS + 3) * <u32>RECORD;

/** Checks the code at the current RIP against the CS limit. Returns the bytes left before the limit, or 0 with #GP raised. */
function bytesInLimit(eip: u32): u32 {
  const limit = load<u32>(SEG_LIMIT + SEG_CS * 4);
  if (eip > limit) { raiseError(13, 0); return 0; }
  const left = limit - eip;
  return left >= 4096 ? 4096 : left + 1;
}

/**
 * First record of the block at a linear address (RIP is its offset in CS), made if need be; 0 with a fault raised or an exit recorded. `likely`: what it
 * was when it was last looked up there, 0 if that is not known.
 */
export function findBlock(linear: u64, mode: u32, likely: u32): usize {
  const page = codePage(linear);
  if (page == 0) return 0;
  const host = page | (<u32>linear & 0xfff);
  if (likely != 0) {
    const b = likely - BLOCK_HEADER;
    if (load<u32>(b, B_HOST) == host && load<u32>(b, B_MODE) == mode && load<u32>(b, B_VALID) != 0 && load<u32>(b, B_SECOND_PAGE) == 0) return likely;
  }
  for (let b = load<u32>(bucket(host, mode)); b != 0; b = load<u32>(b, B_NEXT)) {
    if (load<u32>(b, B_HOST) != host || load<u32>(b, B_MODE) != mode) continue;
    if (load<u32>(b, B_SECOND_PAGE) != 0) {
      const second = codePage(pageAfter(linear));
      if (second == 0) return 0;
      if (second != load<u32>(b, B_SECOND_PAGE)) continue;
    }
    return b + BLOCK_HEADER;
  }
  return makeBlock(linear, host, mode);
}
// @ts-ignore: decorator
@inline export function pageAfter(linear: u64): u64 {
  const next = (linear & ~0xfff) + 4096;
  return (load<u32>(MODE) & MODE_SIZE) == 2 ? next : next & 0xffffffff;
}

function makeBlock(linear: u64, host: u32, mode: u32): usize {
  if (arenaNext() + BLOCK_SPACE + 64 > <u32>(ARENA + ARENA_BYTES)) resetBlocks();
  const block = arenaNext(), first = block + BLOCK_HEADER;
  let limit: u32 = 4096 - (host & 0xfff);
  if ((mode & MODE_CS_CHECK) != 0) {
    const left = bytesInLimit(<u32>load<u64>(RIP));
    if (left == 0) return 0;
    if (left < limit) limit = left;
  }
  const threshold = load<u32>(TIER_THRESHOLD), counted = u32(threshold != 0);
  let rec: u32 = first + counted * <u32>RECORD, at: u32 = 0, count: u32 = 0, second: u32 = 0;
  while (count < MAX_RECORDS) {
    const length = decode(rec, host + at, limit - at, (host + at) & 0xfff, mode);
    if (length == 0) {
      if (count != 0) break;
      second = decodeCrossing(rec, linear, host, mode);
      if (second == 0) return 0;
      count = 1;
      at = load<u8>(rec, R_LENGTH);
      rec += RECORD;
      break;
    }
    at += length;
    const op = recOp(rec);
    if (count != 0 && op >= OP_JCC0 && op <= OP_JCC15) {
      const both = fusedWithBranch(recOp(rec - RECORD), op - OP_JCC0);
      if (both != 0) store<u16>(rec - RECORD, <u16>both);
    }
    count++;
    rec += RECORD;
    if (decodedEnds || at >= limit) break;
  }
  // the pseudo record that goes on behind the block
  store<u64>(rec, OP_CONTINUE | (<u64>((host & 0xfff) + at) << 16)); store<u64>(rec, 0, 8); store<u64>(rec, 0, 16); store<u64>(rec, 0, 24);
  for (let i: u32 = 0; i < count; i++) store<u8>(first + (counted + i) * <u32>RECORD, <u8>(count - i), R_LEFT);
  if (counted != 0) beginCounting(first, count, host, threshold);
  takeArena(rec + <u32>RECORD);
  store<u32>(block, host, B_HOST);
  store<u32>(block, mode, B_MODE);
  const head = bucket(host, mode);
  store<u32>(block, load<u32>(head), B_NEXT);
  store<u32>(head, block);
  store<u16>(block, <u16>count, B_INSTRUCTIONS);
  store<u16>(block, <u16>at, B_BYTES);
  store<u32>(block, 1, B_VALID);
  const inPage = at < 4096 - (host & 0xfff) ? at : 4096 - (host & 0xfff);
  enlist(host & ~0xfff, host & 0xfff, inPage, block, 0);
  store<u32>(block, 0, B_SECOND_PAGE);
  if (second > 1) {
    store<u32>(block, second, B_SECOND_PAGE);
    enlist(second, 0, at - inPage, block, 1);
  }
  store<u32>(COUNTERS, load<u32>(COUNTERS, 8) + 1, 8);
  return first;
}

/** The record before the others of a block, where executions are counted and translated code is entered. */
function beginCounting(record: u32, count: u32, host: u32, threshold: u32): void {
  const known = load<u32>(TIER_KNOWN_THRESHOLD);
  store<u64>(record, OP_ENTER | (<u64>(host & 0xfff) << 16) | (<u64>count << 40));
  store<u64>(record, 0, 8); store<u64>(record, 0, 16);
  store<u32>(record, 0, E_COUNT); store<u32>(record, known != 0 && known < threshold && isKnown(host) ? known : threshold, E_LIMIT);
}
/** Whether an earlier run may have had a region for the block at `host`: keyAt() in src/translator/kept-regions.ts is the same. */
function isKnown(host: u32): bool {
  const offset = host & 0xfff;
  if (offset > 4096 - 4) return false;
  let key = ((load<u32>(host) & 0xffffff) * 0x9e3779b1) ^ (offset * 0xc2b2ae35);
  key = (key ^ (key >>> 15)) & (<u32>KNOWN_BLOCKS_BITS - 1);
  return ((load<u8>(KNOWN_BLOCKS + (key >>> 3)) >>> <u8>(key & 7)) & 1) != 0;
}

/** Joins bytes of two pages for the instruction that crosses them. Host page of the second part, 1 if none was needed, 0 on a fault. */
function decodeCrossing(rec: usize, linear: u64, host: u32, mode: u32): u32 {
  let here: u32 = 4096 - (host & 0xfff);
  if ((mode & MODE_CS_CHECK) != 0) {
    const left = bytesInLimit(<u32>load<u64>(RIP));
    if (left == 0) return 0;
    if (left < 15 && left <= here) { raiseError(13, 0); return 0; } // it ends beyond the limit
  }
  if (here >= 15) { // 15 bytes were there, and were not enough
    tooLong(rec, host & 0xfff);
    return 1;
  }
  const second = codePage(pageAfter(linear));
  if (second == 0) return 0;
  memory.copy(FETCH_BUFFER, host, here);
  memory.copy(FETCH_BUFFER + here, second, 15 - here);
  if (decode(rec, FETCH_BUFFER, 15, host & 0xfff, mode) == 0) tooLong(rec, host & 0xfff);
  if ((mode & MODE_CS_CHECK) != 0 && bytesInLimit(<u32>load<u64>(RIP)) < load<u8>(rec, R_LENGTH)) { raiseError(13, 0); return 0; }
  return second;
}

/** One instruction, decoded apart from the cache: for single steps. Its record is at SCRATCH_RECORDS; 0 on a fault. */
export function decodeOne(linear: u64, mode: u32): usize {
  const page = codePage(linear);
  if (page == 0) return 0;
  const host = page | (<u32>linear & 0xfff);
  const rec: usize = SCRATCH_RECORDS;
  let limit: u32 = 4096 - (host & 0xfff);
  if ((mode & MODE_CS_CHECK) != 0) {
    const left = bytesInLimit(<u32>load<u64>(RIP));
    if (left == 0) return 0;
    if (left < limit) limit = left;
  }
  if (decode(rec, host, limit, host & 0xfff, mode) == 0 && decodeCrossing(rec, linear, host, mode) == 0) return 0;
  store<u8>(rec, 1, R_LEFT);
  store<u64>(rec + RECORD, OP_NEXT | (<u64>((host & 0xfff) + <u32>load<u8>(rec, R_LENGTH)) << 16)); store<u64>(rec + RECORD, 0, 8);
  return rec;
}
