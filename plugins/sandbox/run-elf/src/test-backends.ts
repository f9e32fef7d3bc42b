/** The backends that this machine has, for tests that run on each; what is missing is said. */
import { checkKvm } from '@visorkit/backend-kvm';
import type { RunElfOptions } from './run-elf.js';

/** Options of a run: on the software processor time is virtual, so that nothing waits. */
type BackendOptions = Pick<RunElfOptions, 'backend' | 'time' | 'timeout'>;

const kvm = checkKvm();
if (!kvm.usable) process.stderr.write(`The sandbox is not tested on kvm: ${kvm.message}\n`);

export const BACKENDS: readonly (readonly [name: string, options: BackendOptions])[] = [
  ['vmx', { backend: 'vmx', time: 'virtual', timeout: 60 }],
  ...(kvm.usable ? [['kvm', { backend: 'kvm', time: 'real', timeout: 150 }] as const] : []),
];
