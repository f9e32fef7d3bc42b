/**
 * Which of the guest's registers are in locals where: a region takes one from the processor's state where it first needs it, and each way out puts back
 * only those that may have been written before it, unless they have been put back already (writer.ts). A region that is left soon has little to take and to put back then, however large it is.
 *
 * The flags are two more such registers: what made them, and what came after (flags.ts).
 */
import { inOrder, predecessorsOf } from './structure.js';
import type { Structure } from './structure.js';

/** General register n is bit n. */
export const FLAGS = 1 << 16;
export const AFTER = 1 << 17;
const ALL = (1 << 18) - 1;

/** What a block does with registers, as bits. */
export class BlockUse {
  /** Read, or written in part, before they are written. */
  reads = 0;
  /** Written as a whole, or taken from the state, in any case. */
  defines = 0;
  /** Written, in some case at least, and not put back. */
  writes = 0;
  /** Read or written at all. */
  all = 0;

  read(registers: number): void {
    this.all |= registers;
    this.reads |= registers & ~this.defines;
  }
  /** `certain`: as a whole, and whichever way control goes in the block. `stored`: the block puts them back itself before anybody looks. */
  write(registers: number, certain: boolean, stored: boolean): void {
    if (certain) this.defines |= registers;
    else this.read(registers);
    if (!stored) this.writes |= registers;
    this.all |= registers;
  }
  /** Taken from the state. */
  take(registers: number, certain: boolean): void {
    if (certain) this.defines |= registers;
    else this.read(registers);
  }
  /** In a local by now, or at least taken from the state at the block's beginning. */
  get held(): number {
    return this.reads | this.defines;
  }
}

/** By node of the structure, as bits. */
export interface ExchangePlan {
  /** In locals where the node begins. Whoever goes there sees to it. */
  readonly held: Int32Array;
  /** In locals where it ends. */
  readonly left: Int32Array;
  /** May have been written before it begins: the state has old values. */
  readonly written: Int32Array;
}

/** `uses` are those of the nodes; a dispatcher has none. */
export function planExchanges(
  { successors, order }: Pick<Structure, 'successors' | 'order'>,
  uses: readonly (BlockUse | undefined)[],
): ExchangePlan {
  const count = successors.length,
    nodes = inOrder(order),
    predecessors = predecessorsOf(successors, nodes);

  const written = new Int32Array(count);
  repeat(nodes, (node) => {
    const before = written[node]!;
    for (const from of predecessors[node]!) written[node]! |= written[from]! | (uses[from]?.writes ?? 0);
    return written[node] !== before;
  });

  // what a loop reads is taken in front of it
  const wanted = new Int32Array(count);
  for (const node of nodes) {
    for (const from of predecessors[node]!)
      if (order[node]! <= order[from]!) wanted[node]! |= readInLoop(node, from, predecessors, uses);
  }

  const held = new Int32Array(count),
    left = new Int32Array(count).fill(ALL);
  repeat(nodes, (node) => {
    let common = node === 0 ? 0 : ALL;
    for (const from of predecessors[node]!) common &= left[from]!;
    // a register that may have been written on one way must be in its local on all
    held[node] = common | written[node]! | wanted[node]!;
    const before = left[node];
    left[node] = held[node]! | (uses[node]?.held ?? 0);
    return left[node] !== before;
  });
  return { held, left, written };
}

/** Until nothing changes. */
function repeat(nodes: Int32Array, step: (node: number) => boolean): void {
  for (let changed = true; changed; ) {
    changed = false;
    for (const node of nodes) if (step(node)) changed = true;
  }
}

/** Registers read in the loop of the edge that leads back from `last` to `header`. */
function readInLoop(
  header: number,
  last: number,
  predecessors: readonly (readonly number[])[],
  uses: readonly (BlockUse | undefined)[],
): number {
  const inside = new Set([header]),
    waiting = [last];
  let reads = uses[header]?.reads ?? 0;
  for (let node = waiting.pop(); node !== undefined; node = waiting.pop()) {
    if (inside.has(node)) continue;
    inside.add(node);
    reads |= uses[node]?.reads ?? 0;
    waiting.push(...predecessors[node]!);
  }
  return reads;
}

/** A way out: what must be put back there, and what may be. */
export interface WayOut {
  readonly must: number;
  readonly may: number;
}

/** Putting this many registers back for nothing costs less than a tail of their own for those that need not. */
const SPARE = 3;

/** Sets of registers that serve all ways out, the number of each one's in the order of `ways`. */
export function shareTails(ways: readonly WayOut[]): { tails: number[]; numbers: number[] } {
  const allowed = new Map<number, number>();
  for (const { must, may } of ways) allowed.set(must, (allowed.get(must) ?? ALL) & may);
  const tails: number[] = [],
    served = new Map<number, number>();
  for (const must of [...allowed.keys()].sort((a, b) => sizeOf(b) - sizeOf(a))) {
    const may = allowed.get(must)!;
    let number = tails.findIndex(
      (tail) => (must & ~tail) === 0 && (tail & ~may) === 0 && sizeOf(tail) - sizeOf(must) <= SPARE,
    );
    if (number < 0) number = tails.push(must) - 1;
    served.set(must, number);
  }
  return { tails, numbers: ways.map(({ must }) => served.get(must)!) };
}

function sizeOf(set: number): number {
  let size = 0;
  for (let rest = set; rest !== 0; rest &= rest - 1) size++;
  return size;
}
