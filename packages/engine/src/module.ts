/** The compiled processor: read and compiled once per process, instantiated once per VM. */
import { VisorkitError, host } from '@visorkit/core';
import type { SecondTierExports } from './second-tier.js';
import { journallingProcessor } from './translator/journalling.js';
import { WebAssembly } from './webassembly.js';
import type { WasmModule } from './webassembly.js';

/** What the wrapper calls; see assembly/index.ts. */
export interface ProcessorExports extends SecondTierExports {
  /** Prepares fresh memory. */
  initialise(): void;
  enter(): number;
  /** As `enter`, behind one that came to the deadline: neither preemption timer nor PAUSE-loop exiting begin anew. */
  goOn(): number;
  /** Drops decoded code of `length` bytes of linear memory from `address`. */
  invalidateCode(address: number, length: number): void;
  /** Drops every translation of every processor. */
  flushTlb(): void;
  /**
   * The guest-physical page of number `page` (gpa / 4096) has lost rights in the EPT, or its frame (the host page at `frame`): read 1, write 2 or
   * dirty flag 2, execute 4, and 8 where walks of the guest's tables through it must be done anew.
   */
  invalidateGuestPage(page: number, frame: number, lost: number): void;
  /** EPT entries of many pages were changed. */
  invalidateGuestPages(): void;
  /** Translation for an observer: 0 found, 1 page fault, 2 not readable through the EPT. */
  observe(linear: bigint, access: number): number;
  /** The instruction at RIP, whose code is fetched from the page of `linear` where there is no memory, is executed with all ones from there. */
  supplyOnes(linear: bigint): void;
  modeChanged(): void;
  applyWrites(): void;
  finishExit(): void;
  /** Another processor's state has been put into the engine: uses its translations. */
  processorChanged(): void;
  /** 0, or the VM-instruction error. */
  vmptrld(region: number, written: number): number;
  sameFields(a: number, b: number, types: number): number;
  loadHostState(to: number, from: number, entered: number): number;
  copyFields(to: number, from: number, types: number): void;
  vmclear(region: number): number;
  /** All ones when no VMCS is current. */
  vmptrst(): number;
  /** 0, or the VM-instruction error; assembly/vmx/invalidation.ts. */
  invvpid(type: number, vpid: number, linear: bigint): number;
  invept(type: number, eptp: bigint): number;
  /** The checks of a VM entry alone: 0, or the rule that failed, with error 7 or 8 or exit reason 33 in bits 31:16. */
  checkEntry(groups: number, debugctl: number): number;
  vmcsReset(): void;
  guestFlags(): number;
  setGuestFlags(flags: number): void;
  msrAddress(index: number): number;
  /** False when WRMSR of this value would raise #GP. */
  msrAcceptable(index: number, value: bigint): number;
  /** Carries out the task switch of an exit with reason 9: 0 done, 1 another VM exit was recorded. */
  performTaskSwitch(selector: number, source: number, hasError: number, error: number): number;
  /** B0-B3 of the data breakpoints that an access to memory meets; `write` 0 or 1. */
  dataBreakpoints(linear: bigint, size: number, write: number): number;
  /** B0-B3 of the I/O breakpoints that an access to a port meets. */
  ioBreakpoints(port: number, size: number): number;
  /** Of a processor that tells of its stores: the lowest address where it does, -1 for nowhere (translator/journalling.ts). */
  readonly journalFrom?: { value: number };
}

/** Where engine.wasm lies, or its bytes. */
export type ProcessorSource = URL | Uint8Array<ArrayBuffer>;

/** By URL, or by the bytes themselves; this package's own module is under ''. With `#journals` behind it, one that tells of its stores. */
const compiled = new Map<string, Promise<WasmModule>>();
const compiledBytes = new WeakMap<Uint8Array, Promise<WasmModule>>();
const JOURNALS = '#journals';
/** This package's own module, once it is compiled. */
let standard: WasmModule | undefined;

/**
 * The compiled module; each source is compiled once. Without a source engine.wasm is looked for where this package has it, and beside the running
 * module, where a bundle has it. Throws ENGINE_NOT_BUILT when it cannot be read. `journals`: the processor tells of its stores, for `translate.verify`.
 */
export function processorModule(source?: ProcessorSource, journals = false): Promise<WasmModule> {
  if (source instanceof Uint8Array) {
    if (journals) return compile(journallingProcessor(source));
    let module = compiledBytes.get(source);
    if (module === undefined) compiledBytes.set(source, (module = compile(source)));
    return module;
  }
  const key = `${source?.href ?? ''}${journals ? JOURNALS : ''}`;
  let module = compiled.get(key);
  if (module === undefined) {
    compiled.set(key, (module = load(source === undefined ? standardPlaces() : [source], journals)));
    module.then(
      (ready) => {
        if (key === '') standard = ready;
      },
      () => compiled.delete(key),
    );
  }
  return module;
}

/** Like {@link processorModule} without a source, but synchronous: for callers that find in the middle of a run that they need it. */
export function processorModuleNow(): WasmModule {
  if (standard !== undefined) return standard;
  host.setUpOptimiser?.();
  let cause: unknown;
  for (const place of standardPlaces()) {
    try {
      const bytes = host.readNow!(place);
      return (standard = kept(bytes) ?? new WebAssembly.Module(bytes));
    } catch (error) {
      cause ??= error;
    }
  }
  throw notBuilt(standardPlaces(), cause);
}

const BESIDE = 'engine.wasm';

/** None in a bundle that does not know its own URL. */
function standardPlaces(): URL[] {
  const { url } = import.meta;
  return url === undefined ? [] : [new URL('../build/engine.wasm', import.meta.url), new URL(BESIDE, url)];
}

async function load(places: readonly URL[], journals: boolean): Promise<WasmModule> {
  let cause: unknown;
  for (const place of places) {
    try {
      const bytes = await host.read(place);
      return await compile(journals ? journallingProcessor(bytes) : bytes);
    } catch (error) {
      cause ??= error;
    }
  }
  throw notBuilt(places, cause);
}

function kept(bytes: Uint8Array<ArrayBuffer>): WasmModule | undefined {
  return host.keptModule?.(bytes) as WasmModule | undefined;
}

/**
 * Compiles while a timer keeps the event loop alive. Node does not count a compilation as pending work: it would end its event loop, and the
 * awaiting code would go on only when all background compilations are done, also those that make hot code faster.
 */
async function compile(bytes: Uint8Array<ArrayBuffer>): Promise<WasmModule> {
  host.setUpOptimiser?.(); // for this module, and for those of translated code
  const ready = kept(bytes);
  if (ready !== undefined) return ready;
  const done = host.after(Infinity, () => {});
  try {
    return await WebAssembly.compile(bytes);
  } finally {
    done();
  }
}

function notBuilt(places: readonly URL[], cause: unknown): VisorkitError {
  const looked = places.map(({ protocol, pathname, href }) => (protocol === 'file:' ? pathname : href));
  return new VisorkitError(
    'ENGINE_NOT_BUILT',
    `The processor, engine.wasm, cannot be read${looked.length === 0 ? '' : ` from ${looked.join(' or ')}`}; run the workspace's build, put it beside a bundle, or give the backend vmx its bytes or URL as "processor".`,
    { looked },
    cause,
  );
}
