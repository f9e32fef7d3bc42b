/**
 * The debug mode of the second tier: runs each region and then interprets as many instructions in its place, and stops at the first difference.
 *
 * A region runs with every store told of (journalling.ts), its own as those of the processor's units that it calls, and the fault or exit that it ends in
 * is carried out. What it came to is kept, and all of it undone, TLB and decoded code included. Then the interpreter does the same, and what
 * it came to stays. Where the region found that it could not go on (a page fault, a device, code that it does not know) nothing of that instruction is
 * compared: it is the interpreter's in any case.
 */
import { fail } from '@visorkit/core';
import {
  E_COUNTER,
  LEFT_AGAIN,
  LEFT_CROSSED,
  LEFT_ELSEWHERE,
  LEFT_EXITED,
  LEFT_INTERPRET,
  LEFT_LOOK_UP,
  LEFT_REFUSED,
  MODE_SIZE,
} from '../code-layout.js';
import {
  BOUNCE,
  BUDGET,
  CODE_BASE,
  DEADLINE,
  EPT_CONTEXTS,
  HYPERVISOR,
  JUMP_GENERATION,
  MODE,
  REGS,
  RETIRED,
  TIER_ENTERED,
  TIER_HOPS,
} from '../layout.js';
import type { ProcessorExports } from '../module.js';
import { WebAssembly } from '../webassembly.js';
import type { WasmMemory } from '../webassembly.js';
import { COMPARED_FROM, COMPARED_TO, comparedWords } from './compared-state.js';
import { CALLED } from './called.js';
import { STORE_FUNCTIONS, tellStores } from './journalling.js';
import type { Journal } from './journalling.js';
import { I32, Op } from './opcodes.js';
import { Places } from './places.js';
import { pageOf } from './regions.js';
import type { Region } from './regions.js';
import { Code, ModuleWriter } from './wasm.js';
import type { ImportedFunction } from './wasm.js';
import {
  GROUP,
  difference,
  failByDifference,
  failByTrap,
  groupAt,
  placeName,
  stateDifferences,
} from './verify-report.js';
import type { Difference, Occasion, Subject } from './verify-report.js';

/** A region runs at most so many instructions at a time. */
const LONGEST = 10_000n;
/** Of `journalFrom`: no stores are told of. */
const NONE = -1;
const WASM_PAGE = 65536;
/** By MODE_SIZE. */
const BITS = [16, 32, 64] as const;
/** Where a region itself writes, from and to: registers and what else is the processor's, and its words for the second tier. Guest memory is higher. */
const OPEN_TO_REGIONS: readonly (readonly [from: number, to: number])[] = [
  [REGS, BOUNCE],
  [JUMP_GENERATION, EPT_CONTEXTS],
];

/** Imports of regions that carry out an instruction, or look for something in the guest's tables. */
const UNITS = ['runUnit', 'runQuickArithmetic', 'runQuickMove', 'runQuickCompare', 'runQuickString', 'confirmPages'];
type Imported = (...parameters: number[]) => number;

/** What one of the two came to. */
interface Outcome {
  flags: number;
  /** Instructions that were not retired after all: the last one made an exit. */
  left: number;
  /** 1: a VM exit is recorded. */
  exited: number;
}

export class Verifier {
  /** How often regions were compared, and over how many instructions. */
  readonly figures = { compared: 0, instructions: 0 };
  /** What a module of regions imports; the types of what it calls in the table otherwise come first, and so have the same numbers. */
  readonly imports: readonly ImportedFunction[] = [...CALLED, ...STORE_FUNCTIONS];
  /** The same, as functions. */
  readonly functions: Record<string, Imported>;
  /** Stands in the table in the place of every region. */
  readonly entry: () => number;
  private readonly words: Uint32Array;
  private readonly longs: BigUint64Array;
  private readonly bytes: Uint8Array;
  private readonly state: Uint32Array;
  private readonly journalFrom: { value: number };
  /** By the first record of the block that enters it. */
  private readonly regions = new Map<number, { run: () => number; subject: Subject }>();
  private readonly told = new Code();
  /** What was in the way of stores: the region's to the processor's own state and tables, and both ones' to what the guest and its VMM see. */
  private readonly own: Places;
  private readonly regionStores: Places;
  private readonly interpreterStores: Places;
  /** What the region has left at the latter places. */
  private readonly regionMemory: Places;
  private readonly before = new Uint32Array((COMPARED_TO - COMPARED_FROM) / 4);
  private readonly after = new Uint32Array((COMPARED_TO - COMPARED_FROM) / 4);
  private readonly compared = comparedWords();
  private busy = false;
  /** The region runs, and none of the processor's functions that it calls. */
  private inRegion = false;
  /** Stores of the region itself to where it may not write. */
  private strays = 0;

  constructor(
    memory: WasmMemory,
    private readonly exports: ProcessorExports,
    journal: Journal,
  ) {
    this.journalFrom =
      exports.journalFrom ??
      fail(
        'VERIFY_PROCESSOR',
        'Translated code can only be verified on a processor that tells of its stores: make the engine with Engine.create, or with what processorModule gives for `journals`.',
      );
    this.words = new Uint32Array(memory.buffer);
    this.longs = new BigUint64Array(memory.buffer);
    this.bytes = new Uint8Array(memory.buffer);
    this.state = this.words.subarray(COMPARED_FROM / 4, COMPARED_TO / 4);
    this.own = new Places(this.bytes);
    this.regionStores = new Places(this.bytes);
    this.interpreterStores = new Places(this.bytes);
    this.regionMemory = new Places(this.bytes);
    this.entry = functionOf(() => this.enter(), memory, exports);
    this.functions = Object.fromEntries(
      this.imports.map(({ name }) => [name, exports[name as keyof ProcessorExports] as Imported]),
    );
    // what the processor's units write is not the region's
    for (const name of UNITS) {
      const unit = this.functions[name]!;
      this.functions[name] = (record) => {
        this.inRegion = false;
        const status = unit(record!);
        this.inRegion = true;
        return status;
      };
    }
    journal.told = (signed, length) => {
      const address = signed >>> 0;
      if (address < HYPERVISOR) {
        if (
          this.inRegion &&
          !OPEN_TO_REGIONS.some(([from, to]) => address >= from && address < to) &&
          address !== this.counter()
        )
          this.strays++;
        this.own.note(address, length);
      } else if (this.journalFrom.value === 0) this.regionStores.note(address, length);
      else this.interpreterStores.note(address, length);
    };
  }

  // ---------------------------------------------------------------------------------------------- regions
  /** What is to be kept of a region whose pages lie at these host addresses. */
  subject(region: Region, hosts: readonly number[], code: Code): Subject {
    const byteAt = (offset: number): number => {
      const page = pageOf(offset);
      return this.bytes[hosts[region.pages.indexOf(page)]! + offset - page]!;
    };
    return {
      body: code.written().slice(),
      blocks: region.blocks.map(({ offset, end }) => ({
        offset,
        bytes: Uint8Array.from({ length: end - offset }, (_, n) => byteAt(offset + n)),
      })),
    };
  }
  /** The body of a function with its stores told of: in `told`, until the next one. How its branches go is left out. */
  telling(code: Uint8Array, told = this.told): Code {
    told.clear();
    const more = STORE_FUNCTIONS.length;
    tellStores(told, code, CALLED.length, {
      calls: (index) => index + CALLED.length + more,
      types: (type) => type + more,
      inTable: (place) => place,
    });
    return told;
  }
  /** From now on `run` is the region of the block whose first record is at `record`. */
  watch(record: number, run: () => number, subject: Subject): void {
    this.regions.set(record, { run, subject });
  }
  forget(record: number): void {
    this.regions.delete(record);
  }

  // ---------------------------------------------------------------------------------------------- both ways
  /** Runs the region of the block at TIER_ENTERED, and compares. Returns why it was left, as regions do. */
  private enter(): number {
    if (this.busy) return LEFT_REFUSED; // the interpreter is at work in the place of one
    const { words, longs } = this,
      budget = longs[BUDGET >>> 3]!,
      deadline = longs[DEADLINE >>> 3]!,
      began = deadline - budget;
    const { run, subject } = this.regions.get(words[TIER_ENTERED >>> 2]!)!,
      base = longs[CODE_BASE >>> 3]!;
    /** So that `done` instructions are retired, and `more` may be. */
    const allow = (done: bigint, more: bigint): void => {
      longs[BUDGET >>> 3] = more;
      longs[DEADLINE >>> 3] = began + done + more;
    };
    const occasion = (instructions: number): Occasion => ({
      subject,
      base,
      bits: BITS[words[MODE >>> 2]! & MODE_SIZE]!,
      instructions,
    });
    this.busy = true;
    try {
      this.before.set(this.state);
      const flagsBefore = this.exports.guestFlags();
      allow(0n, budget < LONGEST ? budget : LONGEST);
      words[TIER_HOPS >>> 2] = 1; // it does not go on to another by itself
      this.beginJournal();
      const given = longs[BUDGET >>> 3]!,
        why = this.inside(run, occasion(0)),
        count = given - longs[BUDGET >>> 3]!;
      if (why === LEFT_REFUSED || why === LEFT_ELSEWHERE || why === LEFT_AGAIN) {
        if (why !== LEFT_AGAIN) this.undo();
        allow(0n, budget);
        return why;
      }
      allow(count, 0n);
      const translated = this.outcome(this.exports.finishRegion(why));
      this.journalFrom.value = NONE;
      this.after.set(this.state);
      this.regionMemory.clear();
      this.regionMemory.noteAll(this.regionStores);
      const counter = this.counter() >>> 2,
        counted = words[counter]!;
      this.undo();
      words[counter] = counted;

      allow(0n, count);
      this.journalFrom.value = HYPERVISOR;
      const interpreted = this.outcome(this.exports.interpretRegion());
      this.journalFrom.value = NONE;
      const retired = count - BigInt(interpreted.left);
      this.figures.compared++;
      this.figures.instructions += Number(retired);
      if (this.differ(translated, interpreted)) {
        longs[RETIRED >>> 3] = began + retired;
        failByDifference(
          occasion(Number(count)),
          this.differences(flagsBefore, Number(count), translated, interpreted),
        );
      }
      allow(retired, budget - retired);
      if (interpreted.exited !== 0) return LEFT_EXITED;
      return why === LEFT_INTERPRET || why === LEFT_CROSSED ? why : LEFT_LOOK_UP;
    } finally {
      this.journalFrom.value = NONE;
      this.busy = false;
    }
  }

  /** Where the entries of the region that has been entered last are counted; a word that nobody reads, 0, if they are not. */
  private counter(): number {
    const { words } = this;
    return words[(words[TIER_ENTERED >>> 2]! + E_COUNTER) >>> 2]!;
  }

  /** The region itself. */
  private inside(run: () => number, occasion: Occasion): number {
    this.strays = 0;
    this.inRegion = true;
    try {
      return run();
    } catch (cause) {
      this.undo();
      return failByTrap(occasion, cause);
    } finally {
      this.inRegion = false;
    }
  }
  private beginJournal(): void {
    this.own.clear();
    this.regionStores.clear();
    this.interpreterStores.clear();
    this.journalFrom.value = 0;
  }
  /** Everything is as it was when the journal began. */
  private undo(): void {
    this.journalFrom.value = NONE;
    this.own.putBack();
    this.regionStores.putBack();
  }
  private outcome(exited: number): Outcome {
    return { exited, left: Number(this.longs[BUDGET >>> 3]), flags: this.exports.guestFlags() };
  }

  // ---------------------------------------------------------------------------------------------- comparison
  private differ(translated: Outcome, interpreted: Outcome): boolean {
    const { after, state, compared } = this;
    if (
      translated.flags !== interpreted.flags ||
      translated.left !== interpreted.left ||
      translated.exited !== interpreted.exited ||
      this.strays > 0
    )
      return true;
    for (let n = 0; n < compared.length; n++) if (after[compared[n]!] !== state[compared[n]!]) return true;
    return this.differingMemory().size > 0;
  }

  /** Addresses of the groups of bytes that are different. */
  private differingMemory(): Set<number> {
    const { regionStores, interpreterStores, regionMemory } = this,
      found = new Set<number>();
    const differs = (address: number): void => {
      found.add(address - (address % GROUP));
    };
    regionMemory.compare(differs);
    if (interpreterStores.sameAs(regionStores)) return found;
    // the interpreter may have written where the region has not
    this.inRegionsMemory((interpreterMemory) => interpreterMemory.compare(differs));
    return found;
  }
  /** Calls with the memory as the region has left it; handed over is what the interpreter has left where it has written. */
  private inRegionsMemory(look: (interpreterMemory: Places) => void): void {
    const interpreterMemory = new Places(this.bytes);
    interpreterMemory.noteAll(this.interpreterStores);
    this.interpreterStores.putBack();
    this.regionMemory.putBack();
    look(interpreterMemory);
    this.regionStores.putBack();
    interpreterMemory.putBack();
  }

  private differences(flagsBefore: number, count: number, translated: Outcome, interpreted: Outcome): Difference[] {
    return [
      ...stateDifferences(this.before, this.state, this.after),
      ...difference('RFLAGS', flagsBefore, interpreted.flags, translated.flags),
      ...difference('VM exit recorded', 0, interpreted.exited, translated.exited),
      ...difference('instructions retired', 0, count - interpreted.left, count - translated.left),
      ...difference('number of stores to memory that regions may not write', 0, 0, this.strays),
      ...this.memoryDifferences(),
    ];
  }
  private memoryDifferences(): Difference[] {
    const addresses = [...this.differingMemory()].sort((a, b) => a - b);
    const values = (): string[] => addresses.map((address) => groupAt(this.bytes, address));
    const interpreted = values();
    let translated: string[] = [];
    this.inRegionsMemory(() => (translated = values()));
    const interpreterMemory = new Places(this.bytes);
    interpreterMemory.noteAll(this.interpreterStores);
    this.interpreterStores.putBack();
    const before = values();
    interpreterMemory.putBack();
    return addresses.map((address, n) => ({
      what: placeName(address),
      before: before[n]!,
      interpreted: interpreted[n]!,
      translated: translated[n]!,
    }));
  }
}

/** A function that tables of WebAssembly take, since it comes out of a module. */
function functionOf(call: () => number, memory: WasmMemory, { table }: ProcessorExports): () => number {
  const writer = new ModuleWriter({
      imports: [{ name: 'call', parameters: [], results: [I32] }],
      locals: [],
      maximumPages: memory.buffer.byteLength / WASM_PAGE,
    }),
    code = new Code();
  writer.add(code.call(0).op(Op.end));
  const module = new WebAssembly.Module(writer.finish()),
    { exports } = new WebAssembly.Instance(module, { e: { m: memory, t: table, call } });
  return (exports as Record<string, () => number>)['0']!;
}
