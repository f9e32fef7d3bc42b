import { E_COUNT, E_LIMIT, E_WAITS } from "../src/code-layout";
import {
  ARENA, ARENA_BYTES, CODE_BASE, TIER_BATCH, TIER_KNOWN_THRESHOLD, TIER_PATIENCE, TIER_QUEUE, TIER_QUEUED, TIER_QUEUE_ENTRIES, TIER_THRESHOLD, TIER_WAITED,
  TLB_BASE,
} from "../src/layout";
import { arenaNext, resetBlocks } from "./code-pages";
import { linearOfRip } from "./mode";
/**
 * Blocks that have become hot wait in a queue until there are enough of them for a module, or until they have run so often meanwhile that waiting
 * costs more than a module does. Then the second tier (src/translator) takes them all. It fills in, in the first record of each block, E_FUNCTION
 * and E_LIMIT.
 */
/** Room in the arena that describing the pages of a batch takes at most: it must not be emptied under a running block. */
const ROOM: u32 = 0x10000;

/** Takes what is in the queue; it is empty then. */
@external("env", "translate") declare function translate(): void;

/** The block whose first record is `pc` has been entered as often as it was to be. */
export function becameHot(pc: usize): void {
  const count = load<u32>(pc, E_COUNT);
  let threshold = load<u32>(TIER_THRESHOLD), queued = load<u32>(TIER_QUEUED);
  if (count < threshold && load<u32>(TIER_KNOWN_THRESHOLD) != 0) threshold = load<u32>(TIER_KNOWN_THRESHOLD);
  store<u32>(pc, count + threshold, E_LIMIT);
  if (load<u32>(pc, E_WAITS) == 0 && queued < <u32>TIER_QUEUE_ENTRIES) {
    const entry = TIER_QUEUE + <usize>(queued << 4);
    store<u32>(entry, <u32>pc);
    store<u32>(entry, load<u32>(TLB_BASE), 4); // when it is handed over, another one may be in use
    store<u64>(entry, linearOfRip(load<u64>(CODE_BASE)), 8);
    store<u32>(TIER_QUEUED, ++queued);
    store<u32>(pc, 1, E_WAITS);
    if (queued == 1) store<u32>(TIER_WAITED, 0);
    if (queued < load<u32>(TIER_BATCH)) return;
  } else {
    const waited = load<u32>(TIER_WAITED) + threshold;
    store<u32>(TIER_WAITED, waited);
    if (waited < load<u32>(TIER_PATIENCE)) return;
  }
  if (arenaNext() + ROOM > <u32>(ARENA + ARENA_BYTES)) return; // it will be emptied soon
  translate();
}

/** Blocks are counted from now on, or with threshold 0 no more. What is known of code is forgotten. */
export function setSecondTier(threshold: u32, batch: u32, patience: u32): void {
  store<u32>(TIER_THRESHOLD, threshold);
  store<u32>(TIER_BATCH, batch);
  store<u32>(TIER_PATIENCE, patience);
  resetBlocks();
}
