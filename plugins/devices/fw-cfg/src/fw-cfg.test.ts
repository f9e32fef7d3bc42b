/** fw_cfg as firmware reads it. */
import { beforeEach, describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { ArrayGuestMemory } from '@visorkit/machine';
import { buildBzImage } from '@visorkit/formats/testing';
import { refusals, savedAndRestored } from '@visorkit/machine/testing';
import {
  FW_CFG_DATA_PORT as DATA,
  FW_CFG_DMA_PORT as DMA,
  FW_CFG_SELECTOR_PORT as SELECT,
  FwCfg,
  FwCfgItem,
} from './fw-cfg.js';
import { linuxItems } from './linux-items.js';

let memory: ArrayGuestMemory;
let device: FwCfg;
beforeEach(() => {
  memory = new ArrayGuestMemory(0x10000);
  device = new FwCfg(memory);
});
const read = (selector: number, length: number): number[] => {
  device.writePort(SELECT, 2, selector);
  return Array.from({ length }, () => device.readPort(DATA, 1));
};
const bigEndian32 = (value: number): number =>
  new DataView(Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value).buffer).getUint32(0, true);
const dma = (control: number, length: number, address: number): number => {
  const request = new DataView(new ArrayBuffer(16));
  request.setUint32(0, control);
  request.setUint32(4, length);
  request.setUint32(12, address);
  memory.write(0x8000, new Uint8Array(request.buffer));
  device.writePort(DMA, 4, 0);
  device.writePort(DMA + 4, 4, bigEndian32(0x8000));
  return memory.readU32(0x8000);
};

describe('fw_cfg', () => {
  it('says QEMU, and that it can do DMA', () => {
    expect(String.fromCharCode(...read(FwCfgItem.signature, 4))).toBe('QEMU');
    expect(read(FwCfgItem.id, 4)).toEqual([3, 0, 0, 0]);
    expect(device.readPort(DMA, 4)).toBe(bigEndian32(0x51454d55));
    expect(device.readPort(DMA + 4, 4)).toBe(bigEndian32(0x20434647));
  });

  it('holds a Linux kernel in two parts, with its RAM disk, an ended command line, and where QEMU puts them', () => {
    const kernel = buildBzImage({ kernel: new Uint8Array(1000).fill(7), setupSectors: 1 });
    for (const [selector, data] of linuxItems({ kernel, initrd: Uint8Array.of(7, 8), commandLine: 'ro' }, 0x400_0000))
      device.setItem(selector, data);
    const word = (selector: number): number => new Uint32Array(Uint8Array.from(read(selector, 4)).buffer)[0];
    expect(word(FwCfgItem.setupSize)).toBe(1024);
    const setup = Uint8Array.from(read(FwCfgItem.setupData, 1025));
    expect(setup.subarray(0, 0x210)).toEqual(kernel.subarray(0, 0x210));
    expect(word(FwCfgItem.kernelSize)).toBe(1008);
    expect(read(FwCfgItem.kernelData, 1009)).toEqual([...kernel.subarray(1024), 0]);
    expect([word(FwCfgItem.initrdSize), read(FwCfgItem.initrdData, 3)]).toEqual([2, [7, 8, 0]]);
    expect([word(FwCfgItem.kernelCommandLineSize), read(FwCfgItem.kernelCommandLine, 3)]).toEqual([3, [0x72, 0x6f, 0]]);
    const addresses = ['setupAddress', 'kernelCommandLineAddress', 'kernelAddress', 'kernelEntry'] as const;
    expect(addresses.map((name) => word(FwCfgItem[name]))).toEqual([0x1_0000, 0x2_0000, 0x10_0000, 0x10_0000]);
    const initrd = word(FwCfgItem.initrdAddress);
    expect(initrd % 4096).toBe(0);
    expect(initrd).toBeLessThan(0x400_0000 - 0x2_0000);
    // The setup header says the same (boot protocol 2.02: cmd_line_ptr, ramdisk_image, ramdisk_size, heap_end_ptr, loadflags bit 7)
    const header = new DataView(setup.buffer);
    expect([0x228, 0x218, 0x21c].map((at) => header.getUint32(at, true))).toEqual([0x2_0000, initrd, 2]);
    expect(header.getUint16(0x224, true)).toBe(0xfe00);
    expect(setup[0x211] & 0x80).toBe(0x80);
  });

  it('holds anything else in one part', () => {
    const application = new Map(linuxItems({ kernel: new Uint8Array(700).fill(0x4d) }, 0x400_0000));
    expect([application.get(FwCfgItem.setupSize), application.get(FwCfgItem.kernelData)?.length]).toEqual([
      new Uint8Array(4),
      700,
    ]);
    expect([application.get(FwCfgItem.initrdSize), application.get(FwCfgItem.kernelCommandLineSize)]).toEqual([
      new Uint8Array(4),
      new Uint8Array(4),
    ]);
  });

  it('reads zeros after the end of an item and for items it does not have', () => {
    device.setItem(0x05, Uint8Array.of(2, 0));
    expect(read(0x05, 4)).toEqual([2, 0, 0, 0]);
    expect(read(0x77, 2)).toEqual([0, 0]);
  });

  it('lists files by name', () => {
    device.addFile('etc/zebra', Uint8Array.of(9));
    device.addFile('etc/e820', Uint8Array.of(7, 8));
    const directory = Uint8Array.from(read(FwCfgItem.fileDirectory, 4 + 128));
    const view = new DataView(directory.buffer);
    expect(view.getUint32(0)).toBe(2);
    expect(Buffer.from(directory.subarray(12, 20)).toString()).toBe('etc/e820');
    expect(view.getUint32(4)).toBe(2);
    expect(read(view.getUint16(8), 2)).toEqual([7, 8]);
    expect(read(view.getUint16(4 + 64 + 4), 1)).toEqual([9]);
    expect(() => device.addFile('x'.repeat(56), new Uint8Array(1))).toThrow(/56 characters/);
  });

  it('copies by DMA, filling with zeros beyond the end', () => {
    device.addFile('a', Uint8Array.of(1, 2, 3, 4, 5));
    memory.fill(0x100, 16, 0xff);
    expect(dma((0x20 << 16) | 8 | 4, 1, 0)).toBe(0); // select and skip one byte
    expect(dma(2, 8, 0x100)).toBe(0);
    expect([...memory.read(0x100, 9)]).toEqual([2, 3, 4, 5, 0, 0, 0, 0, 0xff]);
  });

  it('reports an error for writes and for targets that are not memory', () => {
    expect(dma((0x20 << 16) | 8 | 16, 1, 0x100)).toBe(bigEndian32(1));
    expect(dma((0 << 16) | 8 | 2, 4, 0xf000_0000)).toBe(bigEndian32(1));
    device.writePort(DMA + 4, 4, bigEndian32(0xfff_fff0)); // no request there
  });

  it('takes any programming', () => {
    const access = fc.tuple(fc.nat(11), fc.constantFrom(1 as const, 2 as const, 4 as const), fc.nat(0xffff_ffff));
    fc.assert(
      fc.property(fc.array(access, { maxLength: 60 }), (accesses) => {
        for (const [at, size, value] of accesses) {
          device.writePort(SELECT + at, size, value);
          expect(device.readPort(SELECT + at, size)).toBeLessThan(2 ** 32);
        }
        const copy = new FwCfg(memory);
        copy.restore(JSON.parse(JSON.stringify(device.save())));
        expect(copy.save()).toEqual(device.save());
      }),
    );
  });

  it('goes on from a saved state in the middle of an item, and refuses malformed ones', () => {
    type Access = readonly [at: number, size: 1 | 2 | 4, value: number];
    const access: fc.Arbitrary<Access> = fc.oneof(
      fc.tuple(fc.nat(11), fc.constantFrom(1 as const, 2 as const, 4 as const), fc.nat(0xffff_ffff)),
      fc.tuple(fc.constant(0), fc.constant(2 as const), fc.constantFrom(0, 1, 3, 0x19, 0x20, 0x21)),
    );
    const accesses = fc.array(access, { maxLength: 30 });
    fc.assert(
      fc.property(accesses, accesses, (before, after) => {
        const [saved, restored] = savedAndRestored<FwCfg, Access>({
          make: () => {
            const made = new FwCfg(new ArrayGuestMemory(0x10000));
            made.addFile('a/file', Uint8Array.of(1, 2, 3));
            made.addFile('b/late', () => Uint8Array.of(4, 5, 6, 7));
            return made;
          },
          act: (device, [at, size, value]) => {
            device.writePort(SELECT + at, size, value);
            return [device.readPort(DATA, size), device.readPort(SELECT + at, size)];
          },
          before,
          after,
          now: 5,
        });
        expect(restored).toEqual(saved);
      }),
    );
    for (const said of refusals(device).values()) {
      expect(said).toMatch('The state of device "fw-cfg" cannot be restored: ');
    }
  });

  it('asks for a file that is made late when the directory or the file is selected, each time anew', () => {
    let made = 0;
    device.addFile('late', () => Uint8Array.of(++made, 9));
    expect(made).toBe(0);
    expect(read(0x20, 3)).toEqual([1, 9, 0]);
    expect(read(FwCfgItem.fileDirectory, 12)).toEqual([0, 0, 0, 1, 0, 0, 0, 2, 0, 0x20, 0, 0]);
    expect(read(0x20, 2)).toEqual([3, 9]);
  });
});
