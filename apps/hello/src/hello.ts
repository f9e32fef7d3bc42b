/** The command: runs the addition. `--verbose` shows the guest's exits, `--backend kvm` runs it on this machine's own processor. */
import { parseArgs } from 'node:util';
import { VmxBackend } from '@visorkit/backend-vmx';
import { fail } from '@visorkit/core';
import { addition } from './addition.js';

const {
  values: { backend: name, verbose },
} = parseArgs({ options: { backend: { type: 'string', default: 'vmx' }, verbose: { type: 'boolean' } } });
const backend =
  name === 'kvm'
    ? (await import('@visorkit/backend-kvm')).kvm()
    : name === 'vmx'
      ? new VmxBackend()
      : fail('OPTION_VALUE', `--backend takes vmx or kvm, not "${name}".`);

const print = (text: string): void => void process.stdout.write(text);
await using vmm = addition(backend, print, verbose === true ? console.error : undefined);
process.exitCode = (await vmm.run()).exitStatus;
