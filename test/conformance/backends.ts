/** The backends that the suite runs on. A new one passes by being added here. */
import { existsSync } from 'node:fs';
import { checkKvm, kvm } from '@visorkit/backend-kvm';
import { vmx } from '@visorkit/backend-vmx';
import type { Backend, Capability } from '@visorkit/core';
import { it } from 'vitest';

/** What a kernel may fail at although the architecture has it, and this suite then leaves out. */
export const DEVIATIONS = {
  'legacy-paging': 'paging outside long mode',
  'prompt-interrupts': 'an interrupt window before the guest exits for another reason',
  'user-calls': 'SYSCALL and INT n of ring 3 as the architecture has them',
  'ring-0-debugging':
    'exits at debug exceptions and INT3 of ring 0, whose instructions the kernel carries out, and steps counted from an OUT on',
  'shutdown-state': 'the registers of a guest that triple-faulted, which AMD processors do not keep',
} as const;
export type Deviation = keyof typeof DEVIATIONS;

export interface ConformingBackend {
  readonly name: string;
  /** The function that makes it, and the folder of its package. */
  readonly factory: string;
  /** The time the guests run in. */
  readonly time: 'virtual' | 'real';
  /** Why it cannot be used on this machine, undefined when it can. */
  unusable(): string | undefined;
  /** What this machine's form of it fails at. */
  readonly lacks: ReadonlySet<Deviation>;
  /** A new one for each VM. */
  make(): Backend;
}

/** KVM without help of the processor (module kvm_pvm): 64-bit guests that know of it are what it is made for. */
const SOFTWARE_KVM = existsSync('/sys/module/kvm_pvm');
const AMD_KVM = existsSync('/sys/module/kvm_amd');

const ALL: readonly ConformingBackend[] = [
  {
    name: 'vmx',
    factory: 'vmx',
    time: 'virtual',
    lacks: new Set(),
    unusable: () => undefined,
    make: () => vmx({ translate: false }),
  },
  {
    name: 'vmx translated',
    factory: 'vmx',
    time: 'virtual',
    lacks: new Set(),
    unusable: () => undefined,
    // from the second execution of a block on, so that all but straight code is
    make: () => vmx({ translate: 1 }),
  },
  {
    name: 'kvm',
    factory: 'kvm',
    time: 'real',
    lacks: new Set<Deviation>([
      ...(SOFTWARE_KVM ? (['legacy-paging', 'prompt-interrupts', 'user-calls', 'ring-0-debugging'] as const) : []),
      ...(AMD_KVM ? (['shutdown-state'] as const) : []),
    ]),
    make: () => kvm(),
    unusable: () => {
      const { usable, message } = checkKvm();
      return usable ? undefined : message;
    },
  },
];

/** Those that this machine has. The others are named on standard error: a test that did not run has not passed. */
export const BACKENDS: readonly ConformingBackend[] = ALL.filter(({ name, unusable }) => {
  const why = unusable();
  if (why !== undefined) process.stderr.write(`SKIPPED: conformance of the backend ${name}. ${why}\n`);
  return why === undefined;
});

/**
 * `it` for a case that needs capabilities, and things that a backend may fail at on this machine: where it lacks one, the case is left out, out loud.
 */
export function itOn(
  backend: ConformingBackend,
  needs: readonly Capability[],
  name: string,
  run: () => Promise<void>,
  deviations: readonly Deviation[] = [],
) {
  const { capabilities } = (made[backend.name] ??= backend.make());
  const missing = needs.filter((capability) => !capabilities.has(capability)),
    failing = failingAt(backend, deviations);
  if (missing.length > 0)
    process.stderr.write(`SKIPPED: "${name}" on ${backend.name}, which lacks ${missing.join(', ')}\n`);
  else if (failing !== undefined) process.stderr.write(`SKIPPED: "${name}" on ${backend.name}: ${failing}\n`);
  it.skipIf(missing.length > 0 || failing !== undefined)(name, { timeout: 60_000 }, run);
}
/** Says what this machine's form of a backend fails at of what a case needs; undefined: nothing. */
export function failingAt({ lacks }: ConformingBackend, needs: readonly Deviation[]): string | undefined {
  const failing = needs.filter((deviation) => lacks.has(deviation));
  return failing.length === 0
    ? undefined
    : `this machine's has no ${failing.map((deviation) => DEVIATIONS[deviation]).join(', no ')}`;
}
const made: Record<string, Backend> = {};
