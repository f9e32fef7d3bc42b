/** The vmx backend: guests on the software processor, driven as a hypervisor drives VT-x. */
import { checkValue, fail } from '@visorkit/core';
import type {
  Backend,
  BackendOptions,
  BackendVcpu,
  CpuidEntry,
  ExecutionClock,
  GuestMemory,
  ServiceSink,
  Token,
} from '@visorkit/core';
import {
  Engine,
  ProcessorBanks,
  TSC_FREQUENCY,
  processorCpuid,
  processorModule,
  recentPages,
  restoreStructures,
  saveStructures,
} from '@visorkit/engine';
import type { ProcessorSource, ProcessorVendor, TranslatorOptions } from '@visorkit/engine';
import {
  CodeSamplerToken,
  HypervisorMemoryToken,
  MemoryViewsToken,
  ProcessorPinsToken,
  TimeStampCounterToken,
  TranslationsToken,
  VmcsRegionsToken,
} from '@visorkit/machine';
import type * as v from 'valibot';
import { VMX_CAPABILITIES, VMX_CONTROLS } from './capabilities.js';
import { BackendClock, RealClock, VirtualClock } from './clock.js';
import type { VmxClock } from './clock.js';
import { VmxCodeSampler } from './code-sampler.js';
import { GuestMap } from './guest-map.js';
import { VmxMemoryViews } from './memory-views.js';
import type { MemoryViewsState } from './memory-views.js';
import { OwnVmcs } from './own-vmcs.js';
import { VmxProcessorPins } from './processor-pins.js';
import { BACKEND_STATE, VMX_STATE_FORMAT } from './saved-state.js';
import { VmxVcpu } from './vcpu.js';
import { VmxVmcsRegions } from './vmcs-regions.js';
import { setUpVmcs } from './vmcs-setup.js';

/** Whether hot code is translated, and after how many executions. */
export type Translate = boolean | number | 'verify' | `verify:${number}`;

export interface VmxBackendOptions {
  /** Features of the processor by their CPUID names (x86's CPUID_FEATURES); all that the engine has by default. */
  readonly features?: readonly string[];
  /** Whose processor it is: `intel` unless given. */
  readonly vendor?: ProcessorVendor;
  /** Width of physical addresses, 32 to 46 bits; 46 unless given. */
  readonly physicalAddressBits?: number;
  /** Seed of RDRAND and RDSEED. The same seed gives the same run. */
  readonly seed?: bigint;
  /** Exits with reason 9 are given to handlers; by default the processor's own task switch carries them out. */
  readonly exitOnTaskSwitch?: boolean;
  /**
   * Hot code is translated to WebAssembly: after how many executions of a block (1 to 1,000,000), true for the default, or false: everything is
   * interpreted. What the guest does is the same. Unless given: {@link TRANSLATE}. `verify` looks for faults of the translator: translated code runs beside
   * the interpreter, many times slower, and the run ends by VERIFY_DIFFERENCE at the first thing in which they are different; `verify:N` says after
   * how many executions.
   */
  readonly translate?: Translate;
  /**
   * Where the processor's code, engine.wasm of @visorkit/engine, lies, or its bytes. Unless given it is looked for in the package, and beside the
   * running module: a bundle needs this option only if it has the file elsewhere or within itself.
   */
  readonly processor?: ProcessorSource;
}

/** What `translate` is unless given. */
const TRANSLATE = true;
/** Executions of a block after which it is translated when translated code is verified: soon, but when regions have the shape that they have usually. */
const VERIFY_THRESHOLD = 50;
const MOST_EXECUTIONS = 1_000_000;

/** With more vCPUs than this, a turn comes round so late that a guest gives up waiting for its other vCPUs. */
const MOST_CPUS = 64;

/** Parts that exist once the memory does. */
interface Parts {
  readonly engine: Engine;
  readonly clock: VmxClock;
  readonly map: GuestMap;
  readonly views: VmxMemoryViews;
  readonly banks: ProcessorBanks;
  readonly own: OwnVmcs;
  readonly regions: VmxVmcsRegions;
  readonly sampler: VmxCodeSampler;
}

export class VmxBackend implements Backend {
  readonly name = 'vmx';
  readonly capabilities = VMX_CAPABILITIES;
  readonly controls = VMX_CONTROLS;
  readonly cpuid: readonly CpuidEntry[];
  readonly provides: readonly Token<unknown>[] = [
    TimeStampCounterToken,
    MemoryViewsToken,
    HypervisorMemoryToken,
    ProcessorPinsToken,
    VmcsRegionsToken,
    CodeSamplerToken,
    TranslationsToken,
  ];
  #module: Awaited<ReturnType<typeof processorModule>> | undefined;
  readonly #translator: TranslatorOptions | undefined;
  #opened: BackendOptions | undefined;
  #parts: Parts | undefined;
  /** Handed out before there is an engine: it points to the engine's clock later. */
  readonly clock: ExecutionClock;

  constructor(private readonly options: VmxBackendOptions = {}) {
    this.cpuid = processorCpuid(options.features, options);
    this.#translator = translatorOptions(options.translate ?? TRANSLATE);
    this.clock = new BackendClock(
      () => this.#required().clock,
      () => this.#opened?.time !== 'real',
    );
  }

  async open(options: BackendOptions): Promise<void> {
    if (options.cpus > MOST_CPUS)
      fail('VMX_CPUS', `The vmx backend runs up to ${MOST_CPUS} CPUs; ${options.cpus} were asked for.`, {
        cpus: options.cpus,
      });
    this.#opened = options;
    this.#module = await processorModule(this.options.processor, this.#translator?.verify);
  }

  createMemory(size: number): GuestMemory {
    const opened = this.#opened,
      module = this.#module;
    if (opened === undefined || module === undefined)
      return fail('BACKEND_NOT_OPEN', 'The vmx backend makes memory only after it was opened.');
    const { seed } = this.options,
      translate = this.#translator;
    const engine = new Engine(module, {
      memoryBytes: size,
      cpuid: this.cpuid,
      ...(seed === undefined ? {} : { seed }),
      ...(translate === undefined ? {} : { translate }),
    });
    const clock = opened.time === 'real' ? new RealClock(engine) : new VirtualClock(engine);
    setUpVmcs(engine);
    const map = new GuestMap(engine);
    const banks = new ProcessorBanks(engine, opened.cpus, () => clock.processorChanged());
    const own = new OwnVmcs(banks),
      views = new VmxMemoryViews(banks, map, own);
    const regions = new VmxVmcsRegions(banks, views, own, clock);
    this.#parts = { engine, clock, map, banks, own, views, regions, sampler: new VmxCodeSampler(engine) };
    return engine.memory;
  }

  createVcpu(index: number): BackendVcpu {
    const { exitOnTaskSwitch = false } = this.options;
    const { controls, cpus } = this.#opened!;
    return new VmxVcpu(index, { ...this.#required(), exitOnTaskSwitch, controls, several: cpus > 1 });
  }

  provideServices(services: ServiceSink): void {
    const { engine, clock, map, views, banks, regions, sampler } = this.#required();
    services.provide(VmcsRegionsToken, regions);
    services.provide(CodeSamplerToken, sampler);
    services.provide(TranslationsToken, {
      keep: (earlier) => engine.keepRegions(earlier),
      kept: () => engine.keptRegions(),
    });
    services.provide(MemoryViewsToken, views);
    services.provide(HypervisorMemoryToken, {
      size: engine.longs.byteLength,
      readU64: (address) => engine.longs[address / 8],
      addressOf: (gpa) => {
        const range = map.at(gpa);
        return range === undefined ? undefined : range.hpa + (gpa - range.gpa);
      },
    });
    services.provide(ProcessorPinsToken, new VmxProcessorPins(banks));
    services.provide(TimeStampCounterToken, {
      frequency: TSC_FREQUENCY,
      read: () => engine.tsc,
      timeAt: (tsc) => clock.counter + Number(BigInt.asIntN(64, tsc - engine.tsc)),
    });
  }

  mapRom(gpa: number, bytes: Uint8Array): void {
    this.#required().views.mapRom(gpa, bytes);
  }

  coverRam(gpa: number, size: number): () => void {
    return this.#required().views.coverRam(gpa, size);
  }

  /** The processor itself, for tools and tests that need more than the contract. */
  get engine(): Engine {
    return this.#required().engine;
  }

  /** What the translator has done. */
  statistics(): Readonly<Record<string, number>> {
    const { translator } = this.#required().engine;
    if (translator === undefined) return {};
    const { regions, kept, instructions, modules, bytes, emitting, compiling } = translator.figures,
      verified = translator.verifier?.figures;
    return {
      ...(verified === undefined
        ? {}
        : { 'regions verified': verified.compared, 'instructions verified': verified.instructions }),
      'instructions run translated': translator.retired,
      'instructions translated': instructions,
      'regions translated': regions,
      ...(kept === 0 ? {} : { 'regions of earlier runs': kept }),
      'modules of WebAssembly': modules,
      'bytes of WebAssembly': bytes,
      'milliseconds translating': Math.round(emitting),
      'milliseconds compiling': Math.round(compiling),
    };
  }

  recentPages(): ReadonlySet<number> {
    return recentPages(this.#required().engine);
  }

  saveState(): unknown {
    const { banks, clock, engine, views } = this.#required();
    const structures = saveStructures(engine);
    return {
      format: VMX_STATE_FORMAT,
      clock: clock.save(),
      turns: banks.saveTurns(),
      structures,
      views: views.save(),
    } satisfies v.InferOutput<typeof BACKEND_STATE>;
  }

  restoreState(state: unknown): void {
    const { banks, clock, engine, views } = this.#required();
    const saved = checkValue(BACKEND_STATE, state, 'BACKEND_STATE', 'The saved state of the vmx backend');
    const savedViews = saved.views as MemoryViewsState;
    views.checkState(savedViews);
    restoreStructures(engine, saved.structures);
    banks.restoreTurns(saved.turns);
    clock.restore(saved.clock);
    views.restore(savedViews);
  }

  dispose(): void {
    this.#parts = undefined;
  }

  #required(): Parts {
    return this.#parts ?? fail('BACKEND_NOT_OPEN', 'The vmx backend has no memory yet, or was disposed.');
  }
}

/** Undefined: everything is interpreted. */
function translatorOptions(translate: Translate): TranslatorOptions | undefined {
  if (typeof translate === 'boolean') return translate ? {} : undefined;
  const verified = /^verify(?::(\d+))?$/.exec(String(translate)),
    threshold = verified === null ? translate : Number(verified[1] ?? VERIFY_THRESHOLD);
  if (typeof threshold !== 'number' || !Number.isSafeInteger(threshold) || threshold < 1 || threshold > MOST_EXECUTIONS)
    return fail(
      'BACKEND_OPTION',
      `translate is a whole number from 1 to ${MOST_EXECUTIONS}, true, false, "verify" or "verify:" with such a number, not ${translate}.`,
      { translate },
    );
  return { threshold, ...(verified === null ? {} : { verify: true }) };
}

/** Makes the backend for one VM. */
export function vmx(options: VmxBackendOptions = {}): VmxBackend {
  return new VmxBackend(options);
}
