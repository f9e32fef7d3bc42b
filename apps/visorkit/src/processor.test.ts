/** `--cpu`: which features are left out, and which words are refused. */
import { PHYSICAL_ADDRESS_BITS, PROCESSOR_FEATURES } from '@visorkit/engine';
import { describe, expect, it } from 'vitest';
import { parseProcessor } from './processor.js';

describe('--cpu', () => {
  it('is everything, but for what is left out', () => {
    expect(parseProcessor('max')).toEqual({
      features: PROCESSOR_FEATURES,
      vendor: 'intel',
      physicalAddressBits: PHYSICAL_ADDRESS_BITS,
    });
    const { features, vendor, physicalAddressBits } = parseProcessor('max,-x2apic,+pcid,-hle,vendor=amd,phys-bits=36');
    expect([
      features.includes('x2apic'),
      features.includes('pcid'),
      features.length,
      vendor,
      physicalAddressBits,
    ]).toEqual([false, true, PROCESSOR_FEATURES.length - 1, 'amd', 36]);
  });
  it.each([
    ['qemu64', /begins with max/],
    ['max,vendor=via', /intel or amd/],
    ['max,phys-bits=52', /from 32 to/],
    ['max,-fast', /-fast/],
    ['max,+hle', /does not have/],
    ['max,', /""/],
  ])('refuses %s', (text, message) => {
    expect(() => parseProcessor(text)).toThrow(message);
  });
});
