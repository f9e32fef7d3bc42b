/**
 * Finds what is translated together: the blocks of one page that are reached from a hot one, and how they are connected. Only what has run is
 * taken in (a taken branch makes its target a block of the interpreter); an edge to anything else leaves the region.
 *
 * A region lies in one page, so what drops the page's code drops it, and a linear address is CODE_BASE plus an offset.
 */
import { endsBlock } from './instructions.js';
import type { Instruction } from './instructions.js';

/** Most instructions of a region: V8's optimising compiler takes some 10 µs for each. */
const MOST_INSTRUCTIONS = 400;
/** An indirect jump may go to blocks at most this far away. */
const NEAR = 1024;
/** Of functions; how much more often than a block that is worth being taken in they have run; and how many of them a call is compared with. */
const ALIGNMENT = 16;
const OFTEN = 16;
const MOST_CALLEES = 3;
const PAGE = 4096;

/** What a region needs to know of code. */
export interface CodeSource {
  /** The instruction at an offset of the page; undefined where it goes on in the next page. */
  decode(offset: number): Instruction | undefined;
  /** How often the block at an offset has been entered; 0 when it never ran. */
  executions(offset: number): number;
  /** Offsets of all blocks of the page that have run. */
  blocks(): readonly number[];
  /** Where the register at an offset from REGS points to now: the offset in a page. */
  pointer(register: number): number;
}

/** Where control goes behind a block. Numbers are of blocks in the region, -1 is outside: at `to`. */
export interface Edge {
  block: number;
  /** Offset from the page's first byte; may lie outside of the page. */
  to: number;
}

export interface Block {
  offset: number;
  instructions: Instruction[];
  /** Bytes up to the end of its last instruction. */
  end: number;
  /** Of a direct jump or call, and of a conditional jump that is taken. */
  taken: Edge | undefined;
  /** What follows in memory. */
  next: Edge | undefined;
  /** Blocks that an indirect jump or a return may go to. */
  targets: Edge[];
  /** The instruction behind the last one is only known to the interpreter. */
  stops: boolean;
}

export interface Region {
  /** The first is the entry. */
  blocks: Block[];
  /** In all blocks. */
  instructions: number;
}

/** The region that is entered at `entry`; undefined when its first instruction is not to be translated. `least` executions make a block worth it. */
export function findRegion(
  code: CodeSource,
  entry: number,
  least: number,
  can: (i: Instruction) => boolean,
): Region | undefined {
  const instructions = new Map<number, Instruction | undefined>();
  const decode = (offset: number): Instruction | undefined => {
    if (!instructions.has(offset)) instructions.set(offset, code.decode(offset));
    return instructions.get(offset);
  };
  const leaders = new Set<number>(),
    waiting = [entry];
  const returns = new Set<number>();
  let total = 0;
  const want = (offset: number): void => {
    if (offset >= 0 && offset < PAGE && !leaders.has(offset) && code.executions(offset) >= least) waiting.push(offset);
  };
  // first pass: which instructions, and where blocks begin
  const covered = new Set<number>();
  let indirect: number[] = [],
    callees: readonly number[] = [];
  while (waiting.length > 0) {
    let at = waiting.shift()!;
    if (leaders.has(at)) continue;
    if (total >= MOST_INSTRUCTIONS) break;
    leaders.add(at);
    while (at < PAGE && !covered.has(at) && total < MOST_INSTRUCTIONS) {
      const i = decode(at);
      if (i?.row === undefined || !can(i)) break;
      covered.add(at);
      total++;
      at += i.length;
      const { row } = i;
      if (!endsBlock(row)) continue;
      if (row.kind === 'jump-if') {
        want(i.target);
        if (at < PAGE) waiting.push(at);
      } else if (row.kind === 'jump') want(i.target);
      else if (row.kind === 'call') {
        if (i.target >= 0 && i.target < PAGE && code.executions(i.target) >= least) {
          want(i.target);
          if (code.executions(at) > 0) {
            returns.add(at);
            want(at);
          }
        }
      } else if (row.kind === 'jump-to') {
        const origin = i.offset;
        indirect = code
          .blocks()
          .filter((offset) => Math.abs(offset - origin) <= NEAR && code.executions(offset) >= least);
        for (const offset of indirect) want(offset);
      } else if (row.kind === 'call-to' && at < PAGE && code.executions(at) > 0) {
        callees = [...new Set([...pointedTo(code, i, least), ...callees, ...likelyCallees(code, least)])];
        for (const offset of callees) want(offset);
        returns.add(at);
        want(at);
      }
      break;
    }
  }
  if (!covered.has(entry)) return undefined;
  return build(
    [...leaders].filter((offset) => covered.has(offset)),
    entry,
    decode,
    can,
    returns,
    indirect,
    callees,
  );
}

/** Second pass: the blocks, now that it is known where they begin. */
function build(
  leaders: readonly number[],
  entry: number,
  decode: (offset: number) => Instruction | undefined,
  can: (i: Instruction) => boolean,
  returns: ReadonlySet<number>,
  indirect: readonly number[],
  callees: readonly number[],
): Region {
  const order = [entry, ...leaders.filter((offset) => offset !== entry)],
    numbers = new Map(order.map((offset, number) => [offset, number]));
  const edge = (to: number): Edge => ({ block: numbers.get(to) ?? -1, to });
  const inside = (offsets: Iterable<number>): Edge[] => [...offsets].map(edge).filter(({ block }) => block >= 0);
  let count = 0;
  const blocks = order.map((offset): Block => {
    const block: Block = {
      offset,
      instructions: [],
      end: offset,
      taken: undefined,
      next: undefined,
      targets: [],
      stops: false,
    };
    while (true) {
      const i = block.end < PAGE ? decode(block.end) : undefined;
      if (i?.row === undefined || !can(i)) {
        block.stops = block.end < PAGE;
        block.next = { block: -1, to: block.end };
        break;
      }
      block.instructions.push(i);
      block.end += i.length;
      count++;
      if (endsBlock(i.row)) {
        const { kind } = i.row;
        if (kind === 'jump-if' || kind === 'jump' || kind === 'call') block.taken = edge(i.target);
        if (kind === 'jump-if') block.next = edge(block.end);
        if (kind === 'call-to') block.targets = inside(callees);
        if (kind === 'jump-to') block.targets = inside(indirect.filter((offset) => !returns.has(offset)));
        break;
      }
      if (numbers.has(block.end) || block.instructions.length >= MOST_INSTRUCTIONS) {
        block.next = edge(block.end);
        break;
      }
    }
    return block;
  });
  for (const block of blocks) {
    const kind = kindOf(block);
    if (kind === 'call' && block.taken!.block >= 0) connectReturns(blocks, block.taken!.block, edge(block.end));
    if (kind === 'call-to') for (const callee of block.targets) connectReturns(blocks, callee.block, edge(block.end));
  }
  return { blocks, instructions: count };
}

/** Of the instruction that ends a block. */
function kindOf({ instructions }: Block): string | undefined {
  return instructions[instructions.length - 1]?.row?.kind;
}

/** What the call's register points to now: it often stays the same for as long as the code is hot. */
function pointedTo(code: CodeSource, { row, reg }: Instruction, least: number): number[] {
  const offset = row?.kind === 'call-to' && row.form === 'R' ? code.pointer(reg) : -1;
  return offset >= 0 && code.executions(offset) >= least ? [offset] : [];
}

/** Functions of the page that an indirect call may mean: compilers align them, and they run often. */
function likelyCallees(code: CodeSource, least: number): number[] {
  return code
    .blocks()
    .filter((offset) => offset % ALIGNMENT === 0 && code.executions(offset) >= least * OFTEN)
    .sort((a, b) => code.executions(b) - code.executions(a))
    .slice(0, MOST_CALLEES);
}

/** The returns of the function that begins at block `callee` may go behind a call of it. */
function connectReturns(blocks: readonly Block[], callee: number, behind: Edge): void {
  if (behind.block < 0) return;
  const byOffset = new Map(blocks.map(({ offset }, number) => [offset, number])),
    seen = new Set<number>(),
    waiting = [callee];
  while (waiting.length > 0) {
    const number = waiting.pop()!,
      block = blocks[number]!;
    if (seen.has(number)) continue;
    seen.add(number);
    const kind = kindOf(block);
    if (kind === 'return') {
      if (block.targets.every(({ block: target }) => target !== behind.block)) block.targets.push(behind);
      continue;
    }
    // behind a call inside the function it goes on when that has returned
    const next =
      kind === 'call' || kind === 'call-to'
        ? [byOffset.get(block.end) ?? -1]
        : [block.taken?.block ?? -1, block.next?.block ?? -1, ...block.targets.map((t) => t.block)];
    for (const to of next) if (to >= 0) waiting.push(to);
  }
}
