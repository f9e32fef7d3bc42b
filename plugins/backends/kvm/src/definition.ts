/** The backend by its name, for programs that take any. */
import { checkFields, defineBackend, fail } from '@visorkit/core';
import type { BackendDefinition, Fields } from '@visorkit/core';
import * as v from 'valibot';
import { KvmBackend } from './backend.js';
import type { KvmBackendOptions } from './backend.js';
import { checkKvm } from './support.js';

const OPTIONS: Fields = {
  irqchip: [v.picklist(['none', 'kernel', 'split']), '"none", "kernel" or "split"'],
  assist: [v.boolean(), 'true or false'],
  device: [v.string(), 'the path of a device file'],
};

const definition: BackendDefinition = defineBackend({
  name: 'kvm',
  describe: "the machine's own /dev/kvm",
  check: () => checkKvm(),
  create({ cpu, ...options }) {
    if (cpu !== undefined)
      fail(
        'OPTION_VALUE',
        "--cpu chooses the software processor's features; with kvm the guest has this machine's processor. Leave it out.",
        { option: '--cpu' },
      );
    checkFields(options, OPTIONS, { code: 'BACKEND_OPTION', kind: 'an option of the backend kvm', where: '' });
    return new KvmBackend(options as KvmBackendOptions);
  },
});

export default definition;
