/** The backend by its name, for programs that take any. */
import { checkFields, defineBackend } from '@visorkit/core';
import type { BackendDefinition, Fields } from '@visorkit/core';
import { processorModule } from '@visorkit/engine';
import * as v from 'valibot';
import { VmxBackend } from './backend.js';
import type { VmxBackendOptions } from './backend.js';
import { parseProcessor } from './processor-text.js';

const OPTIONS: Fields = {
  cpu: [v.string(), 'text such as "max,-avx2"'],
  features: [v.array(v.string()), 'a list of CPUID features'],
  vendor: [v.picklist(['intel', 'amd']), '"intel" or "amd"'],
  physicalAddressBits: [v.number(), 'a whole number from 32 to 46'],
  seed: [v.bigint(), 'a bigint'],
  translate: [
    v.union([v.boolean(), v.number(), v.string()]),
    'true, false, a whole number from 1 to 1000000, "verify" or "verify:" with such a number',
  ],
  exitOnTaskSwitch: [v.boolean(), 'true or false'],
};

const definition: BackendDefinition = defineBackend({
  name: 'vmx',
  describe: 'software VT-x and EPT',
  async check() {
    await processorModule();
    return { usable: true, message: 'software VT-x and EPT;' };
  },
  create(options) {
    checkFields(options, OPTIONS, { code: 'BACKEND_OPTION', kind: 'an option of the backend vmx', where: '' });
    // Compiled while the rest of the machine is made; an error comes again where it is waited for
    const { cpu, ...rest } = options as VmxBackendOptions & { readonly cpu?: string };
    processorModule(undefined, String(rest.translate).startsWith('verify')).catch(() => {});
    return new VmxBackend(cpu === undefined ? rest : { ...parseProcessor(cpu), ...rest });
  },
});

export default definition;
