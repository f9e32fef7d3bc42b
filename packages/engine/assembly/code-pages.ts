import {
  B_HOST, B_MODE, B_NEXT, B_NEXT_IN_PAGE, B_NEXT_IN_SECOND, B_VALID, DESCRIPTOR_BYTES, D_BLOCKS, D_LINES, D_SERIAL,
} from "../src/code-layout";
import {
  ARENA, ARENA_BYTES, ARENA_GENERATION, ARENA_NEXT, BLOCK_HASH, BLOCK_HASH_ENTRIES, CODE_SERIAL, COUNTERS, JUMP_CACHE, JUMP_CACHE_ENTRIES, PAGES_DROPPED, PAGE_BLOCKS, TIER_QUEUED,
} from "../src/layout";
import { OP_CALL32, OP_CALL64, OP_NEXT } from "./generated/ops";
import { RECORD, recOp } from "./record";
import { forgetJumps, protectHostPage } from "./tlb";
/**
 * Where decoded code is: the arena, the hash of blocks, and for each page of memory what of it has been decoded. It only records; blocks.ts
 * makes blocks, and the MMU reports writes here.
 *
 * Fields of a block's header (B_) and of the descriptor of a page with code (D_): src/code-layout.ts.
 */

/** Where the next block or descriptor goes. */
// @ts-ignore: decorator
@inline export function arenaNext(): u32 { return load<u32>(ARENA_NEXT); }
/** Everything below `address` is taken. */
// @ts-ignore: decorator
@inline export function takeArena(address: u32): void { store<u32>(ARENA_NEXT, address); }
/** Grows when the arena is emptied: addresses of records from before mean nothing. */
// @ts-ignore: decorator
@inline export function arenaGeneration(): u32 { return load<u32>(ARENA_GENERATION); }

/** Forgets all decoded code. */
export function resetBlocks(): void {
  if (arenaNext() > <u32>ARENA) emptyTables(); // else nothing has been decoded, and to fill fresh memory costs the host more than it looks
  takeArena(ARENA);
  store<u32>(TIER_QUEUED, 0);
  store<u32>(ARENA_GENERATION, arenaGeneration() + 1);
  forgetJumps();
  store<u32>(COUNTERS, load<u32>(COUNTERS, 12) + 1, 12);
}
function emptyTables(): void {
  memory.fill(BLOCK_HASH, 0, BLOCK_HASH_ENTRIES * 4);
  memory.fill(PAGE_BLOCKS, 0, <usize>memory.size() << 6); // 64 KiB wasm page = 16 pages of 4 bytes
  memory.fill(JUMP_CACHE, 0, JUMP_CACHE_ENTRIES * 16); // what it points to is a block, though its generation be an old one
}

/** Bucket of the hash: u32 address of its first block. */
// @ts-ignore: decorator
@inline export function bucket(host: u32, mode: u32): usize {
  return BLOCK_HASH + (((host ^ (host >>> 14) ^ (mode << 9)) & (BLOCK_HASH_ENTRIES - 1)) << 2);
}

// @ts-ignore: decorator
@inline function lineMask(offset: u32, length: u32): u64 {
  const first = offset >>> 6, last = (offset + length - 1) >>> 6;
  return (<u64>-1 << <u64>first) & (<u64>-1 >> <u64>(63 - last));
}
/** Descriptor of the page of `host`, 0 when nothing there has been decoded. */
// @ts-ignore: decorator
@inline export function codeLines(host: u32): u32 { return load<u32>(PAGE_BLOCKS + ((host >>> 12) << 2)); }
// @ts-ignore: decorator
@inline export function codeSerial(descriptor: u32): u32 { return load<u32>(descriptor, D_SERIAL); }

/** Descriptor of a page, made if need be; from then on writes to the page are seen. */
function describePage(page: u32): u32 {
  let d = codeLines(page);
  if (d == 0) {
    d = arenaNext();
    takeArena(d + DESCRIPTOR_BYTES);
    store<u32>(CODE_SERIAL, load<u32>(CODE_SERIAL) + 1);
    store<u64>(d, 0, D_LINES); store<u32>(d, 0, D_BLOCKS); store<u32>(d, load<u32>(CODE_SERIAL), D_SERIAL);
    store<u32>(PAGE_BLOCKS + ((page >>> 12) << 2), d);
    protectHostPage(page);
  }
  return d;
}
/** The same for a caller that has not made sure that there is room. */
export function arenaDescriptor(host: u32): u32 {
  if (codeLines(host) == 0 && arenaNext() + DESCRIPTOR_BYTES > <u32>(ARENA + ARENA_BYTES)) resetBlocks();
  return describePage(host & ~0xfff);
}
/** Lines of the page hold code: writes to them drop what is known of the page. */
export function coverLines(descriptor: u32, offset: u32, length: u32): void { store<u64>(descriptor, load<u64>(descriptor, D_LINES) | lineMask(offset, length), D_LINES); }

/** Puts a block on the list of a page of which it holds `length` bytes from `offset` on; `crossing` is 1 for the page its last instruction crosses into. */
export function enlist(page: u32, offset: u32, length: u32, block: u32, crossing: u32): void {
  const d = describePage(page);
  coverLines(d, offset, length);
  store<u32>(block + (crossing != 0 ? B_NEXT_IN_SECOND : B_NEXT_IN_PAGE), load<u32>(d, D_BLOCKS));
  store<u32>(d, block | crossing, D_BLOCKS);
}

/**
 * Bytes of a page with blocks are about to be written. If they are code, the page's blocks are dropped, and the block that is
 * running at `pc` (0: none) ends behind its current instruction.
 */
export function codeWritten(host: u32, length: u32, pc: usize): void {
  const d = codeLines(host);
  if ((load<u64>(d, D_LINES) & lineMask(host & 0xfff, length)) == 0) return;
  dropPage(host >>> 12);
  endBlockBehind(pc);
}

/** Makes the running block look its next instruction up anew, whatever the links of its records say. */
export function endBlockBehind(pc: usize): void {
  if (pc < <usize>ARENA || pc >= <usize>(ARENA + ARENA_BYTES)) return; // not in a block
  store<u16>(pc + RECORD, <u16>OP_NEXT);
  const op = recOp(pc);
  if (op == OP_CALL64 || op == OP_CALL32) store<u32>(pc, 0, 16); // it has written its return address and goes on by its link
}

function dropPage(page: u32): void {
  const slot = PAGE_BLOCKS + (page << 2);
  let node = load<u32>(load<u32>(slot), D_BLOCKS);
  store<u32>(slot, 0);
  while (node != 0) {
    const block = node & ~1;
    if (load<u32>(block, B_VALID) != 0) {
      store<u32>(block, 0, B_VALID);
      let link: usize = bucket(load<u32>(block, B_HOST), load<u32>(block, B_MODE));
      while (load<u32>(link) != block) link = <usize>load<u32>(link) + B_NEXT;
      store<u32>(link, load<u32>(block, B_NEXT));
    }
    node = load<u32>(block + ((node & 1) != 0 ? B_NEXT_IN_SECOND : B_NEXT_IN_PAGE));
  }
  forgetJumps();
  store<u32>(PAGES_DROPPED, load<u32>(PAGES_DROPPED) + 1);
}

/** Memory was written from outside (a device, the framework). */
export function invalidateCode(address: u32, length: u32): void {
  if (length == 0) return;
  const last = (address + (length - 1)) >>> 12;
  for (let page = address >>> 12; page <= last; page++) {
    if (load<u32>(PAGE_BLOCKS + (page << 2)) != 0) dropPage(page);
  }
}
