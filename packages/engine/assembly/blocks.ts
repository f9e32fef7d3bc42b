import {
  ARENA, ARENA_BYTES, BLOCK_HASH, BLOCK_HASH_ENTRIES, CODE_BASE, COUNTERS, CR4, FETCH_BUFFER, MODE, PAGE_BLOCKS, RIP, SCRATCH_RECORDS, SEG_BASE, SEG_CS, SEG_LIMIT,
} from "../src/layout";
import { decode, decodedEnds, tooLong } from "./decode";
import { OP_CALL32, OP_CALL64, OP_CONTINUE, OP_JCC0, OP_JCC15, OP_NEXT, fusedWithBranch } from "./generated/ops";
import { codePage } from "./mmu";
import { MODE_CS_CHECK, MODE_SIZE } from "./mode";
import { RECORD, recOp } from "./record";
import { raiseError } from "./system/exceptions";
import { newJumpGeneration, protectHostPage } from "./tlb";
/**
 * Decoded code. A block is a run of records from one address on, kept by host-physical address and mode, so that it serves every
 * linear address and survives changes of address space. It ends at an unconditional transfer, at an instruction that changes how
 * code is read, at the end of the page or after MAX_RECORDS. A block of the one instruction that crosses into the next page
 * belongs to both pages.
 *
 * header (64 bytes before the first record):
 *   0 u32 host address of the first byte   4 u32 mode          8 u32 next in hash bucket   12 u32 next in the page's list
 *  16 u32 host page of the crossing part  20 u32 next in its list
 *  24 u16 instructions                    26 u16 bytes        28 u32 1 = valid            32 reserved for the translator
 *
 * A page with blocks has a descriptor: u64 mask of its 64-byte lines that hold code, u32 head of its list. List links carry
 * bit 0 when they stand for the crossing part.
 */
const HEADER: u32 = 64;
const MAX_RECORDS: u32 = 32;
const BLOCK_SPACE: u32 = HEADER + (MAX_RECORDS + 1) * 32 + 32;

let arenaNext: u32 = ARENA;
/** Grows when the arena is emptied: addresses of records from before mean nothing. */
export let arenaGeneration: u32 = 0;

export function resetBlocks(): void {
  arenaNext = ARENA;
  arenaGeneration++;
  memory.fill(BLOCK_HASH, 0, BLOCK_HASH_ENTRIES * 4);
  memory.fill(PAGE_BLOCKS, 0, <usize>memory.size() << 6); // 64 KiB wasm page = 16 pages of 4 bytes
  newJumpGeneration();
  store<u32>(COUNTERS, load<u32>(COUNTERS, 12) + 1, 12);
}

// @ts-ignore: decorator
@inline function bucket(host: u32, mode: u32): usize {
  return BLOCK_HASH + (((host ^ (host >>> 14) ^ (mode << 9)) & (BLOCK_HASH_ENTRIES - 1)) << 2);
}

/** Whether the code at the current RIP can be read by the CS limit: bytes left before the limit, 0 with #GP raised. */
function bytesInLimit(eip: u32): u32 {
  const limit = load<u32>(SEG_LIMIT + SEG_CS * 4);
  if (eip > limit) { raiseError(13, 0); return 0; }
  const left = limit - eip;
  return left >= 4096 ? 4096 : left + 1;
}

/** First record of the block at a linear address (RIP is its offset in CS), made if need be; 0 with a fault raised or an exit recorded. */
export function findBlock(linear: u64, mode: u32): usize {
  const page = codePage(linear);
  if (page == 0) return 0;
  const host = page | (<u32>linear & 0xfff);
  for (let b = load<u32>(bucket(host, mode)); b != 0; b = load<u32>(b, 8)) {
    if (load<u32>(b) != host || load<u32>(b, 4) != mode) continue;
    if (load<u32>(b, 16) != 0) {
      const second = codePage(pageAfter(linear));
      if (second == 0) return 0;
      if (second != load<u32>(b, 16)) continue;
    }
    return b + HEADER;
  }
  return makeBlock(linear, host, mode);
}
// @ts-ignore: decorator
@inline function pageAfter(linear: u64): u64 {
  const next = (linear & ~0xfff) + 4096;
  return (load<u32>(MODE) & MODE_SIZE) == 2 ? next : next & 0xffffffff;
}

function makeBlock(linear: u64, host: u32, mode: u32): usize {
  if (arenaNext + BLOCK_SPACE + 64 > <u32>(ARENA + ARENA_BYTES)) resetBlocks();
  const block = arenaNext, first = block + HEADER;
  let limit: u32 = 4096 - (host & 0xfff);
  if ((mode & MODE_CS_CHECK) != 0) {
    const left = bytesInLimit(<u32>load<u64>(RIP));
    if (left == 0) return 0;
    if (left < limit) limit = left;
  }
  let rec: u32 = first, at: u32 = 0, count: u32 = 0, second: u32 = 0;
  while (count < MAX_RECORDS) {
    const length = decode(rec, host + at, limit - at, (host + at) & 0xfff, mode);
    if (length == 0) {
      if (count != 0) break;
      second = decodeCrossing(rec, linear, host, mode);
      if (second == 0) return 0;
      count = 1;
      at = load<u8>(rec, 4);
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
  for (let i: u32 = 0; i < count; i++) store<u8>(first + i * 32, <u8>(count - i), 5);
  arenaNext = rec + <u32>RECORD;
  store<u32>(block, host);
  store<u32>(block, mode, 4);
  const head = bucket(host, mode);
  store<u32>(block, load<u32>(head), 8);
  store<u32>(head, block);
  store<u16>(block, <u16>count, 24);
  store<u16>(block, <u16>at, 26);
  store<u32>(block, 1, 28);
  store<u64>(block, 0, 32); store<u64>(block, 0, 40); store<u64>(block, 0, 48); store<u64>(block, 0, 56);
  const inPage = at < 4096 - (host & 0xfff) ? at : 4096 - (host & 0xfff);
  enlist(host & ~0xfff, host & 0xfff, inPage, block, 0);
  store<u32>(block, 0, 16);
  if (second > 1) {
    store<u32>(block, second, 16);
    enlist(second, 0, at - inPage, block, 1);
  }
  store<u32>(COUNTERS, load<u32>(COUNTERS, 8) + 1, 8);
  return first;
}

/** Joins bytes of two pages for the instruction that crosses them. Host page of the second part, 1 if none was needed, 0 on a fault. */
function decodeCrossing(rec: usize, linear: u64, host: u32, mode: u32): u32 {
  let here: u32 = 4096 - (host & 0xfff);
  if ((mode & MODE_CS_CHECK) != 0) {
    const left = bytesInLimit(<u32>load<u64>(RIP));
    if (left == 0) return 0;
    if (left < 15 && left <= here) { raiseError(13, 0); return 0; } // it ends beyond the limit
  }
  if (here >= 15) { // 15 bytes were there and did not do
    tooLong(rec, host & 0xfff);
    return 1;
  }
  const second = codePage(pageAfter(linear));
  if (second == 0) return 0;
  memory.copy(FETCH_BUFFER, host, here);
  memory.copy(FETCH_BUFFER + here, second, 15 - here);
  if (decode(rec, FETCH_BUFFER, 15, host & 0xfff, mode) == 0) tooLong(rec, host & 0xfff);
  if ((mode & MODE_CS_CHECK) != 0 && bytesInLimit(<u32>load<u64>(RIP)) < load<u8>(rec, 4)) { raiseError(13, 0); return 0; }
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
  store<u8>(rec, 1, 5);
  store<u64>(rec + RECORD, OP_NEXT | (<u64>((host & 0xfff) + <u32>load<u8>(rec, 4)) << 16)); store<u64>(rec + RECORD, 0, 8);
  return rec;
}

function lineMask(offset: u32, length: u32): u64 {
  const first = offset >>> 6, last = (offset + length - 1) >>> 6;
  return (<u64>-1 << <u64>first) & (<u64>-1 >> <u64>(63 - last));
}
function enlist(page: u32, offset: u32, length: u32, block: u32, crossing: u32): void {
  const slot = PAGE_BLOCKS + ((page >>> 12) << 2);
  let d = load<u32>(slot);
  if (d == 0) {
    d = arenaNext;
    arenaNext += 32;
    store<u64>(d, 0); store<u64>(d, 0, 8);
    store<u32>(slot, d);
    protectHostPage(page);
  }
  store<u64>(d, load<u64>(d) | lineMask(offset, length));
  store<u32>(block + (crossing != 0 ? 20 : 12), load<u32>(d, 8));
  store<u32>(d, block | crossing, 8);
}

/**
 * Bytes of a page with blocks are about to be written. If they are code, the page's blocks are dropped, and the block that is
 * running at `pc` (0: none) ends behind its current instruction.
 */
export function codeWritten(host: u32, length: u32, pc: usize): void {
  const d = load<u32>(PAGE_BLOCKS + ((host >>> 12) << 2));
  if ((load<u64>(d) & lineMask(host & 0xfff, length)) == 0) return;
  dropPage(host >>> 12);
  endBlockBehind(pc);
}

/** Makes the running block look its next instruction up anew, whatever the links of its records say. */
export function endBlockBehind(pc: usize): void {
  if (pc < <usize>ARENA) return;
  store<u16>(pc + RECORD, <u16>OP_NEXT);
  const op = recOp(pc);
  if (op == OP_CALL64 || op == OP_CALL32) store<u32>(pc, 0, 16); // it has written its return address and goes on by its link
}

function dropPage(page: u32): void {
  const slot = PAGE_BLOCKS + (page << 2);
  let node = load<u32>(load<u32>(slot), 8);
  store<u32>(slot, 0);
  while (node != 0) {
    const block = node & ~1;
    if (load<u32>(block, 28) != 0) {
      store<u32>(block, 0, 28);
      let link: usize = bucket(load<u32>(block), load<u32>(block, 4));
      while (load<u32>(link) != block) link = <usize>load<u32>(link) + 8;
      store<u32>(link, load<u32>(block, 8));
    }
    node = load<u32>(block + ((node & 1) != 0 ? 20 : 12));
  }
  newJumpGeneration();
  store<u32>(COUNTERS, load<u32>(COUNTERS, 16) + 1, 16);
}

/** Memory was written from outside (a device, the framework). */
export function invalidateCode(address: u32, length: u32): void {
  if (length == 0) return;
  const last = (address + (length - 1)) >>> 12;
  for (let page = address >>> 12; page <= last; page++) {
    if (load<u32>(PAGE_BLOCKS + (page << 2)) != 0) dropPage(page);
  }
}
