/** Names that plugins write as text: capabilities of backends and VM-execution controls. An editor completes them, and a wrong one is refused. */
import type { CONTROL_TABLES, ExitName } from '@visorkit/x86';
import { EXIT_NAMES } from '@visorkit/x86';

/** Capabilities beside `exit.<reason>`, with what they mean. */
const KNOWN = {
  vmcs: 'handlers may read and write the fields of the VMCS',
  'vmcs.regions': 'a plugin may run the guest with VMCSs of its own',
  ept: 'guest-physical addresses are translated by EPT that the framework builds',
  'ept.execute-only': 'a page may be executed while it cannot be read',
  'ept.accessed-dirty': 'EPT accessed and dirty flags',
  'ept.views': 'several views of guest memory',
  'ept.large-pages': 'EPT pages of 2 MiB and 1 GiB',
  emulation: 'one access or one instruction may be let through, replaced or left out by a handler',
  'cr-bits': 'exits of writes to CR0 and CR4 by bit',
  mtf: 'an exit after each instruction',
  vmfunc: 'VM functions, EPTP switching among them',
  'virtualization-exception': '#VE instead of an exit',
  'dirty-log': 'which pages the guest has written',
  'exception-exits': 'an exit of any exception vector',
  'msr-bitmap': 'exits by MSR',
  'msr-filter': 'exits of the MSRs that plugins name',
  'io-bitmap': 'exits by port',
  'unrestricted-guest': 'real mode without emulation',
  hypercall: 'VMCALL exits with any number',
  'hypercall.map-gpa-range': 'the KVM hypercall that shares pages',
  deterministic: 'the same image and inputs give the same run',
  'instruction-count': 'retired instructions are counted exactly',
  'state.save': 'the state of vCPUs can be saved and restored',
  rom: 'read-only memory outside RAM',
  'virtual-time': 'time may advance with retired instructions',
  'real-time': "time may follow the host's clock",
  'tsc-offset': 'an offset of the time stamp counter',
  'tsc-scaling': 'a factor of the time stamp counter',
  'preemption-timer': 'the VMX-preemption timer',
  'code-samples': 'what the guest runs is looked at every so many instructions',
  'hardware-breakpoints': "breakpoints in the processor's debug registers",
  'emulation-assist': 'the software processor executes what the kernel cannot',
  ioeventfd: 'writes to doorbells that do not leave the kernel',
  irqfd: 'interrupts raised by an eventfd',
  'irqchip.kernel': 'interrupt controllers in the kernel',
  'irqchip.split': 'local APICs in the kernel, the rest outside',
  kick: 'a vCPU that runs can be made to exit from another thread',
} as const;

/** Backends from outside add theirs: `declare module '@visorkit/core' { interface MoreCapabilities { 'my.thing': true } }`. */
// biome-ignore lint/suspicious/noEmptyInterface: it is there to be extended
export interface MoreCapabilities {}

/** What a backend can do. */
export type Capability = `exit.${ExitName}` | keyof typeof KNOWN | (keyof MoreCapabilities & string);

/** Every capability this kernel knows. */
export const CAPABILITIES: readonly string[] = [...EXIT_NAMES.map((name) => `exit.${name}`), ...Object.keys(KNOWN)];

/** The groups of VM-execution, VM-exit and VM-entry controls (SDM 3C, 25.6 to 25.8). */
export const CONTROL_GROUPS = ['pin', 'primary', 'secondary', 'exit', 'entry'] as const;
export type ControlGroup = (typeof CONTROL_GROUPS)[number];

/** Names of the controls of a group: the SDM's, in kebab case. */
export type ControlName<Group extends ControlGroup> = keyof (typeof CONTROL_TABLES)[Group];
