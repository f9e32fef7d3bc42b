/** What the software VT-x processor can do, told to the kernel before a VM is opened. */
import type { ControlSupport } from '@visorkit/core';
import * as layout from '@visorkit/engine/vmcs-layout';
import { controlNames, exitReasonName } from '@visorkit/x86';

/** Reasons that the processor gives. */
const EXITS = [
  0, 2, 7, 8, 9, 10, 12, 13, 14, 15, 16, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 36, 37, 39,
  40, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 61, 62, 63, 64, 66, 67, 68, 74, 75,
];

export const VMX_CAPABILITIES: ReadonlySet<string> = new Set([
  ...EXITS.map((reason) => `exit.${exitReasonName(reason)}`),
  'vmcs',
  'vmcs.regions',
  'ept',
  'ept.execute-only',
  'ept.accessed-dirty',
  'ept.views',
  'ept.large-pages',
  'emulation',
  'cr-bits',
  'mtf',
  'vmfunc',
  'virtualization-exception',
  'dirty-log',
  'exception-exits',
  'msr-bitmap',
  'io-bitmap',
  'unrestricted-guest',
  'hypercall',
  'deterministic',
  'instruction-count',
  'state.save',
  'rom',
  'virtual-time',
  'real-time',
  'tsc-offset',
  'tsc-scaling',
  'preemption-timer',
  'code-samples',
]);

/** Controls that the backend always sets. */
export const FIXED_CONTROLS = {
  pin: ['nmi-exiting', 'virtual-nmis'],
  primary: ['use-msr-bitmaps', 'use-io-bitmaps', 'activate-secondary-controls'],
  secondary: [
    'enable-ept',
    'enable-vpid',
    'unrestricted-guest',
    'enable-rdtscp',
    'enable-invpcid',
    'enable-xsaves',
    'enable-user-wait-and-pause',
  ],
  exit: ['host-address-space-size', 'save-debug-controls', 'save-pat', 'save-efer', 'load-efer'],
  entry: ['load-debug-controls', 'load-pat', 'load-efer'],
} as const;

/** Controls the backend sets and clears by itself while the VM runs: plugins go through the vCPU for them. */
const OWN = new Set([
  'interrupt-window-exiting',
  'nmi-window-exiting',
  'ia-32e-mode-guest',
  'unconditional-io-exiting',
  'vmcs-shadowing',
]);

function allowed(table: 'pin' | 'primary' | 'secondary' | 'exit' | 'entry', mask: number): ReadonlySet<string> {
  return new Set(controlNames(table, mask).filter((name) => !OWN.has(name)));
}

export const VMX_CONTROLS: ControlSupport = {
  crBits: true,
  allowed: {
    pin: allowed('pin', layout.PIN_ALLOWED),
    primary: allowed('primary', layout.PRIMARY_ALLOWED),
    secondary: allowed('secondary', layout.SECONDARY_ALLOWED),
    exit: allowed('exit', layout.EXIT_ALLOWED),
    entry: allowed('entry', layout.ENTRY_ALLOWED),
  },
  fixed: {
    pin: new Set(FIXED_CONTROLS.pin),
    primary: new Set(FIXED_CONTROLS.primary),
    secondary: new Set(FIXED_CONTROLS.secondary),
    exit: new Set(FIXED_CONTROLS.exit),
    entry: new Set(FIXED_CONTROLS.entry),
  },
};
