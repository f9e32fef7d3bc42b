import { VmxBackend } from '@visorkit/backend-vmx';
import { defineBackend } from '@visorkit/core';

/** The software processor, whose RDRAND begins with a seed. */
export default defineBackend({
  name: 'seeded',
  describe: 'vmx with random numbers that begin with a seed',
  create: ({ seed = 1 }) => new VmxBackend({ seed: BigInt(Number(seed)) }),
});
