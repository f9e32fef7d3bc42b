/** The engine's WebAssembly module with its memory, driven directly: no machine, no plugins. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Translator, countExecutions } from '@visorkit/engine/testing';

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
  /** Instructions retired in translated code. */
  translated(): number;
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

/** Loads the module over a memory that holds `ramBytes` of guest RAM. With `translates`, code that has run once is translated. */
export async function createProcessor(ramBytes: number, guestRam: number, translates = false): Promise<Processor> {
  const bytes = readFileSync(ENGINE_MODULE);
  const module = await WebAssembly.compile(bytes);
  const pages = Math.max(1100, Math.ceil((guestRam + ramBytes) / 65536));
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  let translator: Translator | undefined;
  const imports: WebAssembly.Imports = { env: { memory, translate: () => translator?.translateQueued() } };
  for (const i of WebAssembly.Module.imports(module)) {
    const group = (imports[i.module] ??= {}) as Record<string, WebAssembly.ImportValue>;
    if (i.kind === 'function') group[i.name] ??= () => 0;
  }
  const instance = await WebAssembly.instantiate(module, imports);
  const e = instance.exports as unknown as Exports;
  e.initialise();
  e.vmcsReset();
  if (translates) {
    const parts: unknown = [module, memory, instance.exports, { threshold: 1, batch: 1 }],
      given = parts as Required<ConstructorParameters<typeof Translator>>;
    countExecutions(given[2], given[3]);
    translator = new Translator(...given);
  }
  let last = 0;
  return {
    memory: new Uint8Array(memory.buffer),
    enter: () => void (last = e.enter()),
    exited: () => last === 0,
    flags: () => e.guestFlags() >>> 0,
    setFlags: (value) => e.setGuestFlags(value),
    codeChanged: (address, length) => e.invalidateCode(address, length),
    flushTlb: () => e.flushTlb(),
    translated: () => translator?.retired ?? 0,
  };
}
