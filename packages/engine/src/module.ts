/** The compiled processor: read and compiled once per process, instantiated once per VM. */
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { VisorkitError } from '@visorkit/core';
import type { SecondTierExports } from './second-tier.js';
import { WebAssembly } from './webassembly.js';
import type { WasmModule } from './webassembly.js';

/** What the wrapper calls; see assembly/index.ts. */
export interface ProcessorExports extends SecondTierExports {
  /** Prepares fresh memory. */
  initialise(): void;
  enter(): number;
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
  modeChanged(): void;
  applyWrites(): void;
  finishExit(): void;
  /** Another processor's state has been put into the engine: uses its translations. */
  processorChanged(): void;
  /** 0, or the VM-instruction error. */
  vmptrld(region: number): number;
  vmclear(region: number): number;
  /** All ones when no VMCS is current. */
  vmptrst(): number;
  /** 0, or the VM-instruction error; assembly/vmx/invalidation.ts. */
  invvpid(type: number, vpid: number, linear: bigint): number;
  invept(type: number, eptp: bigint): number;
  vmcsReset(): void;
  guestFlags(): number;
  setGuestFlags(flags: number): void;
  msrAddress(index: number): number;
  /** False when WRMSR of this value would raise #GP. */
  msrAcceptable(index: number, value: bigint): number;
  /** Carries out the task switch of an exit with reason 9: 0 done, 1 another VM exit was recorded. */
  performTaskSwitch(selector: number, source: number, hasError: number, error: number): number;
  /** B0-B3 of the I/O breakpoints that an access to a port meets. */
  ioBreakpoints(port: number, size: number): number;
}

let compiled: Promise<WasmModule> | undefined;

/** The compiled module. Throws ENGINE_NOT_BUILT when build/engine.wasm is missing. */
export function processorModule(): Promise<WasmModule> {
  compiled ??= load().catch((error: unknown) => {
    compiled = undefined;
    throw error;
  });
  return compiled;
}

/** Like {@link processorModule}, compiled now: for those who find in the middle of a run that they need it. */
export function processorModuleNow(): WasmModule {
  try {
    return new WebAssembly.Module(readFileSync(binary));
  } catch (cause) {
    throw notBuilt(cause);
  }
}

const binary = new URL('../build/engine.wasm', import.meta.url);

function notBuilt(cause: unknown): VisorkitError {
  return new VisorkitError(
    'ENGINE_NOT_BUILT',
    `The processor is not built: ${binary.pathname} is missing; run the workspace's build.`,
    { path: binary.pathname },
    cause,
  );
}

async function load(): Promise<WasmModule> {
  let bytes: Uint8Array<ArrayBuffer>;
  try {
    bytes = new Uint8Array(await readFile(binary));
  } catch (cause) {
    throw notBuilt(cause);
  }
  return WebAssembly.compile(bytes);
}
