/** The vCPU as text, for reports. */
import { GPR_NAMES, SEGMENT_NAMES } from '@visorkit/core';
import type { VcpuSnapshot } from '@visorkit/core';
import type { Engine } from '@visorkit/engine';
import { AccessRights, Cr0, Efer, Rflags } from '@visorkit/x86';

const hex = (value: bigint | number): string => `0x${value.toString(16)}`;

/** Name of the mode the processor is in. */
export function modeName(engine: Engine): VcpuSnapshot['mode'] {
  if ((engine.cr0 & Cr0.PE) === 0n) return 'real16';
  if ((engine.rflags & Rflags.VM) !== 0) return 'virtual8086';
  const rights = engine.getSegment(1).accessRights;
  if ((engine.efer & Efer.LMA) !== 0n) return (rights & AccessRights.L) !== 0 ? 'long64' : 'compatibility';
  return (rights & AccessRights.DB) !== 0 ? 'protected32' : 'protected16';
}

export function takeSnapshot(engine: Engine, index: number): VcpuSnapshot {
  const segments: VcpuSnapshot['segments'] = {};
  SEGMENT_NAMES.forEach((name, number) => {
    const { selector, base, limit, accessRights } = engine.getSegment(number);
    segments[name] = { selector: hex(selector), base: hex(base), limit: hex(limit), accessRights: hex(accessRights) };
  });
  const table = ({ base, limit }: { base: bigint; limit: number }): { base: string; limit: string } => ({
    base: hex(base),
    limit: hex(limit),
  });
  return {
    index,
    mode: modeName(engine),
    cpl: (engine.getSegment(2).accessRights >>> 5) & 3,
    rip: hex(engine.rip),
    rflags: hex(engine.rflags),
    registers: Object.fromEntries(GPR_NAMES.map((name, number) => [name, hex(engine.getRegister(number))])),
    segments,
    controlRegisters: {
      cr0: hex(engine.cr0),
      cr2: hex(engine.cr2),
      cr3: hex(engine.cr3),
      cr4: hex(engine.cr4),
      cr8: hex(engine.cr8),
      efer: hex(engine.efer),
      xcr0: hex(engine.xcr0),
    },
    gdtr: table(engine.gdtr),
    idtr: table(engine.idtr),
  };
}
