/** What KVM says of the processor, whichever of the host's processors was asked. */
import type { CpuidEntry } from '@visorkit/core';
import { expect, it } from 'vitest';
import { isAmd, withoutIdentity } from './cpuid.js';

/** Answers of a host's processor with this APIC ID. */
const answers = (id: number): CpuidEntry[] =>
  [
    { leaf: 0, subleaf: 0, indexed: false, eax: 0x1f, ebx: 0x6874_7541, ecx: 0x444d_4163, edx: 0x6974_6e65 },
    {
      leaf: 1,
      subleaf: 0,
      indexed: false,
      eax: 0x00a2_0f12,
      ebx: (id << 24) | 0x2_0800,
      ecx: 0x8e98_3203,
      edx: 0x078b_fbff,
    },
    { leaf: 0x0b, subleaf: 1, indexed: true, eax: 1, ebx: 2, ecx: 0x201, edx: id },
    { leaf: 0x1f, subleaf: 0, indexed: true, eax: 0, ebx: 1, ecx: 0x100, edx: id },
    { leaf: 0x8000_001e, subleaf: 0, indexed: false, eax: id, ebx: 0x100 | id, ecx: 0x300 | id, edx: 0 },
  ].map((entry) => ({ ...entry, ebx: entry.ebx >>> 0 }));

it('is the same for all of them, and leaves the rest as it is', () => {
  const [first, other] = [answers(0).map(withoutIdentity), answers(0x83).map(withoutIdentity)];
  expect(other).toEqual(first);
  expect(first.map(({ ebx }) => ebx)).toEqual([0x6874_7541, 0x2_0800, 2, 1, 0x100]);
  expect(first.map(({ ecx }) => ecx)).toEqual([0x444d_4163, 0x8e98_3203, 0x201, 0x100, 0x300]);
});

it('tells whose virtualisation the processor has', () => {
  expect(isAmd(answers(0))).toBe(true);
  expect(isAmd(answers(0).map((entry) => ({ ...entry, ebx: entry.leaf === 0 ? 0x756e_6547 : entry.ebx })))).toBe(false);
});
