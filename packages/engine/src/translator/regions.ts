/**
 * Finds what is translated together: the blocks that are reached from a hot one, and how they are connected. Only what has run is
 * taken in (a taken branch makes its target a block of the interpreter); an edge to anything else leaves the region.
 *
 * A linear address is that of the first page plus an offset. Code in other pages is taken in where their addresses have it now: whoever enters the region
 * must have seen that they still do (assembly/second-tier.ts, confirmPages).
 */
import { MOST_PAGES } from '../code-layout.js';
import { endsBlock } from './instructions.js';
import type { Instruction } from './instructions.js';

/** Most instructions of a region: V8's optimising compiler takes some 10 µs for each. */
const MOST_INSTRUCTIONS = 400;
/** Code of another page is taken in if it runs at least once for so many entries of the region. */
const RARE = 16;
/** An indirect jump may go to blocks at most this far away. */
const NEAR = 1024;
/** Of functions; how much more often than a block that is worth being taken in they have run; and how many of them a call is compared with. */
const ALIGNMENT = 16;
const OFTEN = 16;
const MOST_CALLEES = 3;
const PAGE = 4096;

/** What a region needs to know of code. Offsets are from the first byte of the page that it is entered in. */
export interface CodeSource {
  /** Whether it is known where the page lies that begins at an offset. */
  has(page: number): boolean;
  /** The instruction at an offset; undefined where it goes on in the next page. */
  decode(offset: number): Instruction | undefined;
  /** How often the block at an offset has been entered; 0 when it never ran. What has run in the middle of a region has not been counted. */
  executions(offset: number): number;
  /** Whether a region has the code at an offset. */
  isCovered(offset: number): boolean;
  /** Offsets of all blocks of the page that begins at an offset, if they have run. */
  blocks(page: number): readonly number[];
  /** Where the register at an offset from REGS points to now; undefined where that is far away. */
  pointer(register: number): number | undefined;
}

/** Where control goes behind a block. Numbers are of blocks in the region, -1 is outside: at `to`. */
export interface Edge {
  block: number;
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
  /** Offsets of the pages that it has code in: the first is 0, that of the entry. */
  pages: readonly number[];
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
  return new Finder(code, least, can).find(entry);
}

class Finder {
  private readonly instructions = new Map<number, Instruction | undefined>();
  /** Pages that have been looked at: first bytes. */
  private readonly pages = new Set<number>([0]);
  /** Where blocks begin, and which instructions they have. */
  private readonly leaders = new Set<number>();
  private readonly covered = new Set<number>();
  private readonly waiting: number[] = [];
  /** In other pages than what leads to them: their turn comes when nothing else waits. */
  private readonly elsewhere = new Set<number>();
  /** Offsets behind calls. */
  private readonly returns = new Set<number>();
  /** Where indirect jumps and calls may go, by their offsets. */
  private readonly targets = new Map<number, readonly number[]>();
  /** Executions that make code of another page worth it. */
  private far = 0;

  constructor(
    private readonly code: CodeSource,
    private readonly least: number,
    private readonly can: (i: Instruction) => boolean,
  ) {}

  find(entry: number): Region | undefined {
    const { waiting, leaders, covered } = this;
    this.far = Math.max(this.least, this.executions(entry) / RARE);
    waiting.push(entry);
    while (covered.size < MOST_INSTRUCTIONS) {
      const at = waiting.shift() ?? this.hottestElsewhere();
      if (at === undefined) break;
      if (!leaders.has(at)) this.follow(at);
    }
    if (!covered.has(entry)) return undefined;
    return this.build(
      [...leaders].filter((offset) => covered.has(offset)),
      entry,
    );
  }

  /** First pass: which instructions, and where blocks begin. */
  private follow(leader: number): void {
    const { covered, can } = this;
    this.leaders.add(leader);
    for (let at = leader; !covered.has(at) && covered.size < MOST_INSTRUCTIONS; ) {
      const i = this.decode(at);
      if (i?.row === undefined || !can(i)) return;
      covered.add(at);
      at += i.length;
      if (!endsBlock(i.row)) continue;
      this.goOn(i, at);
      return;
    }
  }
  /** To where an instruction that ends a block leads; `behind` it the next one follows. */
  private goOn(i: Instruction, behind: number): void {
    const { waiting, returns, targets } = this;
    switch (i.row!.kind) {
      case 'jump-if':
      case 'loop':
        this.wantFrom(i);
        waiting.push(behind);
        return;
      case 'jump':
        this.wantFrom(i);
        return;
      case 'call':
        if (!this.wantFrom(i) || this.executions(behind) === 0) return;
        returns.add(behind);
        this.want(behind);
        return;
      case 'jump-to':
        targets.set(i.offset, this.blocksNear(i.offset));
        break;
      case 'call-to':
        if (this.executions(behind) === 0) return;
        targets.set(i.offset, [...new Set([...this.pointedTo(i), ...this.likelyCallees(pageOf(i.offset))])]);
        returns.add(behind);
        this.want(behind);
        break;
      default:
        return;
    }
    for (const offset of targets.get(i.offset)!) this.want(offset);
  }

  private decode(offset: number): Instruction | undefined {
    const { instructions } = this;
    if (!instructions.has(offset)) {
      const i = this.opens(offset) ? this.code.decode(offset) : undefined;
      instructions.set(offset, i !== undefined && this.opens(offset + i.length - 1) ? i : undefined);
    }
    return instructions.get(offset);
  }
  /** Whether the page of an offset may be looked at. */
  private opens(offset: number): boolean {
    const { pages, code } = this,
      page = pageOf(offset);
    if (pages.has(page)) return true;
    if (pages.size >= MOST_PAGES || !code.has(page)) return false;
    pages.add(page);
    return true;
  }
  private executions(offset: number): number {
    return this.code.has(pageOf(offset)) ? this.code.executions(offset) : 0;
  }
  /** A block that has run often enough is taken in. */
  private want(offset: number): boolean {
    if (this.executions(offset) < this.least && !(this.code.has(pageOf(offset)) && this.code.isCovered(offset)))
      return false;
    if (!this.opens(offset)) return false;
    this.waiting.push(offset);
    return true;
  }

  /** The same for the target of a branch. */
  private wantFrom({ offset, target }: Instruction): boolean {
    if (pageOf(target) === pageOf(offset)) return this.want(target);
    if (this.executions(target) < this.far || !this.opens(target)) return false;
    this.elsewhere.add(target);
    return true;
  }
  private hottestElsewhere(): number | undefined {
    const { elsewhere } = this;
    let hottest: number | undefined;
    for (const offset of elsewhere)
      if (hottest === undefined || this.executions(offset) > this.executions(hottest)) hottest = offset;
    if (hottest !== undefined) elsewhere.delete(hottest);
    return hottest;
  }

  /** Blocks of the page that an indirect jump may go to. */
  private blocksNear(origin: number): number[] {
    return this.code
      .blocks(pageOf(origin))
      .filter((offset) => Math.abs(offset - origin) <= NEAR && this.code.executions(offset) >= this.least);
  }
  /** What the call's register points to now: it often stays the same for as long as the code is hot. */
  private pointedTo({ row, reg }: Instruction): number[] {
    const offset = row?.kind === 'call-to' && row.form === 'R' ? this.code.pointer(reg) : undefined;
    return offset !== undefined && this.executions(offset) >= this.least ? [offset] : [];
  }
  /** Functions of the page that an indirect call may mean: compilers align them, and they run often. */
  private likelyCallees(page: number): number[] {
    const { code, least } = this;
    return code
      .blocks(page)
      .filter((offset) => offset % ALIGNMENT === 0 && code.executions(offset) >= least * OFTEN)
      .sort((a, b) => code.executions(b) - code.executions(a))
      .slice(0, MOST_CALLEES);
  }

  /** Second pass: the blocks, now that it is known where they begin. */
  private build(leaders: readonly number[], entry: number): Region {
    const order = [entry, ...leaders.filter((offset) => offset !== entry)],
      numbers = new Map(order.map((offset, number) => [offset, number]));
    const edge = (to: number): Edge => ({ block: numbers.get(to) ?? -1, to });
    const blocks = order.map((offset) => this.block(offset, numbers, edge));
    for (const block of blocks) {
      const kind = kindOf(block);
      if (kind === 'call' && block.taken!.block >= 0)
        connectReturns(blocks, numbers, block.taken!.block, edge(block.end));
      if (kind === 'call-to')
        for (const callee of block.targets) connectReturns(blocks, numbers, callee.block, edge(block.end));
    }
    const pages = new Set([0]);
    for (const { offset, end } of blocks) for (let page = pageOf(offset); page < end; page += PAGE) pages.add(page);
    return {
      blocks,
      pages: [...pages],
      instructions: blocks.reduce((sum, block) => sum + block.instructions.length, 0),
    };
  }
  private block(offset: number, numbers: ReadonlyMap<number, number>, edge: (to: number) => Edge): Block {
    const { covered, targets, returns } = this;
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
      const i = covered.has(block.end) ? this.decode(block.end) : undefined;
      if (i === undefined) {
        block.stops = this.isForInterpreter(block.end);
        block.next = { block: -1, to: block.end };
        return block;
      }
      block.instructions.push(i);
      block.end += i.length;
      if (!endsBlock(i.row!)) {
        if (!numbers.has(block.end)) continue;
        block.next = edge(block.end);
        return block;
      }
      const inside = (offsets: readonly number[] = []): Edge[] => offsets.map(edge).filter(({ block }) => block >= 0);
      const { kind } = i.row!;
      if (kind === 'jump-if' || kind === 'loop' || kind === 'jump' || kind === 'call') block.taken = edge(i.target);
      if (kind === 'jump-if' || kind === 'loop') block.next = edge(block.end);
      if (kind === 'call-to') block.targets = inside(targets.get(i.offset));
      if (kind === 'jump-to') block.targets = inside(targets.get(i.offset)?.filter((to) => !returns.has(to)));
      return block;
    }
  }
  /** Whether no region can begin with the instruction. Of one in a page that has not been looked at that is not known. */
  private isForInterpreter(offset: number): boolean {
    if (!this.pages.has(pageOf(offset))) return false;
    const i = this.decode(offset);
    return i?.row === undefined || !this.can(i);
  }
}

/** What goes to the interpreter after fewer instructions is done by then. */
const SHORT = 6;
/** Whether a region is a few instructions and nothing else, in front of one that only the interpreter knows. With a low threshold all is translated. */
export const isShort = ({ blocks, instructions }: Region): boolean =>
  blocks.length === 1 && blocks[0]!.stops && instructions < SHORT;

/** Offset of the page of an offset. */
export function pageOf(offset: number): number {
  return Math.floor(offset / PAGE) * PAGE;
}

/** Of the instruction that ends a block. */
function kindOf({ instructions }: Block): string | undefined {
  return instructions[instructions.length - 1]?.row?.kind;
}

/** The returns of the function that begins at block `callee` may go behind a call of it. */
function connectReturns(
  blocks: readonly Block[],
  numbers: ReadonlyMap<number, number>,
  callee: number,
  behind: Edge,
): void {
  if (behind.block < 0) return;
  const seen = new Set<number>(),
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
        ? [numbers.get(block.end) ?? -1]
        : [block.taken?.block ?? -1, block.next?.block ?? -1, ...block.targets.map((t) => t.block)];
    for (const to of next) if (to >= 0) waiting.push(to);
  }
}
