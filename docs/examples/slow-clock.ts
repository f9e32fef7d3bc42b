import { Gpr, RESUME } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';

/** A time stamp counter that goes on by a thousand at each look. RDTSC exits only because `needs` asks for it. */
export const slowClock: Plugin = {
  name: 'slow-clock',
  capabilities: ['exit.rdtsc'],
  handles: ['rdtsc'],
  needs: { primary: ['rdtsc-exiting'] },
  apply({ hooks }) {
    let counter = 0;
    hooks.exit.for('rdtsc').tap((exit, vcpu) => {
      counter += 1000;
      vcpu.setRegister32(Gpr.RAX, counter >>> 0);
      vcpu.setRegister32(Gpr.RDX, Math.floor(counter / 2 ** 32));
      return RESUME;
    });
  },
};
