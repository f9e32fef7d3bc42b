/** The whole state of the processor as plain data. */
import { fail } from '@visorkit/core';
import type { Engine } from './engine.js';
import {
  COUNTERS,
  EPTP_IN_FORCE,
  EVENT_INFO,
  HYPERVISOR,
  MMIO_LOG,
  MMIO_LOG_ENTRY,
  PROCESSOR,
  REGS,
} from './layout.js';
import { DIRTY_ALL, VMCS, VMCS_BYTES, V_DIRTY } from './vmcs-layout.js';

/** Increased when layout.ts moves something that is saved. */
const FORMAT = 3;
const REGISTERS_END = COUNTERS;
const EVENTS_BYTES = 0x100;

export interface EngineState {
  format: number;
  /** The state block. */
  registers: Uint8Array;
  /** Event delivery, deadlines, options. */
  events: Uint8Array;
  /** Memory-mapped accesses that an instruction has made and not finished with. */
  mmio: Uint8Array;
  /** Working copy of the current VMCS. */
  vmcs: Uint8Array;
  /** VMX structures: as much as was handed out. */
  hypervisor: Uint8Array;
  pages: { next: number; free: number[] };
}

export function captureState(engine: Engine): EngineState {
  const { bytes, pages } = engine;
  return {
    format: FORMAT,
    registers: copy(bytes, REGS, REGISTERS_END - REGS),
    events: copy(bytes, EVENT_INFO, EVENTS_BYTES),
    mmio: copy(bytes, MMIO_LOG, (engine.words[MMIO_LOG >>> 2] + 1) * MMIO_LOG_ENTRY),
    vmcs: copy(bytes, VMCS, VMCS_BYTES),
    hypervisor: copy(bytes, HYPERVISOR, pages.used),
    pages: pages.save(),
  };
}

/** The VMX structures alone: VMCS regions, EPT tables, bitmaps, and which pages are handed out. */
export interface VmxStructures {
  bytes: Uint8Array<ArrayBuffer>;
  pages: { next: number; free: number[] };
}

export function saveStructures({ bytes, pages }: Engine): VmxStructures {
  return { bytes: copy(bytes, HYPERVISOR, pages.used), pages: pages.save() };
}

export function restoreStructures({ bytes, exports, pages }: Engine, state: VmxStructures): void {
  const used = Math.max(pages.used, state.bytes.length);
  bytes.fill(0, HYPERVISOR, HYPERVISOR + used);
  bytes.set(state.bytes, HYPERVISOR);
  exports.invalidateCode(HYPERVISOR, used); // read-only memory and shadow pages may hold code
  pages.restore(state.pages);
}

export function putState(engine: Engine, state: EngineState): void {
  if (state.format !== FORMAT)
    fail(
      'ENGINE_STATE_FORMAT',
      `A saved processor state of format ${state.format} cannot be restored; this processor has format ${FORMAT}.`,
    );
  const { bytes, words, longs, pages } = engine,
    processor = words[PROCESSOR >>> 2];
  bytes.set(state.registers, REGS);
  bytes.set(state.events, EVENT_INFO);
  words[PROCESSOR >>> 2] = processor;
  bytes.set(state.mmio, MMIO_LOG);
  bytes.set(state.vmcs, VMCS);
  const used = Math.max(pages.used, state.hypervisor.length);
  bytes.fill(0, HYPERVISOR, HYPERVISOR + used);
  bytes.set(state.hypervisor, HYPERVISOR);
  engine.exports.invalidateCode(HYPERVISOR, used); // read-only memory and shadow pages may hold code
  pages.restore(state.pages);
  // Nothing derived is trusted: no EPT pointer equals this one, so the next entry selects and checks everything
  longs[EPTP_IN_FORCE >>> 3] = 0xffffffffffffffffn;
  words[V_DIRTY >>> 2] = DIRTY_ALL;
  engine.flushTranslations();
  engine.exports.applyWrites();
}

/** A copy on ordinary memory. */
function copy(bytes: Uint8Array, at: number, length: number): Uint8Array<ArrayBuffer> {
  const result = new Uint8Array(length);
  result.set(bytes.subarray(at, at + length));
  return result;
}
