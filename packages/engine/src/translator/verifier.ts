/**
 * The debug mode of the second tier: runs each region and then interprets as many instructions in its place, and stops at the first difference.
 *
 * A region runs with every store told of (journalling.ts), its own as those of the processor's units that it calls, and the fault or exit that it ends in
 * is carried out. What it came to is kept, and all of it undone, TLB and decoded code included. Then the interpreter does the same, and what
 * it came to stays. Where the region found that it could not go on (a page fault, a device, code that it does not know) nothing of that instruction is
 * compared: it is the interpreter's in any case.
 */
import { fail } from '@visorkit/core';
import type { GuestCode } from '@visorkit/core';
import { LEFT_ELSEWHERE, LEFT_EXITED, LEFT_INTERPRET, LEFT_LOOK_UP, LEFT_REFUSED, MODE_SIZE } from '../code-layout.js';
import {
  BUDGET,
  CODE_BASE,
  DEADLINE,
  GUEST_RAM,
  HYPERVISOR,
  MODE,
  RETIRED,
  TIER_ENTERED,
  TIER_HOPS,
} from '../layout.js';
import type { ProcessorExports } from '../module.js';
import { WebAssembly } from '../webassembly.js';
import type { WasmMemory } from '../webassembly.js';
import { COMPARED_FROM, COMPARED_TO, COMPARED_WORDS, partAt } from './compared-state.js';
import { IMPORTS } from './emit.js';
import { STORE_FUNCTIONS, tellStores } from './journalling.js';
import type { Journal } from './journalling.js';
import { I32, Op } from './opcodes.js';
import { Places } from './places.js';
import type { Region } from './regions.js';
import { Code, ModuleWriter } from './wasm.js';
import type { ImportedFunction } from './wasm.js';
import { textOf } from './wasm-text.js';

/** A region runs at most so many instructions at a time. */
const LONGEST = 10_000n;
/** Of `journalFrom`: no stores are told of. */
const NONE = -1;
const PAGE = 4096;
const WASM_PAGE = 65536;
/** Memory is told of in groups of so many bytes. */
const GROUP = 8;
const MOST_TOLD = 64;

/** One thing in which the two are different. Values are hexadecimal numbers. */
export interface Difference {
  /** A register or field of the state, `memory at 0x…` (guest-physical), `instructions retired`. */
  what: string;
  /** When the region was entered. */
  before: string;
  interpreted: string;
  translated: string;
}
/** Details of the error VERIFY_DIFFERENCE. */
export interface VerifyDetails extends Record<string, unknown> {
  /** Where the region begins. */
  rip: string;
  /** That the region ran. */
  instructions: number;
  /** At most 64. */
  differences: Difference[];
  /** The region's guest code by blocks, the one that it is entered at first. */
  guestCode: GuestCode[];
  /** The region in WebAssembly's text format, by lines. */
  wasm: string[];
}

/** What is kept of a region for the case that it does something wrong. */
export interface Subject {
  readonly body: Uint8Array;
  readonly blocks: readonly { readonly offset: number; readonly bytes: Uint8Array }[];
}

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
  /** What a module of regions imports. */
  readonly imports: readonly ImportedFunction[] = [...IMPORTS, ...STORE_FUNCTIONS];
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
  private busy = false;

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
    journal.told = (signed, length) => {
      const address = signed >>> 0;
      if (address < HYPERVISOR) this.own.note(address, length);
      else if (this.journalFrom.value === 0) this.regionStores.note(address, length);
      else this.interpreterStores.note(address, length);
    };
  }

  // ---------------------------------------------------------------------------------------------- regions
  /** What is to be kept of a region of the page at host address `page`. */
  subject(region: Region, page: number, code: Code): Subject {
    return {
      body: code.written().slice(),
      blocks: region.blocks.map(({ offset, end }) => ({
        offset,
        bytes: this.bytes.slice(page + offset, page + Math.min(end, PAGE)),
      })),
    };
  }
  /** The region with its stores told of, until the next one. */
  telling(code: Code): Code {
    this.told.clear();
    tellStores(this.told, code.written(), IMPORTS.length, { types: (type) => type + STORE_FUNCTIONS.length });
    return this.told;
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
    this.busy = true;
    try {
      this.before.set(this.state);
      const flagsBefore = this.exports.guestFlags();
      allow(0n, budget < LONGEST ? budget : LONGEST);
      words[TIER_HOPS >>> 2] = 1; // it does not go on to another by itself
      this.beginJournal();
      const given = longs[BUDGET >>> 3]!,
        why = run(),
        count = given - longs[BUDGET >>> 3]!;
      if (why === LEFT_REFUSED || why === LEFT_ELSEWHERE) {
        this.undo();
        allow(0n, budget);
        return why;
      }
      allow(count, 0n);
      const translated = this.outcome(this.exports.finishRegion(why));
      this.journalFrom.value = NONE;
      this.after.set(this.state);
      this.regionMemory.clear();
      this.regionMemory.noteAll(this.regionStores);
      this.undo();

      allow(0n, count);
      this.journalFrom.value = HYPERVISOR;
      const interpreted = this.outcome(this.exports.interpretRegion());
      this.journalFrom.value = NONE;
      const retired = count - BigInt(interpreted.left);
      this.figures.compared++;
      this.figures.instructions += Number(retired);
      if (this.differ(translated, interpreted)) {
        longs[RETIRED >>> 3] = began + retired;
        this.stop(subject, base, Number(count), flagsBefore, translated, interpreted);
      }
      allow(retired, budget - retired);
      if (interpreted.exited !== 0) return LEFT_EXITED;
      return why === LEFT_INTERPRET ? LEFT_INTERPRET : LEFT_LOOK_UP;
    } finally {
      this.journalFrom.value = NONE;
      this.busy = false;
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
    const { after, state } = this;
    if (
      translated.flags !== interpreted.flags ||
      translated.left !== interpreted.left ||
      translated.exited !== interpreted.exited
    )
      return true;
    for (let n = 0; n < COMPARED_WORDS.length; n++)
      if (after[COMPARED_WORDS[n]!] !== state[COMPARED_WORDS[n]!]) return true;
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

  // ---------------------------------------------------------------------------------------------- the report
  /** Ends the run with everything that can be said of the region. */
  private stop(
    subject: Subject,
    base: bigint,
    instructions: number,
    flagsBefore: number,
    translated: Outcome,
    interpreted: Outcome,
  ): never {
    const { words } = this,
      size = words[MODE >>> 2]! & MODE_SIZE,
      bits = ([16, 32, 64] as const)[size]!;
    const rip = (offset: number): string => hex(BigInt.asUintN(bits === 64 ? 64 : 32, base + BigInt(offset)));
    const differences = [
      ...this.stateDifferences(),
      ...difference('RFLAGS', flagsBefore, interpreted.flags, translated.flags),
      ...difference('VM exit recorded', 0, interpreted.exited, translated.exited),
      ...difference('instructions retired', 0, instructions - interpreted.left, instructions - translated.left),
      ...this.memoryDifferences(),
    ];
    const details: VerifyDetails = {
      rip: rip(subject.blocks[0]!.offset),
      instructions,
      differences: differences.slice(0, MOST_TOLD),
      guestCode: subject.blocks.map(({ offset, bytes }) => ({
        rip: rip(offset),
        bits,
        bytes: Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(''),
      })),
      wasm: textOf(subject.body),
    };
    const [first] = differences,
      others = differences.length - 1;
    return fail(
      'VERIFY_DIFFERENCE',
      `Translated code is not what the interpreter does: after ${instructions} instructions of the region at RIP ${details.rip} ${first!.what} is ${first!.translated} and should be ${first!.interpreted}${others === 0 ? '' : `, and ${others} more ${others === 1 ? 'thing is' : 'things are'} different`}. Please report it with the run's report (--report); --translate off does without translated code.`,
      details,
    );
  }

  private stateDifferences(): Difference[] {
    const { before, after, state } = this,
      found = new Map<string, Difference>();
    for (const n of COMPARED_WORDS) {
      if (after[n] === state[n]) continue;
      const { name, at, bytes } = partAt(COMPARED_FROM + n * 4),
        index = (at - COMPARED_FROM) / 4;
      const value = (of: Uint32Array): string => hex(number(of.subarray(index, index + bytes / 4), 32));
      found.set(name, { what: name, before: value(before), interpreted: value(state), translated: value(after) });
    }
    return [...found.values()];
  }

  private memoryDifferences(): Difference[] {
    const addresses = [...this.differingMemory()].sort((a, b) => a - b);
    const values = (): string[] =>
      addresses.map((address) => hex(number(this.bytes.subarray(address, address + GROUP), 8)));
    const interpreted = values();
    let translated: string[] = [];
    this.inRegionsMemory(() => (translated = values()));
    const interpreterMemory = new Places(this.bytes);
    interpreterMemory.noteAll(this.interpreterStores);
    this.interpreterStores.putBack();
    const before = values();
    interpreterMemory.putBack();
    return addresses.map((address, n) => ({
      what:
        address < GUEST_RAM
          ? `the VMM's memory at ${hex(BigInt(address))}`
          : `memory at ${hex(BigInt(address - GUEST_RAM))}`,
      before: before[n]!,
      interpreted: interpreted[n]!,
      translated: translated[n]!,
    }));
  }
}

function difference(what: string, before: number, interpreted: number, translated: number): Difference[] {
  const text = (value: number): string => hex(BigInt(value >>> 0));
  return interpreted === translated
    ? []
    : [{ what, before: text(before), interpreted: text(interpreted), translated: text(translated) }];
}
function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}
/** Of parts of so many bits, the lowest first. */
function number(parts: ArrayLike<number>, bits: number): bigint {
  let value = 0n;
  for (let n = parts.length - 1; n >= 0; n--) value = (value << BigInt(bits)) | BigInt(parts[n]!);
  return value;
}

/** A function that tables of WebAssembly take, since it comes out of a module. */
function functionOf(call: () => number, memory: WasmMemory, { table }: ProcessorExports): () => number {
  const writer = new ModuleWriter(
      [{ name: 'call', parameters: [], results: [I32] }],
      [],
      memory.buffer.byteLength / WASM_PAGE,
    ),
    code = new Code();
  writer.add(code.call(0).op(Op.end));
  const module = new WebAssembly.Module(writer.finish()),
    { exports } = new WebAssembly.Instance(module, { e: { m: memory, t: table, call } });
  return (exports as Record<string, () => number>)['0']!;
}
