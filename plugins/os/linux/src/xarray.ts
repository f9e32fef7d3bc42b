/** The kernel's tree of pointers by number: xarray, which radix trees and IDRs are made of (Linux, include/linux/xarray.h). */
import { Bound } from '@visorkit/vmi';
import { MOST_ELEMENTS } from './kernel.js';
import type { KernelBase } from './kernel.js';

/** Slots of a node. */
const SLOTS = 64;
/** The lowest two bits of an entry that is a node, or another thing of the tree's own. */
const INTERNAL = 2n;
/** Nodes have at least this address. */
const LOWEST_NODE = 4096n;
/** A tree of 64-bit numbers has 11 levels. */
const DEEPEST = 12;

/** The pointers in it, in order of their numbers. `root`: address of the struct xarray. */
export function* xarray(kernel: KernelBase, root: bigint): Generator<bigint, void, undefined> {
  // Until 4.20 the root is a radix_tree_root
  const isArray = kernel.hasField('xarray', 'xa_head');
  const head = kernel.struct(isArray ? 'xarray' : 'radix_tree_root', root).big(isArray ? 'xa_head' : 'rnode');
  const node = isArray ? 'xa_node' : 'radix_tree_node';
  const slots = kernel.offset(node, 'slots');
  const room = new Bound(kernel.memory, `entries of the xarray at 0x${root.toString(16)}`, MOST_ELEMENTS);
  yield* walk(kernel, head, slots, isArray ? INTERNAL : 1n, DEEPEST, room);
}

function* walk(
  kernel: KernelBase,
  entry: bigint,
  slots: bigint,
  internal: bigint,
  depth: number,
  room: Bound,
): Generator<bigint, void, undefined> {
  if (entry === 0n || !room.take()) return;
  if ((entry & 3n) !== internal) {
    yield entry;
    return;
  }
  const node = entry - internal;
  if (node < LOWEST_NODE || depth === 0) return;
  for (let slot = 0; slot < SLOTS; slot++) {
    const next = kernel.pointerAt(kernel.wrap(node + slots + BigInt(slot * kernel.pointerSize)));
    yield* walk(kernel, next, slots, internal, depth - 1, room);
  }
}
