/**
 * VM-execution, VM-exit and VM-entry controls (Intel SDM volume 3C, 25.6 to 25.8), by the names that plugins use: the SDM's, in
 * kebab case. A value is the bit number.
 */

export const PIN_CONTROLS = {
  'external-interrupt-exiting': 0,
  'nmi-exiting': 3,
  'virtual-nmis': 5,
  'activate-preemption-timer': 6,
  'process-posted-interrupts': 7,
} as const;

export const PRIMARY_CONTROLS = {
  'interrupt-window-exiting': 2,
  'use-tsc-offsetting': 3,
  'hlt-exiting': 7,
  'invlpg-exiting': 9,
  'mwait-exiting': 10,
  'rdpmc-exiting': 11,
  'rdtsc-exiting': 12,
  'cr3-load-exiting': 15,
  'cr3-store-exiting': 16,
  'activate-tertiary-controls': 17,
  'cr8-load-exiting': 19,
  'cr8-store-exiting': 20,
  'use-tpr-shadow': 21,
  'nmi-window-exiting': 22,
  'mov-dr-exiting': 23,
  'unconditional-io-exiting': 24,
  'use-io-bitmaps': 25,
  'monitor-trap-flag': 27,
  'use-msr-bitmaps': 28,
  'monitor-exiting': 29,
  'pause-exiting': 30,
  'activate-secondary-controls': 31,
} as const;

export const SECONDARY_CONTROLS = {
  'virtualize-apic-accesses': 0,
  'enable-ept': 1,
  'descriptor-table-exiting': 2,
  'enable-rdtscp': 3,
  'virtualize-x2apic-mode': 4,
  'enable-vpid': 5,
  'wbinvd-exiting': 6,
  'unrestricted-guest': 7,
  'apic-register-virtualization': 8,
  'virtual-interrupt-delivery': 9,
  'pause-loop-exiting': 10,
  'rdrand-exiting': 11,
  'enable-invpcid': 12,
  'enable-vm-functions': 13,
  'vmcs-shadowing': 14,
  'enable-encls-exiting': 15,
  'rdseed-exiting': 16,
  'enable-pml': 17,
  'ept-violation-ve': 18,
  'conceal-vmx-from-pt': 19,
  'enable-xsaves': 20,
  'pasid-translation': 21,
  'mode-based-execute-control': 22,
  'sub-page-write-permissions': 23,
  'pt-uses-guest-physical': 24,
  'use-tsc-scaling': 25,
  'enable-user-wait-and-pause': 26,
  'enable-pconfig': 27,
  'enable-enclv-exiting': 28,
  'vmm-bus-lock-detection': 30,
  'instruction-timeout': 31,
} as const;

export const EXIT_CONTROLS = {
  'save-debug-controls': 2,
  'host-address-space-size': 9,
  'load-perf-global-ctrl': 12,
  'acknowledge-interrupt-on-exit': 15,
  'save-pat': 18,
  'load-pat': 19,
  'save-efer': 20,
  'load-efer': 21,
  'save-preemption-timer': 22,
  'clear-bndcfgs': 23,
  'conceal-vmx-from-pt': 24,
  'clear-rtit-ctl': 25,
  'clear-lbr-ctl': 26,
  'clear-uinv': 27,
  'load-cet-state': 28,
  'load-pkrs': 29,
  'save-perf-global-ctrl': 30,
  'activate-secondary-controls': 31,
} as const;

export const ENTRY_CONTROLS = {
  'load-debug-controls': 2,
  'ia-32e-mode-guest': 9,
  'entry-to-smm': 10,
  'deactivate-dual-monitor': 11,
  'load-perf-global-ctrl': 13,
  'load-pat': 14,
  'load-efer': 15,
  'load-bndcfgs': 16,
  'conceal-vmx-from-pt': 17,
  'load-rtit-ctl': 18,
  'load-uinv': 19,
  'load-cet-state': 20,
  'load-lbr-ctl': 21,
  'load-pkrs': 22,
  'load-fred': 23,
  'load-spec-ctrl': 24,
} as const;

export const CONTROL_TABLES = {
  pin: PIN_CONTROLS,
  primary: PRIMARY_CONTROLS,
  secondary: SECONDARY_CONTROLS,
  exit: EXIT_CONTROLS,
  entry: ENTRY_CONTROLS,
} as const;
export type ControlTableName = keyof typeof CONTROL_TABLES;

/** The field value that has these controls set, as an unsigned number. Throws RangeError for a name the table does not have. */
export function controlBits(table: ControlTableName, names: Iterable<string>): number {
  const bits = CONTROL_TABLES[table] as Readonly<Record<string, number>>;
  let value = 0;
  for (const name of names) {
    const bit = bits[name];
    if (bit === undefined)
      throw new RangeError(`"${name}" is not a ${table} control; they are ${Object.keys(bits).join(', ')}`);
    value = (value | (1 << bit)) >>> 0;
  }
  return value;
}

/** The names of the controls set in a field value; bits without a name are left out. */
export function controlNames(table: ControlTableName, value: number): string[] {
  return Object.entries(CONTROL_TABLES[table])
    .filter(([, bit]) => (value >>> bit) & 1)
    .map(([name]) => name);
}
