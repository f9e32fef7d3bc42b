/**
 * The software x86-64 processor with VT-x: what a hypervisor needs of it. Addresses of its state are `@visorkit/engine/layout` and
 * `@visorkit/engine/vmcs-layout`; `@visorkit/engine/testing` has a VMCS that passes every check.
 */
export { ProcessorBanks, SAVED_PROCESSOR_PARTS } from './banks.js';
export type { SavedProcessor, SavedTurns } from './banks.js';
export {
  ARCH_CAPABILITIES,
  PHYSICAL_ADDRESS_BITS,
  PROCESSOR_FEATURES,
  TSC_FREQUENCY,
  XCR0_SUPPORTED,
  processorCpuid,
} from './cpuid.js';
export type { ProcessorVendor } from './cpuid.js';
export { Engine, engineMemory } from './engine.js';
export type { EngineOptions } from './engine.js';
export { CodeStates } from './translator/code-state.js';
export type { CodeState, WhyInterpreted } from './translator/code-state.js';
export { describeEntryRule } from './entry-rules.js';
export type { MmioLog } from './mmio-log.js';
export { processorModule, processorModuleNow } from './module.js';
export type { ProcessorSource } from './module.js';
export { ProcessorState } from './processor-state.js';
export { recentPages } from './recent-pages.js';
export type { TranslatorOptions } from './translator/options.js';
export type { Difference, VerifyDetails } from './translator/verify-report.js';
export { regionBytes, regionOffset } from './vmcs.js';
export type { Vmcs } from './vmcs.js';
export { CONTROL_FIELDS, OWN_STATE, writeControls, writeHostState } from './vmcs-setup.js';
export { restoreStructures, saveStructures } from './state.js';
export type { EngineState, VmxStructures } from './state.js';
export type { WasmMemory, WasmModule } from './webassembly.js';
