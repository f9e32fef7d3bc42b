/** Code where it lies now: what the translator looks for regions in. */
import {
  B_HOST,
  B_MODE,
  B_NEXT_IN_PAGE,
  B_NEXT_IN_SECOND,
  B_VALID,
  D_BLOCKS,
  ENDS_BLOCK,
  MODE_SIZE,
  RECORD_BYTES,
} from '../code-layout.js';
import { PAGE_BLOCKS, REGS, TIER_RECORDS } from '../layout.js';
import type { ProcessorExports } from '../module.js';
import { readRecord } from './instructions.js';
import type { Instruction, Row } from './instructions.js';
import { pageOf } from './regions.js';
import type { RegionsByPage } from './regions-by-page.js';
import type { CodeSource } from './regions.js';

const PAGE = 4096;
const LONGEST_INSTRUCTION = 15;
/** From the page that a region is entered in to any other: offsets, and distances between addresses of its code, have 32 bits. */
const FARTHEST = 0x3fff_0000;

/** Where a region is to begin. */
export interface CodePlace {
  host: number;
  mode: number;
  /** Linear address of the page when the code became hot; undefined where that is not known. */
  linear: number | undefined;
  /** Other pages may be looked at. */
  several: boolean;
}

/** Code as it is seen from one page, in one mode. */
export class PlacedCode implements CodeSource {
  /** Host addresses of pages by their offsets from the first, 0: not known. */
  private readonly hosts = new Map<number, number>();
  private readonly mode: number;
  /** Undefined where the page is not there now. */
  private readonly linear: number | undefined;
  private readonly several: boolean;

  constructor(
    private readonly context: {
      words: Uint32Array;
      bytes: Uint8Array;
      rows: readonly (Row | undefined)[];
      exports: ProcessorExports;
      byPage: RegionsByPage;
    },
    { host, mode, linear, several }: CodePlace,
  ) {
    this.several = several;
    const page = (host & ~(PAGE - 1)) >>> 0;
    this.mode = mode;
    this.hosts.set(0, page);
    this.linear = linear !== undefined && this.find(linear) === page ? linear : undefined;
  }

  get isThere(): boolean {
    return this.linear !== undefined;
  }
  /** Host address of the page at an offset. */
  hostOf(page: number): number {
    let host = this.hosts.get(page);
    if (host === undefined) {
      const { linear, several } = this;
      host = linear === undefined || !several || Math.abs(page) > FARTHEST ? 0 : this.find(linear + page);
      this.hosts.set(page, host);
    }
    return host;
  }
  private find(linear: number): number {
    const bits = (this.mode & MODE_SIZE) === 2 ? 64 : 32;
    return this.context.exports.hostPageOfCode(BigInt.asUintN(bits, BigInt(linear)), this.mode) >>> 0;
  }

  has(page: number): boolean {
    return this.hostOf(page) !== 0;
  }

  decode(offset: number): Instruction | undefined {
    const { context, mode } = this,
      page = pageOf(offset),
      at = offset - page;
    const decodeAt = (source: number, available: number): number =>
      context.exports.decodeRecord(TIER_RECORDS, source, available, at, mode);
    const decoded = decodeAt(this.hostOf(page) + at, PAGE - at) || this.decodeCrossing(page, at, decodeAt);
    if (decoded === 0) return undefined;
    const instruction = readRecord(context, TIER_RECORDS, context.rows, (decoded & ENDS_BLOCK) !== 0);
    instruction.offset += page;
    instruction.target += page;
    return instruction;
  }
  /** The instruction that goes on in the next page. */
  private decodeCrossing(page: number, at: number, decodeAt: (source: number, available: number) => number): number {
    const { bytes } = this.context,
      here = PAGE - at,
      next = here < LONGEST_INSTRUCTION ? this.hostOf(page + PAGE) : 0;
    if (next === 0) return 0;
    const both = TIER_RECORDS + RECORD_BYTES,
      first = this.hostOf(page) + at;
    bytes.copyWithin(both, first, first + here);
    bytes.copyWithin(both + here, next, next + LONGEST_INSTRUCTION - here);
    return decodeAt(both, LONGEST_INSTRUCTION);
  }

  executions(offset: number): number {
    const page = pageOf(offset);
    return this.context.exports.blockExecutions(this.hostOf(page) + offset - page, this.mode) >>> 0;
  }

  isCovered(offset: number): boolean {
    const page = pageOf(offset);
    return this.context.byPage.having(this.hostOf(page), offset - page, this.mode).length > 0;
  }

  pointer(register: number): number | undefined {
    const { linear } = this,
      { words } = this.context;
    if (linear === undefined) return undefined;
    const low = linear % 0x1_0000_0000,
      offset = words[(REGS + register) >>> 2]! - low,
      high = words[(REGS + register + 4) >>> 2]! - (linear - low) / 0x1_0000_0000;
    const distance = high * 0x1_0000_0000 + offset;
    return Math.abs(distance) > FARTHEST ? undefined : distance;
  }

  blocks(page: number): readonly number[] {
    const { words } = this.context,
      descriptor = words[(PAGE_BLOCKS >>> 2) + (this.hostOf(page) >>> 12)]!,
      offsets: number[] = [];
    if (descriptor === 0) return offsets;
    for (let link = words[(descriptor + D_BLOCKS) >>> 2]!; link !== 0; ) {
      const block = link & ~1,
        crossing = (link & 1) !== 0;
      if (!crossing && words[(block + B_VALID) >>> 2] === 1 && words[(block + B_MODE) >>> 2] === this.mode) {
        offsets.push(page + (words[(block + B_HOST) >>> 2]! & (PAGE - 1)));
      }
      link = words[(block + (crossing ? B_NEXT_IN_SECOND : B_NEXT_IN_PAGE)) >>> 2]!;
    }
    return offsets;
  }
}
