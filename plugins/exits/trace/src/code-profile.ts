/**
 * A profile of what a guest runs: samples by piece of code, with names where the guest's kernel or the image has them, and whether the backend runs them
 * translated, else why not.
 */
import { DisassemblerToken, Stage, definePlugin, isVisorkitError, optional, token } from '@visorkit/core';
import type { Disassembler, Plugin, StopReport, Token, Vcpu } from '@visorkit/core';
import { CodeSamplerToken } from '@visorkit/machine';
import type { CodeSample, CodeSampler } from '@visorkit/machine';
import { CodeNames, LiveMemory } from '@visorkit/vmi';
import type { GuestKernel, SymbolTable, Vmi } from '@visorkit/vmi';
import { NestedVmxToken } from './nested.js';
import type { NestedVmxEvents } from './nested.js';

const VmiToken: Token<Vmi> = token('vmi', '@visorkit/vmi');

export interface CodeProfileOptions {
  /** Instructions from one sample to the next, at least 1000; 300,007 unless given. The nearer, the more code is decoded twice, from the samples on. */
  readonly every?: number;
  /** Names of code in an image that no OS profile knows. */
  readonly symbols?: SymbolTable;
}

/** A piece of code: a region that runs translated, or a block that is interpreted. */
export interface ProfiledCode {
  readonly samples: number;
  /** Where it begins, by symbol where that is known. */
  readonly place: string;
  /** Linear address of its beginning. */
  readonly address: bigint;
  /** `kernel`, a process, `user` where nobody knows which, or `nested` for a guest of the guest. */
  readonly of: string;
  /** `translated`, or why not. */
  readonly state: string;
  /** Executions that the interpreter has counted when the last sample was taken. */
  readonly executions: number;
}

/** Samples of code that is not translated, by the reason. */
export interface ProfiledReason {
  readonly samples: number;
  readonly reason: string;
}

export interface CodeProfileResult {
  readonly every: number;
  readonly samples: number;
  /** Of them, in code that runs translated. */
  readonly translated: number;
  /** Retired instructions. */
  readonly instructions: number;
  /** What the backend says of its work, by the names that the report of a run has. */
  readonly statistics: Readonly<Record<string, number>>;
  /** The hottest first. */
  readonly code: readonly ProfiledCode[];
  readonly reasons: readonly ProfiledReason[];
}

/** The profile of a VM: what it has come to, as of the last time that the VM paused. */
export interface CodeProfile {
  readonly result: CodeProfileResult | undefined;
}
export const CodeProfileToken: Token<CodeProfile> = token('code-profile', '@visorkit/trace');

const USUAL_DISTANCE = 300_007;

/** Takes a profile of a VM. Throws `CODE_SAMPLES` for a distance that is not right. */
export function codeProfile(options: CodeProfileOptions = {}): Plugin {
  const profiler = new Profiler(options);
  return definePlugin({
    name: 'code-profile',
    capabilities: ['code-samples'],
    uses: {
      sampler: CodeSamplerToken,
      disassembler: optional(DisassemblerToken),
      vmi: optional(VmiToken),
      nested: optional(NestedVmxToken),
    },
    provides: [{ token: CodeProfileToken, make: () => profiler }],
    apply({ hooks, onDispose }, used) {
      onDispose(used.sampler.start(profiler.every, (sample, vcpu) => profiler.take(sample, vcpu, used)));
      // The kernel that names things is read while it is there
      hooks.paused.tap({ stage: Stage.Observe }, (report) => profiler.summarise(report, used));
    },
  });
}

interface Services {
  readonly sampler: CodeSampler;
  readonly disassembler: Disassembler | undefined;
  readonly vmi: Vmi | undefined;
  readonly nested: NestedVmxEvents | undefined;
}

interface Piece {
  samples: number;
  readonly first: CodeSample;
  readonly of: string;
  executions: number;
}

const KERNEL = 'kernel';
const USER = 'user';
const NESTED = 'nested';

class Profiler implements CodeProfile {
  result: CodeProfileResult | undefined;
  readonly every: number;
  readonly #symbols: SymbolTable | undefined;
  readonly #pieces = new Map<string, Piece>();
  readonly #processes = new ProcessNames();
  #samples = 0;

  constructor({ every = USUAL_DISTANCE, symbols }: CodeProfileOptions) {
    this.every = every;
    this.#symbols = symbols;
  }

  take(sample: CodeSample, vcpu: Vcpu, { vmi, nested }: Services): void {
    this.#samples++;
    const of =
      nested?.inGuest(vcpu) === true
        ? NESTED
        : vcpu.cpl !== 3
          ? KERNEL
          : this.#processes.nameOf(vcpu, vmi, this.#samples);
    const where = sample.host === 0 ? sample.start : sample.host,
      key = `${where} ${sample.bits} ${sample.why} ${of}`;
    const piece = this.#pieces.get(key);
    if (piece === undefined) {
      this.#pieces.set(key, { samples: 1, first: sample, of, executions: sample.executions });
      return;
    }
    piece.samples++;
    piece.executions = sample.executions;
  }

  summarise({ guestInstructions, statistics = {} }: StopReport, { sampler, disassembler, vmi }: Services): void {
    const names = new PlaceNames(kernelOf(vmi), this.#symbols);
    const pieces = [...this.#pieces.values()].sort((a, b) => b.samples - a.samples);
    const reasons = new Map<string, number>();
    let translated = 0;
    const code = pieces.map(({ samples, first, of, executions }): ProfiledCode => {
      const state = stateOf(first, sampler, disassembler);
      if (first.why === undefined) translated += samples;
      else reasons.set(state, (reasons.get(state) ?? 0) + samples);
      return { samples, place: names.nameOf(first, of), address: first.start, of, state, executions };
    });
    this.result = {
      every: this.every,
      samples: this.#samples,
      translated,
      instructions: guestInstructions,
      statistics,
      code,
      reasons: [...reasons].map(([reason, samples]) => ({ samples, reason })).sort((a, b) => b.samples - a.samples),
    };
  }
}

/** `translated`, or the reason with the instruction to blame. */
function stateOf(
  { why, blamed, bits }: CodeSample,
  sampler: CodeSampler,
  disassembler: Disassembler | undefined,
): string {
  if (why === undefined) return 'translated';
  const reason = sampler.reasons[why] ?? why;
  if (blamed === undefined) return reason;
  // behind the address and the bytes
  const [line] = disassembler?.disassemble(blamed.bytes, blamed.address, bits, 1) ?? [];
  const text = /^\S+ +\S+ +(.*)$/.exec(line ?? '')?.[1];
  return text === undefined ? reason : `${reason}: ${text}`;
}

function kernelOf(vmi: Vmi | undefined): GuestKernel | undefined {
  try {
    const kernel = vmi?.find();
    return kernel?.symbols === undefined ? undefined : kernel;
  } catch (error) {
    if (!isVisorkitError(error)) throw error;
    return undefined; // one that cannot be read
  }
}

const UPPER_HALF = 1n << 63n;
/** A symbol that is farther away has nothing to do with the code. */
const FARTHEST = 1n << 20n;

/** Names of places in code: the kernel's, else the image's. */
class PlaceNames {
  readonly #kernel: CodeNames | undefined;

  constructor(
    kernel: GuestKernel | undefined,
    private readonly image: SymbolTable | undefined,
  ) {
    this.#kernel = kernel === undefined ? undefined : new CodeNames(kernel);
  }

  nameOf({ start, bits }: CodeSample, of: string): string {
    // What ran there before the kernel, or below it, has not its names
    if (of === KERNEL && this.#kernel !== undefined && (bits === 32 || start >= UPPER_HALF))
      return this.#kernel.nameOf(start);
    const near = of === NESTED ? undefined : this.image?.nearest(start);
    if (near === undefined || near.offset >= FARTHEST) return `0x${start.toString(16)}`;
    return near.offset === 0n ? near.symbol.name : `${near.symbol.name}+0x${near.offset.toString(16)}`;
  }
}

/** Samples after which processes are read again: page tables may be another's by now. A search for a kernel that is not there takes longer. */
const KEPT = 100;
const BETWEEN_SEARCHES = 2000;
/** Below it CR3 has flags, a number of the address space, and where a kernel keeps two tables the choice of one. */
const ROOT = 0xf_ffff_ffff_e000n;

/** The process that runs, by its page tables. */
class ProcessNames {
  #names: ReadonlyMap<bigint, string> = new Map();
  /** Samples at which they are read again: for any process, and for one that is not known yet. */
  #old = 0;
  #search = 0;

  nameOf(vcpu: Vcpu, vmi: Vmi | undefined, sample: number): string {
    if (vmi === undefined) return USER;
    const root = vcpu.getControlRegister(3) & ROOT;
    if (sample >= (this.#names.has(root) ? this.#old : this.#search)) this.#read(vmi, sample);
    return this.#names.get(root) ?? USER;
  }

  #read(vmi: Vmi, sample: number): void {
    // The guest has run since the machine last let others look at it
    if (vmi.memory instanceof LiveMemory) vmi.memory.advance();
    const kernel = kernelOf(vmi);
    this.#old = sample + KEPT;
    this.#search = kernel === undefined ? sample + BETWEEN_SEARCHES : sample + 1;
    const names = new Map<bigint, string>();
    try {
      for (const { root, name } of kernel?.processes() ?? [])
        if (root !== undefined) names.set(BigInt(root) & ROOT, name);
    } catch (error) {
      if (!isVisorkitError(error)) throw error; // a list that is being changed
    }
    this.#names = names;
  }
}
