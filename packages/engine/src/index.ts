/** The software x86-64 processor with VT-x. */
export * from './cpuid.js';
export { ProcessorBanks } from './banks.js';
export * from './engine.js';
export * from './entry-rules.js';
export * from './mmio-log.js';
export * from './module.js';
export * from './page-allocator.js';
export { ProcessorState } from './processor-state.js';
export * from './reset.js';
export type { EngineState } from './state.js';
export * from './vmcs.js';
export * as layout from './layout.js';
export * as vmcsLayout from './vmcs-layout.js';
export * from './testing.js';
export type { WasmMemory } from './webassembly.js';
