/** The tables of the processor in AssemblyScript and those of packages/x86 say the same. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { CONTROL_TABLES, VMCS_FIELDS, controlBits } from '@visorkit/x86';
import { processorCpuid } from './cpuid.js';
import { VMCS as VMCS_AREA } from './layout.js';
import { VMCS, VMCS_BYTES } from './vmcs-layout.js';
import { Vmcs, fieldAddress, fieldBytes } from './vmcs.js';

describe('the two sides of the processor', () => {
  it('have the same control bits', () => {
    // assembly/vmx/controls.ts is AssemblyScript: read as text
    const text = readFileSync(new URL('../assembly/vmx/controls.ts', import.meta.url), 'utf8');
    const bits = [...text.matchAll(/export const (PIN|PRIMARY|SECONDARY|EXIT|ENTRY)_\w+: u32 = 1 << (\d+);/g)].map(
      ([, table, bit]) => [table.toLowerCase(), Number(bit)] as const,
    );
    expect(bits.length).toBeGreaterThan(60);
    for (const [table, bit] of bits) {
      expect(Object.values(CONTROL_TABLES[table as keyof typeof CONTROL_TABLES]), `${table} bit ${bit}`).toContain(bit);
    }
    expect(controlBits('secondary', ['enable-ept', 'unrestricted-guest'])).toBe(0x82);
  });

  it('have the VMCS at the same place', () => expect(VMCS).toBe(VMCS_AREA));
});

describe('places of VMCS fields', () => {
  it('do not overlap and lie in the state block or the VMCS', () => {
    const taken = new Map<number, string>();
    for (const { encoding, name } of VMCS_FIELDS) {
      const address = fieldAddress(encoding);
      if (name === 'GUEST_RFLAGS') {
        expect(address).toBe(-2);
        continue;
      }
      expect(address).toBeGreaterThanOrEqual(0x1000);
      expect(address + fieldBytes(encoding)).toBeLessThanOrEqual(VMCS + VMCS_BYTES);
      for (let i = 0; i < fieldBytes(encoding); i++) {
        expect(taken.get(address + i), name).toBeUndefined();
        taken.set(address + i, name);
      }
    }
  });

  it('reads and writes every width, and high halves', () => {
    let flags = 2;
    const vmcs = new Vmcs(new ArrayBuffer(0x10000), {
      read: () => flags,
      write: (value) => {
        flags = value;
      },
    });
    vmcs.write64(0x2010, 0x1122_3344_5566_7788n);
    expect([vmcs.read32(0x2010), vmcs.read32(0x2011), vmcs.read64(0x2010)]).toEqual([
      0x55667788,
      0x11223344,
      0x1122334455667788n,
    ]);
    vmcs.write32(0x2011, 0xffffffff);
    expect(vmcs.read64(0x2010)).toBe(0xffffffff55667788n);
    vmcs.write32(0x2010, 1);
    expect(vmcs.read64(0x2010)).toBe(1n);
    vmcs.write32(0x0802, 0x12345);
    vmcs.write32(0, 0x12345);
    expect(vmcs.read32(0)).toBe(0x2345);
    vmcs.write64(0x6820, 0x202n);
    expect([flags, vmcs.read64(0x6820)]).toEqual([0x202, 0x202n]);
    expect(() => vmcs.read32(0x4bfe)).toThrow('no VMCS field with encoding 0x4bfe');
  });
});

describe('CPUID', () => {
  it('reports an Intel processor of the features asked for', () => {
    const find = (leaf: number, subleaf = 0) =>
      processorCpuid().find((entry) => entry.leaf === leaf && entry.subleaf === subleaf)!;
    expect([find(0).ebx, find(0).edx, find(0).ecx]).toEqual([0x756e6547, 0x49656e69, 0x6c65746e]);
    expect((find(1).ecx >>> 5) & 1).toBe(0); // no VMX for the guest
    expect((find(1).ecx >>> 31) & 1).toBe(1);
    expect(find(0xd)).toMatchObject({ eax: 0x207, ecx: 2696 });
    expect([find(7).eax, find(7, 2).edx]).toEqual([2, 1 << 4]);
    expect(find(0x15)).toMatchObject({ eax: 1, ebx: 1, ecx: 1e9 });
    expect(find(0x80000008).eax).toBe(0x392e);
    const small = processorCpuid(['fpu', 'sse2']);
    expect(small.find((entry) => entry.leaf === 1)).toMatchObject({ edx: (1 << 26) | 1, ecx: 0 });
    expect(small.some((entry) => entry.leaf === 0xd)).toBe(false);
  });
});
