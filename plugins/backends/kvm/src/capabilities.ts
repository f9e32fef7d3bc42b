/** What KVM on this machine can do, told to the kernel before a VM is opened. */
import type { ControlSupport } from '@visorkit/core';
import type { KvmSupport } from './support.js';

export type IrqchipMode = 'none' | 'kernel' | 'split';

/** Exits that come from KVM by the names of the VMX reasons that they are mapped onto. */
const EXITS = ['triple-fault', 'io', 'ept-violation', 'entry-failure-guest-state', 'preemption-timer'];

export function kvmCapabilities(
  { extensions }: KvmSupport,
  irqchip: IrqchipMode,
  assist: boolean,
): ReadonlySet<string> {
  const has = (name: keyof KvmSupport['extensions']): boolean => (extensions[name] ?? 0) > 0;
  const capabilities = new Set([
    ...EXITS.map((name) => `exit.${name}`),
    'real-time',
    'state.save',
    'dirty-log',
    'kick',
  ]);
  const add = (given: boolean, ...names: string[]): void => {
    if (given) for (const name of names) capabilities.add(name);
  };
  add(irqchip !== 'kernel', 'exit.interrupt-window');
  // With the local APIC in the kernel a halted processor waits there
  add(irqchip === 'none', 'exit.hlt');
  add(has('X86_USER_SPACE_MSR') && has('X86_MSR_FILTER'), 'exit.rdmsr', 'exit.wrmsr', 'msr-filter');
  add(has('SET_GUEST_DEBUG'), 'exit.exception', 'exit.monitor-trap-flag', 'mtf', 'hardware-breakpoints');
  add(has('READONLY_MEM'), 'rom');
  add(has('IOEVENTFD'), 'ioeventfd');
  add(irqchip !== 'none' && has('IRQFD'), 'irqfd');
  add(irqchip !== 'none', `irqchip.${irqchip}`);
  add(((extensions.EXIT_HYPERCALL ?? 0) & (1 << 12)) !== 0, 'hypercall.map-gpa-range');
  add(assist && has('EXIT_ON_EMULATION_FAILURE'), 'emulation-assist');
  return capabilities;
}

/** KVM traps what it traps; of the VMX controls few have a meaning there. */
export function kvmControls({ extensions }: KvmSupport, irqchip: IrqchipMode): ControlSupport {
  const none: ReadonlySet<string> = new Set();
  const fixed = new Set(
    irqchip === 'none' ? ['hlt-exiting', 'unconditional-io-exiting'] : ['unconditional-io-exiting'],
  );
  const debug = (extensions.SET_GUEST_DEBUG ?? 0) > 0;
  return {
    allowed: {
      pin: none,
      primary: new Set([...fixed, ...(debug ? ['monitor-trap-flag'] : [])]),
      secondary: none,
      exit: none,
      entry: none,
    },
    fixed: { primary: fixed },
    exceptions: new Set(debug ? [1, 3] : []),
    msrs: (extensions.X86_USER_SPACE_MSR ?? 0) > 0 && (extensions.X86_MSR_FILTER ?? 0) > 0,
  };
}
