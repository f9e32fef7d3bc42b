/**
 * VMX in the processor that `--cpu` describes: `max,+vmx` lets the guest be a hypervisor, and `-vmx-NAME` takes one of its features away, by the names that
 * QEMU has for them.
 */
import { fail } from '@visorkit/core';
import type { NestedVmxOptions } from '@visorkit/nested-vmx';
import type { Plugin } from '@visorkit/core';

const FEATURES: Readonly<Record<string, keyof NestedVmxOptions>> = {
  'vmx-ept': 'ept',
  'vmx-eptad': 'eptAccessedDirty',
  'vmx-unrestricted-guest': 'unrestrictedGuest',
  'vmx-vpid': 'vpid',
  'vmx-shadow-vmcs': 'shadowVmcs',
  'vmx-flexpriority': 'flexpriority',
  'vmx-apicv': 'apicv',
  'vmx-preemption-timer': 'preemptionTimer',
  'vmx-pml': 'pml',
  'vmx-vmfunc': 'vmFunctions',
  'vmx-ept-ve': 'virtualizationException',
  'vmx-tsc-scaling': 'tscScaling',
  'vmx-mbec': 'mbec',
  'vmx-spp': 'spp',
  'vmx-user-wait-pause': 'userWait',
  'vmx-bus-lock-detection': 'busLockDetection',
  'vmx-instruction-timeout': 'instructionTimeout',
};

/** What `--cpu` says of VMX as a plugin, and the rest of it, which is the backend's. */
export async function takeVmx(cpu: string | undefined): Promise<{ readonly cpu?: string; readonly plugin?: Plugin }> {
  if (cpu === undefined) return {};
  const [base, ...items] = cpu.split(',');
  let vmx = false;
  const options: { -readonly [Name in keyof NestedVmxOptions]: boolean } = {};
  const rest = items.filter((item) => {
    const name = item.replace(/^[+-]/, ''),
      on = item[0] !== '-';
    if (name === 'vmx') {
      vmx = on;
      return false;
    }
    if (!name.startsWith('vmx-')) return true;
    const option = FEATURES[name];
    if (option === undefined)
      fail(
        'OPTION_VALUE',
        `--cpu: "${name}" is no feature of VMX that can be left out; those are ${Object.keys(FEATURES).join(', ')}.`,
        { option: '--cpu', value: cpu },
      );
    options[option] = on;
    return false;
  });
  const text = [base, ...rest].join(',');
  if (!vmx) return { cpu: text };
  const { nestedVmx } = await import('@visorkit/nested-vmx'); // others need not load it
  return { cpu: text, plugin: nestedVmx(options) };
}
