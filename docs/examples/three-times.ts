import type { Plugin } from '@visorkit/core';

/** Looks at the first three exits of a kind, and is gone. */
export function threeTimes(tell: (text: string) => void): Plugin {
  return {
    name: 'three-times',
    apply({ hooks }) {
      let left = 3;
      const untap = hooks.exit.for('cpuid').tap((exit, vcpu) => {
        tell(`CPUID ${vcpu.rax.toString(16)}`);
        if (--left === 0) untap();
      });
    },
  };
}
