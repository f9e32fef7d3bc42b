/** ACPI tables, read as an operating system reads them. */
import { describe, expect, it } from 'vitest';
import { place, layOut, sum } from './table-set.js';
import { FACS_WAKING_VECTOR, acpiTables } from './tables.js';
import type { AcpiContents } from './tables.js';
import { LOADER_FILE, RSDP_FILE, TABLES_FILE, loaderFiles } from './table-loader.js';

const BASE = 0xe0000;
const contents: AcpiContents = {
  cpus: 2,
  serial: [{ base: 0x3f8, irq: 4 }],
  rtc: true,
  vga: false,
  keyboard: true,
  pit: true,
  hpet: true,
  pci: true,
  extra: [],
  ioApic: 0xfec0_0000,
  apicIds: [0, 1],
  resetRegister: true,
  pmBase: 0x600,
};

/** Reads the tables as an operating system does: root pointer, root tables, signatures. */
class Reader {
  readonly view: DataView;
  constructor(
    readonly bytes: Uint8Array,
    readonly base: number,
  ) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
  u32(address: number): number {
    return this.view.getUint32(address - this.base, true);
  }
  u64(address: number): number {
    return Number(this.view.getBigUint64(address - this.base, true));
  }
  u8(address: number): number {
    return this.view.getUint8(address - this.base);
  }
  u16(address: number): number {
    return this.view.getUint16(address - this.base, true);
  }
  text(address: number, length: number): string {
    return Buffer.from(this.bytes.subarray(address - this.base, address - this.base + length)).toString('latin1');
  }
  checksum(address: number, length: number): number {
    return sum(this.bytes.subarray(address - this.base, address - this.base + length));
  }
  find(signature: string): number {
    const rsdt = this.u32(this.base + 16);
    for (let at = rsdt + 36; at < rsdt + this.u32(rsdt + 4); at += 4)
      if (this.text(this.u32(at), 4) === signature) return this.u32(at);
    return 0;
  }
}

const placed = (which = contents): Reader => {
  const acpi = acpiTables(which);
  return new Reader(place([acpi.rootPointer, ...acpi.tables], BASE), BASE);
};

describe('ACPI tables (ACPI 6.4, 5.2)', () => {
  it('have a root pointer with both checksums', () => {
    const reader = placed();
    expect(reader.text(BASE, 8)).toBe('RSD PTR ');
    expect(reader.checksum(BASE, 20)).toBe(0);
    expect(reader.checksum(BASE, 36)).toBe(0);
    expect(reader.u8(BASE + 15)).toBe(2);
  });

  it('list the same tables in RSDT and XSDT, each with a right checksum', () => {
    const reader = placed();
    const rsdt = reader.u32(BASE + 16);
    const xsdt = reader.u64(BASE + 24);
    expect([reader.text(rsdt, 4), reader.text(xsdt, 4)]).toEqual(['RSDT', 'XSDT']);
    const count = (reader.u32(rsdt + 4) - 36) / 4;
    expect((reader.u32(xsdt + 4) - 36) / 8).toBe(count);
    const found: string[] = [];
    for (let index = 0; index < count; index++) {
      const table = reader.u32(rsdt + 36 + 4 * index);
      expect(reader.u64(xsdt + 36 + 8 * index)).toBe(table);
      expect(reader.checksum(table, reader.u32(table + 4))).toBe(0);
      found.push(reader.text(table, 4));
    }
    expect(found).toEqual(['FACP', 'APIC', 'HPET']);
    expect(reader.checksum(rsdt, reader.u32(rsdt + 4))).toBe(0);
    expect(reader.checksum(xsdt, reader.u32(xsdt + 4))).toBe(0);
  });

  it('tell the power management ports, and point to FACS and DSDT', () => {
    const reader = placed();
    const fadt = reader.find('FACP');
    expect(reader.u32(fadt + 4)).toBe(276);
    expect([56, 64, 76].map((offset) => reader.u32(fadt + offset))).toEqual([0x600, 0x604, 0x608]);
    const facs = reader.u32(fadt + 36);
    expect(reader.text(facs, 4)).toBe('FACS');
    expect(facs % 64).toBe(0);
    expect(reader.u32(facs + FACS_WAKING_VECTOR)).toBe(0);
    const dsdt = reader.u32(fadt + 40);
    expect(reader.u64(fadt + 140)).toBe(dsdt);
    expect(reader.text(dsdt, 4)).toBe('DSDT');
    expect(reader.checksum(dsdt, reader.u32(dsdt + 4))).toBe(0);
    // Reset register: one byte of 6 to port 0xcf9.
    expect([reader.u8(fadt + 116), reader.u64(fadt + 120), reader.u8(fadt + 128)]).toEqual([1, 0xcf9, 6]);
  });

  it('say whether there is a VGA (5.2.9.3, bit 2)', () => {
    const flags = [false, true].map((vga) => {
      const reader = placed({ ...contents, vga });
      return reader.u8(reader.find('FACP') + 109) & 4;
    });
    expect(flags).toEqual([4, 0]);
  });

  it('list processors, the I/O APIC, overrides and the NMI in the MADT', () => {
    const reader = placed();
    const madt = reader.find('APIC');
    const entries: number[][] = [];
    for (let at = madt + 44; at < madt + reader.u32(madt + 4); at += reader.u8(at + 1)) {
      entries.push(Array.from({ length: reader.u8(at + 1) }, (_, index) => reader.u8(at + index)));
    }
    expect(entries.map(([type]) => type)).toEqual([0, 0, 1, 2, 2, 2, 2, 2, 4]);
    expect(entries[1]).toEqual([0, 8, 1, 1, 1, 0, 0, 0]);
    expect(entries[3].slice(2)).toEqual([0, 0, 2, 0, 0, 0, 0, 0]);
    expect(entries[5].slice(2)).toEqual([0, 9, 9, 0, 0, 0, 0x0d, 0]);
    expect(entries[8].slice(2)).toEqual([0xff, 0, 0, 1]);
  });

  it('leave out what the machine does not have', () => {
    const reader = placed({ ...contents, hpet: false, ioApic: undefined });
    expect(reader.find('APIC')).toBe(0);
    expect(reader.find('HPET')).toBe(0);
  });
});

describe('the table loader of fw_cfg', () => {
  it('gives a firmware what it needs to make the same tables', () => {
    const acpi = acpiTables(contents);
    const files = loaderFiles(acpi);
    const script = files.get(LOADER_FILE) as Uint8Array;
    expect(script.length % 128).toBe(0);
    // Carries out the script as a firmware does.
    const address = new Map([
      [RSDP_FILE, BASE],
      [TABLES_FILE, BASE + 64],
    ]);
    const memory = new Map([...files].map(([name, data]) => [name, data.slice()]));
    const view = new DataView(script.buffer);
    const text = (at: number): string =>
      Buffer.from(script.subarray(at, at + 56))
        .toString('latin1')
        .replace(/\0.*$/s, '');
    for (let at = 0; at < script.length; at += 128) {
      const file = text(at + 4);
      const data = memory.get(file) as Uint8Array;
      const target = new DataView(data.buffer);
      if (view.getUint32(at, true) === 1) continue;
      if (view.getUint32(at, true) === 2) {
        const offset = view.getUint32(at + 116, true);
        target.setUint32(offset, target.getUint32(offset, true) + (address.get(text(at + 60)) as number), true);
      } else {
        const [where, start, length] = [60, 64, 68].map((field) => view.getUint32(at + field, true));
        data[where] = -sum(data.subarray(start, start + length)) & 0xff;
      }
    }
    // The same bytes as when visorkit places them with the root pointer 64 bytes ahead.
    const { length } = layOut(acpi.tables);
    expect(memory.get(TABLES_FILE)).toEqual(place(acpi.tables, BASE + 64).subarray(0, length));
    expect(sum(memory.get(RSDP_FILE) as Uint8Array)).toBe(0);
  });
});
