/**
 * The second tier: blocks that the interpreter has run often enough are translated to WebAssembly, several regions to a module, and their
 * functions put into the processor's table, where the blocks' first records find them (assembly/run.ts).
 */
import { host as platform } from '@visorkit/core';
import { BLOCK_HEADER, B_HOST, B_MODE, B_VALID, R_HANDLER, R_LEFT } from '../code-layout.js';
import {
  ARENA_GENERATION,
  PAGES_DROPPED,
  REGION_CACHE,
  REGION_CACHE_ENTRIES,
  TIER_QUEUE,
  TIER_QUEUED,
  TIER_RECORDS,
  TIER_RETIRED,
} from '../layout.js';
import type { ProcessorExports } from '../module.js';
import { WebAssembly } from '../webassembly.js';
import type { WasmMemory, WasmModule } from '../webassembly.js';
import { emitRegion, translatable } from './emit.js';
import { EntryRecords } from './entry-records.js';
import { findNext } from './entry.js';
import { CALLED } from './called.js';
import { describe } from './instructions.js';
import type { Instruction, Row } from './instructions.js';
import type { Journal } from './journalling.js';
import { copiesOf } from './kept-regions.js';
import type { KeptRegion, KeptRegions } from './kept-regions.js';
import { LOCALS, LOCALS_WITHOUT_VECTORS } from './locals.js';
import { handlerNames } from './module-sections.js';
import { thresholdOf } from './options.js';
import type { TranslatorFigures, TranslatorOptions } from './options.js';
import { PlacedCode } from './placed-code.js';
import { RegionsByPage } from './regions-by-page.js';
import type { CodePlace } from './placed-code.js';
import type { CoveredPage, LostRegion, PlacedRegion } from './placed-region.js';
import { findRegion, isShort } from './regions.js';
import type { Region } from './regions.js';
import { codeMode } from './segments.js';
import { RegionTables } from './tables.js';
import type { TableShare } from './tables.js';
import { counterSlots, listSlots, recordSlots, writeList } from './tier-memory.js';
import { Verifier } from './verifier.js';
import { failByModule } from './verify-report.js';
import type { Subject } from './verify-report.js';
import { Code, ModuleWriter } from './wasm.js';
import type { Setting } from './writer.js';

/** A region that is entered this many times for each that the threshold asks is made again, with code of other pages. */
const AGAIN_PER_THRESHOLD = 40;
/** In a {@link Setting}: the table is read at entry. */
const ANY_TABLE = 0;
/** Where the state block lies: all that have regions have a memory of their own. */
const STATE = 0;
const MOST_REGIONS = 8192;
/** A block that was entered this many times for each that the threshold asks is worth being taken into a region. */
const SHARE_OF_THRESHOLD = 64;
const MOST_LOST = 1 << 14;
const PAGE = 4096;
const WASM_PAGE = 65536;

/** A function in the table, and the code it was made of. */
interface Placed extends PlacedRegion {
  index: number;
  share: TableShare;
  /** Where its entries are counted, and where the list of its pages lies; 0: they are not, and it has one page. */
  counter: number;
  list: number;
  /** Copies of records that it has. */
  records: number[];
  /** What the verifier keeps of it, if there is one. */
  subject: Subject | undefined;
}
/** One that is in a module which has not been compiled yet. */
type Made = Omit<Placed, 'index' | 'share'>;

/** A block that wants a region. */
interface Candidate extends Pick<PlacedRegion, 'record' | 'host' | 'mode' | 'tlb'> {
  /** Linear address of its page when it became one. */
  readonly linear: number;
  /** How often its region has been entered, if it has one, and whether it is to be made again for that. */
  readonly entered: number;
  readonly again: boolean;
}

interface FoundRegion {
  readonly region: Region;
  readonly hosts: readonly [number, ...number[]];
}

export class Translator {
  readonly figures: TranslatorFigures = {
    regions: 0,
    kept: 0,
    refused: 0,
    evicted: 0,
    failed: 0,
    instructions: 0,
    modules: 0,
    bytes: 0,
    emitting: 0,
    compiling: 0,
  };
  private readonly rows: readonly (Row | undefined)[];
  /** Number of the handler that stands for the vector unit. */
  private readonly vectorUnit: number;
  private readonly words: Uint32Array;
  private readonly bytes: Uint8Array;
  private readonly imports: Record<string, unknown> = {};
  private readonly least: number;
  private readonly entries: EntryRecords;
  private readonly buffers = { body: new Code(), whole: new Code(), vectors: false };
  private readonly writer: ModuleWriter;
  /** By the record that enters them, the oldest first. */
  private readonly placed = new Map<number, Placed>();
  /** Those of them with code in a page, by its host address. */
  readonly byPage = new RegionsByPage();
  private readonly tables: RegionTables;
  /** Of the processor's decoded code, when it was last looked at. */
  private generation: number;
  private dropped: number;
  private readonly counterSlots = counterSlots();
  private readonly recordSlots = recordSlots();
  private readonly listSlots = listSlots();
  /** Copies made for the region at hand, by the offsets of their instructions. */
  private copies = new Map<number, number>();
  /** Of the debug mode that runs regions beside the interpreter. */
  readonly verifier: Verifier | undefined;
  /** What became of regions that were lost last, by the host address of their entries: for profiles. */
  readonly lost = new Map<number, LostRegion>();

  /**
   * `module` is the processor's, with its exports; `memory` must be one that does not grow. To be made before the first code is translated. In `kept` are regions of
   * earlier runs, and those of this one are put there.
   */
  constructor(
    module: WasmModule,
    memory: WasmMemory,
    private readonly exports: ProcessorExports,
    private readonly options: TranslatorOptions = {},
    journal?: Journal,
    private readonly kept?: KeptRegions,
  ) {
    const { verify = false } = options,
      threshold = thresholdOf(options);
    const names = handlerNames(module);
    this.rows = names.map(describe);
    this.vectorUnit = names.indexOf('SIMD');
    this.words = new Uint32Array(memory.buffer);
    this.bytes = new Uint8Array(memory.buffer);
    this.least = Math.max(1, Math.floor(threshold / SHARE_OF_THRESHOLD));
    this.entries = new EntryRecords(this.words, threshold * AGAIN_PER_THRESHOLD);
    this.imports['m'] = memory;
    const called = CALLED.map(
      ({ name }) => exports[name as keyof ProcessorExports] as (...parameters: never[]) => unknown,
    );
    this.tables = new RegionTables(exports.table, called);
    this.verifier = verify && journal !== undefined ? new Verifier(memory, exports, journal) : undefined;
    Object.assign(this.imports, this.verifier?.functions);
    const pages = memory.buffer.byteLength / WASM_PAGE,
      next = findNext(STATE),
      own =
        this.verifier === undefined ? next : { ...next, code: this.verifier.telling(next.code.written(), new Code()) };
    this.writer = new ModuleWriter({
      ...(this.verifier === undefined ? { types: CALLED } : { imports: this.verifier.imports }),
      locals: LOCALS,
      fewLocals: LOCALS_WITHOUT_VECTORS,
      maximumPages: pages,
      own,
    });
    this.generation = this.words[ARENA_GENERATION >>> 2]!;
    this.dropped = this.words[PAGES_DROPPED >>> 2]!;
  }

  /** Instructions retired in translated code. */
  get retired(): number {
    return this.words[TIER_RETIRED >>> 2]! + this.words[(TIER_RETIRED >>> 2) + 1]! * 0x1_0000_0000;
  }

  /** Translates the blocks in the queue. */
  translateQueued(): void {
    const started = platform.now();
    this.makeRoom();
    this.translateFrom(started);
    // functions may have gone, and others taken their numbers
    this.words.fill(0, REGION_CACHE >>> 2, (REGION_CACHE >>> 2) + REGION_CACHE_ENTRIES * 4);
  }
  private makeRoom(): void {
    this.dropStale();
    if (this.placed.size > (this.options.most ?? MOST_REGIONS))
      this.evict([...this.placed.values()].slice(0, this.placed.size >>> 1));
    const { crowding } = this.tables;
    if (crowding !== undefined) this.evict([...this.placed.values()].filter(({ share }) => share === crowding));
  }
  private translateFrom(started: number): void {
    const { words, figures, writer, verifier } = this,
      count = words[TIER_QUEUED >>> 2]!;
    const done: Made[] = [];
    const covered = new Set<string>();
    words[TIER_QUEUED >>> 2] = 0;
    for (let n = 0; n < count; n++) {
      const candidate = this.candidateAt((TIER_QUEUE >>> 2) + n * 4);
      if (candidate === undefined) continue;
      const { record, host, mode, again } = candidate;
      if (covered.has(`${host} ${mode}`)) {
        // it is entered through another region of this batch; if that was wrong it will ask again
        if (again) this.entries.askLater(record);
        else this.entries.countAgain(record);
        continue;
      }
      const made = this.make(candidate, covered);
      if (made !== undefined) done.push(made);
    }
    const emitted = platform.now();
    figures.emitting += emitted - started;
    if (done.length === 0) return;
    const bytes = writer.finish();
    figures.modules++;
    figures.bytes += bytes.length;
    const share = this.tables.forModule(),
      functions = this.compile(bytes, share, done);
    if (functions === undefined) {
      for (const made of done) this.giveBack(made);
      return;
    }
    done.forEach((made, n) => {
      const region = { share, ...made };
      const before = this.placed.get(region.record);
      if (before !== undefined) this.release(before);
      if (region.subject !== undefined) verifier!.watch(region.record, functions[n]!, region.subject);
      const index = this.tables.add(share, verifier?.entry ?? functions[n]!);
      this.entries.enter(region.record, index, region.counter);
      const placed = { index, ...region };
      this.placed.set(region.record, placed);
      this.byPage.add(placed);
    });
    figures.compiling += platform.now() - emitted;
  }

  /** A candidate in the queue, of which `entry` is the first word. Undefined: its code is gone. */
  private candidateAt(entry: number): Candidate | undefined {
    const { words, entries } = this,
      record = words[entry]!,
      header = record - BLOCK_HEADER;
    entries.silence(record);
    if (words[(header + B_VALID) >>> 2] !== 1) return undefined;
    const entered = entries.entriesOf(record);
    return {
      record,
      host: words[(header + B_HOST) >>> 2]!,
      mode: words[(header + B_MODE) >>> 2]!,
      tlb: words[entry + 1]!,
      linear: words[entry + 2]! + words[entry + 3]! * 0x1_0000_0000,
      entered,
      again: entered >= entries.most,
    };
  }

  /** Adds a candidate's region to the module: that of an earlier run, or a new one, whose instructions are `covered` then. Undefined: it has none, now or for good. */
  private make(candidate: Candidate, covered: Set<string>): Made | undefined {
    const { record, host, mode, tlb, linear, entered, again } = candidate,
      { entries } = this;
    const list = again ? this.listSlots.take() : 0,
      code = this.codeOf({ host, mode, linear, several: list !== 0 });
    if (again && !code.isThere) {
      // in another address space nothing is known of the pages around it
      this.listSlots.giveBack([list]);
      entries.askLater(record);
      return undefined;
    }
    this.copies = new Map();
    const counter = this.counterSlots.take(),
      before = this.placed.get(record),
      setting = this.settingOf(mode, before === undefined || before.tlb === tlb ? tlb : ANY_TABLE, {
        spans: !entries.isCrossed(record),
        record,
        counts: again || counter === 0 ? undefined : { counter, most: entries.most },
      });
    if (counter !== 0) this.words[counter >>> 2] = entered;
    const own = { record, host, mode, counter },
      kept = setting.counts === undefined ? undefined : this.kept?.find(host, mode, setting),
      made = kept === undefined ? undefined : this.placeKept(kept, code, own);
    if (made !== undefined) return made;
    if (kept === undefined && this.kept !== undefined && before === undefined && entries.isEarly(record)) {
      // an earlier run had a region for a block like it, but not for this one
      this.counterSlots.giveBack([counter]);
      entries.waitLonger(record);
      return undefined;
    }
    const found = this.regionOf(code, host, setting);
    if (found === undefined) {
      this.figures.refused++;
      this.giveBack({ records: this.records, list, counter });
      return undefined;
    }
    for (const block of found.region.blocks) {
      for (const { offset } of block.instructions)
        if (offset >= 0 && offset < PAGE) covered.add(`${found.hosts[0] + offset} ${mode}`);
    }
    return this.placeNew(found, setting, { ...own, list });
  }

  private placeNew(
    { region, hosts }: FoundRegion,
    setting: Setting,
    own: Pick<Made, 'record' | 'host' | 'mode' | 'counter' | 'list'>,
  ): Made {
    const { figures, verifier, buffers, kept } = this,
      { list } = own,
      { instructions } = region;
    const pages = this.cover(region, hosts),
      code = emitRegion(region, setting, list, buffers),
      subject = verifier?.subject(region, hosts, code),
      { vectors } = buffers;
    this.writer.add(verifier?.telling(code.written()) ?? code, !vectors);
    figures.regions++;
    figures.instructions += instructions;
    const several = pages.length > 1;
    if (several) writeList(this.words, list, region.pages, pages);
    else {
      this.listSlots.giveBack([list]);
      const { host, mode } = own,
        { tlb, spans } = setting,
        { extents } = pages[0]!;
      if (setting.counts !== undefined)
        kept?.add({ mode, tlb, spans, instructions, vectors, extents }, host, code, { ...own, copies: this.copies });
    }
    return { ...own, tlb: setting.tlb, pages, list: several ? list : 0, records: this.records, subject };
  }

  /** Undefined: there is no room for the copies of records that it wants. */
  private placeKept(
    region: KeptRegion,
    code: PlacedCode,
    own: Pick<Made, 'record' | 'host' | 'mode' | 'counter'>,
  ): Made | undefined {
    const { record, host, counter } = own;
    for (const offset of copiesOf(region)) {
      const instruction = code.decode(offset);
      if (instruction !== undefined && this.place(instruction) !== 0) continue;
      this.recordSlots.giveBack(this.records);
      this.copies.clear();
      return undefined;
    }
    this.writer.add(this.kept!.codeFor(region, host, { record, counter, copies: this.copies }), !region.vectors);
    this.figures.regions++;
    this.figures.kept++;
    const pages = [this.coverPage((host & ~(PAGE - 1)) >>> 0, region.extents)];
    return { ...own, tlb: region.tlb, pages, list: 0, records: this.records, subject: undefined };
  }

  /** The functions of a module; undefined where the host has no room for it, or not for so large a one on this thread. */
  private compile(
    bytes: Uint8Array<ArrayBuffer>,
    { table }: TableShare,
    regions: readonly Pick<Placed, 'subject'>[],
  ): Record<string, () => number> | undefined {
    try {
      const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes), { e: { ...this.imports, t: table } });
      return instance.exports as Record<string, () => number>;
    } catch (error) {
      if (this.verifier !== undefined)
        failByModule(
          regions.map(({ subject }) => subject!),
          error,
        );
      this.figures.failed++;
      return undefined;
    }
  }

  /** Gives up these regions: their blocks are interpreted, and counted again. */
  private evict(regions: readonly Placed[]): void {
    for (const region of regions) {
      this.release(region);
      this.entries.withdraw(region.record);
      this.lose(region, 'evicted');
      this.figures.evicted++;
    }
  }

  /** Functions of code that is gone are not entered any more: their places are free. */
  private dropStale(): void {
    const { words, exports } = this,
      generation = words[ARENA_GENERATION >>> 2]!,
      dropped = words[PAGES_DROPPED >>> 2]!,
      emptied = generation !== this.generation;
    if (!emptied && dropped === this.dropped) return;
    this.generation = generation;
    this.dropped = dropped;
    for (const region of this.placed.values()) {
      if (!emptied && this.isCurrent(region)) continue;
      this.release(region);
      // where only code in another page is gone, the block is still there; what is written once may be written often, so it begins with its own page again
      if (!emptied && exports.codeIsCurrent(region.pages[0]!.host, region.pages[0]!.serial) !== 0)
        this.entries.withdraw(region.record);
      this.lose(region, emptied ? 'emptied' : 'written');
    }
  }
  private isCurrent({ pages }: PlacedRegion): boolean {
    for (const { host, serial } of pages) if (this.exports.codeIsCurrent(host, serial) === 0) return false;
    return true;
  }

  private lose({ host }: PlacedRegion, why: LostRegion): void {
    if (this.lost.size >= MOST_LOST) this.lost.clear();
    this.lost.set(host, why);
  }

  /** The instruction at a host address, and whether it can be part of a region; undefined where it goes on in the next page. */
  inspect(host: number, mode: number): { readonly length: number; readonly can: boolean } | undefined {
    const setting = this.settingOf(mode, ANY_TABLE),
      instruction = this.codeOf({ host, mode, linear: undefined, several: false }).decode(host & (PAGE - 1));
    if (instruction === undefined) return undefined;
    const can = translatable({ ...setting, place: () => TIER_RECORDS });
    return { length: instruction.length, can: instruction.row !== undefined && can(instruction) };
  }

  private release(region: Placed): void {
    const { index, share, record } = region;
    this.placed.delete(record);
    this.byPage.remove(region);
    this.verifier?.forget(record);
    this.tables.remove(share, index);
    this.giveBack(region);
  }
  private giveBack({ records, list, counter }: Pick<Placed, 'records' | 'list' | 'counter'>): void {
    this.recordSlots.giveBack(records);
    this.listSlots.giveBack([list]);
    this.counterSlots.giveBack([counter]);
  }
  /** How code of this mode is translated for accesses through a TLB table. */
  private settingOf(
    mode: number,
    tlb: number,
    how: Pick<Setting, 'spans' | 'record' | 'counts'> = { spans: true, record: 0, counts: undefined },
  ): Setting {
    return {
      state: STATE,
      tlb,
      ...codeMode(mode),
      ...how,
      place: (i) => this.place(i),
    };
  }

  /** Copies an instruction's record to where it stays; 0: there is no room. */
  private place({ words, row, offset }: Instruction): number {
    if (words === undefined) return 0;
    const address = this.recordSlots.take();
    if (address === 0) return 0;
    this.words.set(words, address >>> 2);
    this.bytes[address + R_LEFT] = 1;
    // a vector instruction with a handler of its own is the unit's too
    if (row?.kind === 'vector' || row?.kind === 'scalar') {
      this.bytes[address + R_HANDLER] = this.vectorUnit & 0xff;
      this.bytes[address + R_HANDLER + 1] = this.vectorUnit >>> 8;
    }
    this.copies.set(offset, address);
    return address;
  }
  /** Copies that the region at hand has. */
  private get records(): number[] {
    return [...this.copies.values()];
  }

  /** The region that is entered at a host address, and the host addresses of its pages. */
  private regionOf(code: PlacedCode, entry: number, setting: Setting): FoundRegion | undefined {
    const region = findRegion(code, entry & (PAGE - 1), this.least, translatable(setting));
    if (region === undefined || (this.least > 1 && isShort(region))) return undefined;
    return { region, hosts: region.pages.map((page) => code.hostOf(page)) as [number, ...number[]] };
  }
  private codeOf(place: CodePlace): PlacedCode {
    const { words, bytes, rows, exports } = this;
    return new PlacedCode({ words, bytes, rows, exports, byPage: this.byPage }, place);
  }
  /** Writes to the region's code are seen from now on. */
  private cover({ blocks, pages }: Region, hosts: readonly number[]): CoveredPage[] {
    return hosts.map((host, n) => {
      const first = pages[n]!,
        extents: number[] = [];
      for (const { offset, end } of blocks) {
        const from = Math.max(offset - first, 0),
          to = Math.min(end - first, PAGE);
        if (from < to) extents.push(from, to);
      }
      return this.coverPage(host, Uint16Array.from(extents));
    });
  }
  private coverPage(host: number, extents: Uint16Array): CoveredPage {
    let serial = 0;
    for (let n = 0; n < extents.length; n += 2)
      serial = this.exports.coverCode(host + extents[n]!, extents[n + 1]! - extents[n]!);
    return { host, serial, extents };
  }
}
