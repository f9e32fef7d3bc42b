/** Texts that the engine's build puts into the processor's module, as custom sections. */
import { WebAssembly } from '../webassembly.js';
import type { WasmModule } from '../webassembly.js';

/** Names of the interpreter's handlers by number. */
export function handlerNames(module: WasmModule): string[] {
  return sectionOf(module, 'handlers')?.split('\n') ?? [];
}
/** What tells this build of the processor and of the translator from others. */
export function buildOf(module: WasmModule): string | undefined {
  return sectionOf(module, 'sources');
}
/** Text in a custom section that the engine's build writes. */
function sectionOf(module: WasmModule, name: string): string | undefined {
  const [section] = WebAssembly.Module.customSections(module, name);
  return section === undefined ? undefined : String.fromCharCode(...new Uint8Array(section));
}
