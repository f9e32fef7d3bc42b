/** What firmware leaves in a PC's first megabyte: the holes in the memory map, and the BIOS data area. */
import { Stage, definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { GuestMemoryToken, MemoryMapToken, MemoryType, PortBusToken } from '@visorkit/machine';
import { SERIAL_PORTS } from './serial.js';

/** Extended BIOS data area: the last kilobyte of conventional memory. */
export const EBDA = { gpa: 0x9fc00, size: 0x400 } as const;
/** Video memory, option ROMs and the system BIOS. */
export const BIOS_AREA = { gpa: 0xa0000, size: 0x60000 } as const;

/** Words of the BIOS data area that kernels read when nothing else tells them of the machine. */
const BDA = {
  serialPorts: 0x400,
  parallelPorts: 0x408,
  ebdaSegment: 0x40e,
  equipment: 0x410,
  conventionalKilobytes: 0x413,
  videoMode: 0x449,
  videoColumns: 0x44a,
  videoPageSize: 0x44c,
  videoController: 0x463,
  videoLastRow: 0x484,
  end: 0x500,
} as const;

/** Where a PC may have its parallel ports, in the order in which its BIOS looks. */
const PARALLEL_PORTS = [0x3bc, 0x378, 0x278] as const;

/** Port of a colour screen's CRT controller. */
const VIDEO_CONTROLLER = 0x3d4;

/** Bits of the equipment word (INT 11H): a coprocessor, a screen of 80 columns in colour, and how many ports there are. */
const COPROCESSOR = 1 << 1;
const SCREEN = 2 << 4;
const SERIAL_COUNT_SHIFT = 9;
const PARALLEL_COUNT_SHIFT = 14;

/** Reserves what firmware keeps of low memory, so that boot loaders report a map as a PC's BIOS does, and fills the BIOS data area. */
export function pcMemoryMap(): Plugin {
  return definePlugin({
    name: 'pc-memory-map',
    uses: { map: MemoryMapToken, memory: GuestMemoryToken, ports: PortBusToken },
    apply({ hooks }, { map, memory, ports }) {
      map.reserve(EBDA.gpa, EBDA.size, MemoryType.RESERVED);
      map.reserve(BIOS_AREA.gpa, BIOS_AREA.size, MemoryType.RESERVED);
      // Before the loader, which may put an image or a firmware there
      hooks.load.tap({ stage: Stage.Observe }, () => {
        if (!memory.contains(0, BDA.end)) return;
        const has = (port: number): boolean => ports.ownerOf(port) !== undefined;
        const screen = has(VIDEO_CONTROLLER);
        if (screen) {
          memory.writeU8(BDA.videoMode, 3);
          memory.writeU16(BDA.videoColumns, 80);
          memory.writeU16(BDA.videoPageSize, 4096);
          memory.writeU16(BDA.videoController, VIDEO_CONTROLLER);
          memory.writeU8(BDA.videoLastRow, 24);
        }
        const serial = Object.values(SERIAL_PORTS)
          .map(({ base }) => base)
          .filter(has);
        const parallel = PARALLEL_PORTS.filter(has);
        serial.forEach((port, index) => memory.writeU16(BDA.serialPorts + index * 2, port));
        parallel.forEach((port, index) => memory.writeU16(BDA.parallelPorts + index * 2, port));
        memory.writeU16(
          BDA.equipment,
          COPROCESSOR |
            (screen ? SCREEN : 0) |
            (serial.length << SERIAL_COUNT_SHIFT) |
            (parallel.length << PARALLEL_COUNT_SHIFT),
        );
        memory.writeU16(BDA.ebdaSegment, EBDA.gpa >> 4);
        memory.writeU16(BDA.conventionalKilobytes, EBDA.gpa >> 10);
        // The EBDA begins with its own size in kilobytes
        if (memory.contains(EBDA.gpa, EBDA.size)) memory.writeU8(EBDA.gpa, EBDA.size >> 10);
      });
    },
  });
}
