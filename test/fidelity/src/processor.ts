/** The engine's WebAssembly module with its memory, driven directly: no machine, no plugins. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Where the engine's build puts its module. FIDELITY_ENGINE names another one. */
export const ENGINE_MODULE =
  process.env['FIDELITY_ENGINE'] ??
  join(dirname(fileURLToPath(import.meta.url)), '../../../packages/engine/build/engine.wasm');

export function engineIsBuilt(): boolean {
  return existsSync(ENGINE_MODULE);
}

export interface Processor {
  readonly memory: Uint8Array;
  /** Enters the guest and returns at the next VM exit or at the deadline. */
  enter(): void;
  /** Whether the last enter() ended in a VM exit. */
  exited(): boolean;
  flags(): number;
  setFlags(value: number): void;
  /** Tells the processor that bytes of its memory were changed from outside. */
  codeChanged(address: number, length: number): void;
  flushTlb(): void;
}

interface Exports {
  initialise(): void;
  enter(): number;
  guestFlags(): number;
  setGuestFlags(flags: number): void;
  invalidateCode(address: number, length: number): void;
  flushTlb(): void;
  vmcsReset(): void;
}

/** Loads the module over a memory that holds `ramBytes` of guest RAM. */
export async function createProcessor(ramBytes: number, guestRam: number): Promise<Processor> {
  const bytes = readFileSync(ENGINE_MODULE);
  const module = await WebAssembly.compile(bytes);
  const pages = Math.max(1100, Math.ceil((guestRam + ramBytes) / 65536));
  const memory = new WebAssembly.Memory({ initial: pages, maximum: 65536, shared: true });
  const imports: WebAssembly.Imports = { env: { memory } };
  for (const i of WebAssembly.Module.imports(module)) {
    const group = (imports[i.module] ??= {}) as Record<string, WebAssembly.ImportValue>;
    if (i.kind === 'function') group[i.name] ??= () => 0;
  }
  const instance = await WebAssembly.instantiate(module, imports);
  const e = instance.exports as unknown as Exports;
  e.initialise();
  e.vmcsReset();
  let last = 0;
  return {
    memory: new Uint8Array(memory.buffer),
    enter: () => void (last = e.enter()),
    exited: () => last === 0,
    flags: () => e.guestFlags() >>> 0,
    setFlags: (value) => e.setGuestFlags(value),
    codeChanged: (address, length) => e.invalidateCode(address, length),
    flushTlb: () => e.flushTlb(),
  };
}
