/** The vCPU as text, for reports. */
import { GPR_NAMES, SEGMENT_NAMES } from '@visorkit/core';
import type { VcpuSnapshot } from '@visorkit/core';
import type { ProcessorState } from '@visorkit/engine';
import { AccessRights, Cr0, Efer, Rflags } from '@visorkit/x86';

const hex = (value: bigint | number): string => `0x${value.toString(16)}`;

/** Name of the mode the processor is in. */
export function modeName(state: ProcessorState): VcpuSnapshot['mode'] {
  if ((state.cr0 & Cr0.PE) === 0n) return 'real16';
  if ((state.rflags & Rflags.VM) !== 0) return 'virtual8086';
  const rights = state.getSegment(1).accessRights;
  if ((state.efer & Efer.LMA) !== 0n) return (rights & AccessRights.L) !== 0 ? 'long64' : 'compatibility';
  return (rights & AccessRights.DB) !== 0 ? 'protected32' : 'protected16';
}

export function takeSnapshot(state: ProcessorState, index: number): VcpuSnapshot {
  const segments: VcpuSnapshot['segments'] = {};
  SEGMENT_NAMES.forEach((name, number) => {
    const { selector, base, limit, accessRights } = state.getSegment(number);
    segments[name] = { selector: hex(selector), base: hex(base), limit: hex(limit), accessRights: hex(accessRights) };
  });
  const table = ({ base, limit }: { base: bigint; limit: number }): { base: string; limit: string } => ({
    base: hex(base),
    limit: hex(limit),
  });
  return {
    index,
    mode: modeName(state),
    cpl: (state.getSegment(2).accessRights >>> 5) & 3,
    rip: hex(state.rip),
    rflags: hex(state.rflags),
    registers: Object.fromEntries(GPR_NAMES.map((name, number) => [name, hex(state.getRegister(number))])),
    segments,
    controlRegisters: {
      cr0: hex(state.cr0),
      cr2: hex(state.cr2),
      cr3: hex(state.cr3),
      cr4: hex(state.cr4),
      cr8: hex(state.cr8),
      efer: hex(state.efer),
      xcr0: hex(state.xcr0),
    },
    gdtr: table(state.gdtr),
    idtr: table(state.idtr),
  };
}
