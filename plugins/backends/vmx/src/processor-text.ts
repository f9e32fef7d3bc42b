/** Which processor the guest sees, as text (`--cpu` of the command line): everything that the backend has but for what is left out. */
import { fail } from '@visorkit/core';
import { PHYSICAL_ADDRESS_BITS, PROCESSOR_FEATURES } from '@visorkit/engine';
import type { ProcessorVendor } from '@visorkit/engine';
import { CPUID_FEATURES } from '@visorkit/x86';

export interface Processor {
  readonly features: readonly string[];
  readonly vendor: ProcessorVendor;
  readonly physicalAddressBits: number;
}

const VENDORS: Readonly<Record<string, ProcessorVendor>> = {
  intel: 'intel',
  amd: 'amd',
  GenuineIntel: 'intel',
  AuthenticAMD: 'amd',
};

/** Reads `max`, followed by any of `-feature`, `+feature`, `vendor=intel|amd` and `phys-bits=N`, separated by commas. */
export function parseProcessor(text: string): Processor {
  const features = new Set(PROCESSOR_FEATURES);
  let vendor: ProcessorVendor = 'intel';
  let physicalAddressBits = PHYSICAL_ADDRESS_BITS;
  const [base, ...rest] = text.split(',');
  if (base !== 'max')
    fail('OPTION_VALUE', `--cpu begins with max, not "${base}": say max,-name to leave features out.`, {
      option: '--cpu',
      value: text,
    });
  for (const item of rest) {
    const [key, value] = item.split('=', 2);
    if (key === 'vendor') {
      vendor =
        VENDORS[value ?? ''] ??
        fail('OPTION_VALUE', `--cpu: vendor is intel or amd, not "${value ?? ''}".`, { option: '--cpu', value: text });
    } else if (key === 'phys-bits') {
      const bits = Number(value);
      if (!Number.isInteger(bits) || bits < 32 || bits > PHYSICAL_ADDRESS_BITS)
        fail(
          'OPTION_VALUE',
          `--cpu: phys-bits is a whole number from 32 to ${PHYSICAL_ADDRESS_BITS}, not "${value ?? ''}".`,
          { option: '--cpu', value: text },
        );
      physicalAddressBits = bits;
    } else {
      const sign = item[0],
        name = item.slice(1);
      if ((sign !== '+' && sign !== '-') || !CPUID_FEATURES.has(name)) {
        fail(
          'OPTION_VALUE',
          `--cpu: "${item}" is none of -feature, +feature, vendor=, phys-bits=. Features are ${[...CPUID_FEATURES.keys()].join(', ')}.`,
          { option: '--cpu', value: text },
        );
      }
      if (sign === '-') features.delete(name);
      else if (!PROCESSOR_FEATURES.includes(name))
        fail('CPU_FEATURE', `--cpu asks for ${name}, which the vmx backend's processor does not have.`, {
          option: '--cpu',
          feature: name,
        });
      else features.add(name);
    }
  }
  return { features: [...features], vendor, physicalAddressBits };
}
