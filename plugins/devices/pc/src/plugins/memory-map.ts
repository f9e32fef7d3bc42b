/** The holes of a PC's first megabyte in the machine's memory map. */
import { Stage, definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { GuestMemoryToken, MemoryMapToken, MemoryType } from '@visorkit/machine';

/** Extended BIOS data area: the last kilobyte of conventional memory. */
export const EBDA = { gpa: 0x9fc00, size: 0x400 } as const;
/** Video memory, option ROMs and the system BIOS. */
export const BIOS_AREA = { gpa: 0xa0000, size: 0x60000 } as const;

/** Words of the BIOS data area that kernels read when nothing else tells them the size of conventional memory. */
const BDA = { ebdaSegment: 0x40e, conventionalKilobytes: 0x413 } as const;

/** Reserves what firmware keeps of low memory, so that boot loaders report a map as a PC's BIOS does. */
export function pcMemoryMap(): Plugin {
  return definePlugin({
    name: 'pc-memory-map',
    uses: { map: MemoryMapToken, memory: GuestMemoryToken },
    apply({ hooks }, { map, memory }) {
      map.reserve(EBDA.gpa, EBDA.size, MemoryType.RESERVED);
      map.reserve(BIOS_AREA.gpa, BIOS_AREA.size, MemoryType.RESERVED);
      // Before the loader, which may put an image or a firmware there
      hooks.load.tap({ stage: Stage.Observe }, () => {
        if (!memory.contains(BDA.ebdaSegment, 8)) return;
        memory.writeU16(BDA.ebdaSegment, EBDA.gpa >> 4);
        memory.writeU16(BDA.conventionalKilobytes, EBDA.gpa >> 10);
      });
    },
  });
}
