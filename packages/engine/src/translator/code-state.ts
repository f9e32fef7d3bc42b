/**
 * What the processor does with the code that it is at: whether it runs translated, and if not, why. For profiles, which ask now and then; nothing is kept for
 * them while the guest runs.
 *
 * They ask at a deadline. The last few hundred instructions before one are interpreted always: regions refuse to be entered so near to it, or are left in a
 * loop of theirs. Both leave traces. What would have run translated without the deadline is what a region has, where there are such traces.
 */
import {
  BLOCK_HEADER,
  B_BYTES,
  B_HOST,
  B_MODE,
  B_NEXT_IN_PAGE,
  B_NEXT_IN_SECOND,
  B_SECOND_PAGE,
  B_VALID,
  D_BLOCKS,
  D_SERIAL,
  E_COUNT,
  E_LIMIT,
  E_WAITS,
  LEFT_ELSEWHERE,
  LEFT_REFUSED,
  LEFT_SETTLE,
  MODE_SIZE,
} from '../code-layout.js';
import type { Engine } from '../engine.js';
import {
  ARENA_GENERATION,
  ATTENTION,
  MODE,
  PAGE_BLOCKS,
  REGIONS_LEFT,
  RIP,
  SEG_BASE,
  TIER_ENTERED,
  TIER_LEFT_BUDGET,
  TIER_LEFT_RIP,
  TIER_THRESHOLD,
  TLB_BASE,
  TLB_EMPTY,
  TLB_ENTRIES,
  TLB_ENTRY_BYTES,
  TLB_TABLES,
  TLB_TABLE_BYTES,
} from '../layout.js';
import type { LostRegion, PlacedRegion } from './placed-region.js';

/**
 * Why code is interpreted. `off`: all is. `instruction`: this one is left to the interpreter. `crossing`: the instruction lies in two pages. `cold`: it has
 * not run often enough. `waiting`: for other code, to share a module with. `written`, `emptied`, `evicted`: what there was is lost ({@link LostRegion}), and it has not run often enough since.
 * `elsewhere`: its region was made for another TLB table. `middle`: a region has it, but it is come to where none begins. `stepped`: something is due between
 * instructions. `failed`: there was no room for its region. `unmapped`: the code cannot be found any more.
 */
export type WhyInterpreted =
  | LostRegion
  | 'off'
  | 'instruction'
  | 'crossing'
  | 'cold'
  | 'waiting'
  | 'elsewhere'
  | 'middle'
  | 'stepped'
  | 'failed'
  | 'unmapped';

export interface CodeState {
  readonly bits: 16 | 32 | 64;
  /** Linear address of the next instruction, and of the region or block that has it. */
  readonly address: bigint;
  readonly start: bigint;
  /** Host-physical address of the latter, 0 where it cannot be found. */
  readonly host: number;
  /** Undefined: it runs translated. */
  readonly why: WhyInterpreted | undefined;
  /** Executions of the block that the interpreter has counted. */
  readonly executions: number;
  /** Of `instruction`: itself. */
  readonly blamed: { readonly address: bigint; readonly bytes: Uint8Array } | undefined;
}

const PAGE = 4096;
const LONGEST = 15;
const NEVER = 0xffff_ffff;
/** No serial number of a page's code. */
const NOTHING_KNOWN = 0;
const NO_BUDGET = 0x7fff_ffff_ffff_ffffn;
/** Instructions of the largest region, and some of a block. */
const NEAR = 450n;
/** Context of user code (assembly/tlb.ts), and offset of the tag for fetches in an entry; what is added to a linear address follows. */
const USER = 2;
const EXECUTE_TAG = 16;
const ADDEND = 24;
const CS = 1;

interface FoundBlock {
  readonly host: number;
  readonly executions: number;
  readonly waits: boolean;
  readonly refused: boolean;
  readonly crosses: boolean;
}

export class CodeStates {
  #refused = 0;
  #elsewhere = 0;
  #settled = 0;
  /** Serial numbers of pages' code at the last looks at them. */
  readonly #serials = new Map<number, number>();
  #generation = 0;

  constructor(private readonly engine: Engine) {}

  /** To be called before the processor is entered: what it refuses is told from then on. */
  entering(): void {
    this.#refused = this.#left(LEFT_REFUSED);
    this.#elsewhere = this.#left(LEFT_ELSEWHERE);
    this.#settled = this.#left(LEFT_SETTLE);
    this.engine.longs[TIER_LEFT_BUDGET >>> 3] = NO_BUDGET;
  }

  /** What is done with the code at RIP, where the processor has come back at a deadline. */
  look(): CodeState {
    const { engine } = this,
      { words, longs } = engine;
    const mode = words[MODE >>> 2],
      size = mode & MODE_SIZE,
      base = size === 2 ? 0n : longs[(SEG_BASE >>> 3) + CS];
    const address = size === 2 ? engine.rip : BigInt.asUintN(32, base + longs[RIP >>> 3]);
    const host = this.#hostOf(address),
      bits = size === 2 ? 64 : size === 1 ? 32 : 16;
    if (host === undefined)
      return { bits, address, start: address, host: 0, why: 'unmapped', executions: 0, blamed: undefined };
    const block = this.#blockOf(host, mode),
      having = this.#having(host, mode),
      region = having.find(({ tlb }) => tlb === 0 || tlb === words[TLB_BASE >>> 2]);
    const at = (where: number): bigint => address - BigInt(host - where);
    const known = { bits, address, executions: block?.executions ?? 0 } as const;
    const overwritten = this.#overwritten(host);
    if (region !== undefined && (isInFirstBlock(region, host) || this.#runsTranslated(host, mode, address)))
      return { ...known, start: at(region.host), host: region.host, why: undefined, blamed: undefined };
    const start = block?.host ?? host,
      blamed = this.#isInterpreted(host, mode);
    const bytes = engine.bytes.slice(host, Math.min(host + LONGEST, endOfPage(host)));
    return {
      ...known,
      start: at(start),
      host: start,
      why: this.#why(host, mode, { block, having, region, blamed, overwritten }),
      blamed: blamed ? { address, bytes } : undefined,
    };
  }

  /** Regions that have the code, those that begin there first. */
  #having(host: number, mode: number): readonly PlacedRegion[] {
    const { translator, exports } = this.engine,
      offset = host & (PAGE - 1);
    return (translator?.byPage.having(host - offset, offset, mode) ?? [])
      .filter(({ pages }) => pages.every(({ host: page, serial }) => exports.codeIsCurrent(page, serial) !== 0))
      .sort((a, b) => Number(b.host === host) - Number(a.host === host));
  }

  /** A region has the code: was it the deadline that kept the processor from it? */
  #runsTranslated(host: number, mode: number, address: bigint): boolean {
    // One has refused just now
    if (this.#left(LEFT_REFUSED) !== this.#refused) return true;
    // A repeated instruction comes back from within its region
    if (this.#left(LEFT_SETTLE) !== this.#settled && this.#isRepeated(host, mode)) return true;
    // One was left so near to the deadline for a place of its own: control would have stayed in it
    const { words, longs } = this.engine,
      rip = longs[TIER_LEFT_RIP >>> 3];
    if (longs[TIER_LEFT_BUDGET >>> 3] > NEAR || (rip ^ address) >> 12n !== 0n) return false;
    const left = endOfPage(host) - PAGE + Number(rip & 0xfffn);
    return this.#having(left, mode).some(({ record }) => record === words[TIER_ENTERED >>> 2]);
  }

  #why(
    host: number,
    mode: number,
    found: {
      block: FoundBlock | undefined;
      having: readonly PlacedRegion[];
      region: PlacedRegion | undefined;
      blamed: boolean;
      overwritten: boolean;
    },
  ): WhyInterpreted {
    const { words, translator } = this.engine,
      { block, having, region, blamed, overwritten } = found;
    if (words[TIER_THRESHOLD >>> 2] === 0) return 'off';
    if (block?.crosses === true) return 'crossing';
    if (blamed) return 'instruction';
    if (this.engine.secondTier?.inspect(host, mode) === undefined) return 'crossing';
    if (words[ATTENTION >>> 2] !== 0) return 'stepped';
    if (having.length > 0 && region === undefined && this.#left(LEFT_ELSEWHERE) !== this.#elsewhere) return 'elsewhere';
    if (having.length > 0) return 'middle';
    if (block?.waits === true) return 'waiting';
    const lost = translator?.lost.get(block?.host ?? host);
    if (lost !== undefined) return lost;
    if (overwritten) return 'written';
    return block?.refused === true ? 'failed' : 'cold';
  }

  /** Whether what was known of the page's code has been dropped since the last look at it. */
  #overwritten(host: number): boolean {
    const { words } = this.engine,
      page = host >>> 12,
      descriptor = words[(PAGE_BLOCKS >>> 2) + page];
    if (words[ARENA_GENERATION >>> 2] !== this.#generation) this.#serials.clear();
    this.#generation = words[ARENA_GENERATION >>> 2];
    const before = this.#serials.get(page),
      serial = descriptor === 0 ? NOTHING_KNOWN : words[(descriptor + D_SERIAL) >>> 2];
    // of a page where code runs for the first time nothing is known either
    if (serial !== NOTHING_KNOWN || before !== undefined) this.#serials.set(page, serial);
    return before !== undefined && (before !== serial || serial === NOTHING_KNOWN);
  }

  /** No region can have the instruction. */
  #isInterpreted(host: number, mode: number): boolean {
    return this.engine.secondTier?.inspect(host, mode)?.can === false;
  }

  /** REP, REPE or REPNE is among the prefixes. */
  #isRepeated(host: number, mode: number): boolean {
    const length = this.engine.secondTier?.inspect(host, mode)?.length ?? 0;
    for (let at = host; at < host + length; at++) {
      const byte = this.engine.bytes[at];
      if (byte === 0xf3 || byte === 0xf2) return true;
    }
    return false;
  }

  #left(why: number): number {
    return this.engine.words[(REGIONS_LEFT >>> 2) + why];
  }

  /** Where the code at a linear address lies: it has run just now, so the TLB knows. */
  #hostOf(linear: bigint): number | undefined {
    const { engine } = this,
      { words, longs } = engine;
    let table = words[TLB_BASE >>> 2];
    if (table === TLB_EMPTY) table = words[TLB_TABLES >>> 2] + USER * TLB_TABLE_BYTES;
    const low = Number(BigInt.asUintN(32, linear)),
      entry = table + ((low >>> 12) & (TLB_ENTRIES - 1)) * TLB_ENTRY_BYTES;
    if (longs[(entry + EXECUTE_TAG) >>> 3] === (linear & ~0xfffn)) return (low + words[(entry + ADDEND) >>> 2]) >>> 0;
    const { gpa } = engine.translate(linear);
    const region = engine.memory.regions.find((one) => gpa >= one.gpa && gpa < one.gpa + one.size);
    return region === undefined ? undefined : region.hostOffset + gpa - region.gpa;
  }

  /** Of the blocks with this code the one that has run most often. */
  #blockOf(host: number, mode: number): FoundBlock | undefined {
    const { words } = this.engine,
      page = endOfPage(host) - PAGE,
      counted = words[TIER_THRESHOLD >>> 2] !== 0,
      descriptor = words[(PAGE_BLOCKS >>> 2) + (page >>> 12)];
    let found: FoundBlock | undefined;
    for (let link = descriptor === 0 ? 0 : words[(descriptor + D_BLOCKS) >>> 2]; link !== 0; ) {
      const block = (link & ~1) >>> 0,
        first = block + BLOCK_HEADER,
        begins = words[(block + B_HOST) >>> 2];
      const bytes = words[(block + B_BYTES) >>> 2] >>> (8 * (B_BYTES & 3));
      const has = words[(block + B_VALID) >>> 2] === 1 && words[(block + B_MODE) >>> 2] === mode;
      if (has && host >= begins && host < begins + bytes) {
        const executions = counted ? words[(first + E_COUNT) >>> 2] : 0;
        if (found === undefined || executions > found.executions)
          found = {
            host: begins,
            executions,
            waits: counted && words[(first + E_WAITS) >>> 2] !== 0,
            refused: counted && words[(first + E_LIMIT) >>> 2] === NEVER,
            crosses: words[(block + B_SECOND_PAGE) >>> 2] !== 0,
          };
      }
      link = words[(block + ((link & 1) !== 0 ? B_NEXT_IN_SECOND : B_NEXT_IN_PAGE)) >>> 2];
    }
    return found;
  }
}

/** Straight-line code behind the region's entry: so few instructions before a deadline the processor does not even come to the point of refusing. */
const isInFirstBlock = ({ host: entry, pages }: PlacedRegion, host: number): boolean =>
  host >= entry && host - pages[0].host < pages[0].extents[1];

const endOfPage = (host: number): number => host - (host % PAGE) + PAGE;
