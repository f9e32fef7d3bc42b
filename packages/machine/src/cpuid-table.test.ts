/** The CPUID leaves that a guest is shown. */
import { expect, it } from 'vitest';
import type { Vcpu } from '@visorkit/core';
import { CpuidTable, EAX, EDX } from './index.js';

const vcpu = {} as Vcpu;

it('keeps leaves and subleaves, and changes them', () => {
  const table = new CpuidTable([
    { leaf: 0, subleaf: 0, indexed: false, eax: 4, ebx: 0, ecx: 0, edx: 0 },
    { leaf: 4, subleaf: 1, indexed: true, eax: 9, ebx: 0, ecx: 0, edx: 0 },
  ]);
  expect(table.execute(0, 77, vcpu)[EAX]).toBe(4);
  expect(table.execute(4, 1, vcpu)[EAX]).toBe(9);
  expect(table.execute(4, 2, vcpu)[EAX]).toBe(0);
  expect(table.execute(99, 1, vcpu)[EAX]).toBe(9);
  table.patch(4, 1, ({ eax }) => ({ eax: eax + 1, edx: -1 }));
  expect(table.execute(4, 1, vcpu)[EDX]).toBe(0xffff_ffff);
  expect(table.get(4, 1)?.eax).toBe(10);
  const undo = table.atExecution(3, (result) => {
    result[EAX] = 5;
  });
  expect(table.execute(3, 0, vcpu)[EAX]).toBe(5);
  undo();
  expect(table.execute(3, 0, vcpu)[EAX]).toBe(0);
  table.set({ leaf: 0x4000_0000, subleaf: 0, indexed: false, eax: 0x4000_0001, ebx: 1, ecx: 0, edx: 0 });
  expect(table.execute(0x4000_0000, 0, vcpu)[EAX]).toBe(0x4000_0001);
  expect(table.entries().map(({ leaf }) => leaf)).toEqual([0, 4, 0x4000_0000]);
});

it('gives zeros above the highest leaf where the vendor is AMD (APM 3, CPUID)', () => {
  const table = new CpuidTable([
    { leaf: 0, subleaf: 0, indexed: false, eax: 1, ebx: 0x6874_7541, ecx: 0x444d_4163, edx: 0x6974_6e65 },
    { leaf: 1, subleaf: 0, indexed: false, eax: 7, ebx: 0, ecx: 0, edx: 0 },
  ]);
  expect(table.execute(1, 0, vcpu)[EAX]).toBe(7);
  expect([...table.execute(2, 0, vcpu)]).toEqual([0, 0, 0, 0]);
  expect([...table.execute(0x8000_0000, 0, vcpu)]).toEqual([0, 0, 0, 0]);
});
