import { RETRY, definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';

/** Follows a vCPU instruction by instruction from one CPUID to the next, and leaves it alone otherwise. */
export function traceBetween(tell: (rip: string) => void): Plugin {
  return definePlugin({
    name: 'trace-between',
    capabilities: ['mtf'],
    apply({ hooks, controls }) {
      let release: (() => void) | undefined;
      hooks.exit.for('cpuid').tap((exit, vcpu) => {
        if (release === undefined) release = controls.hold({ primary: ['monitor-trap-flag'] }, vcpu);
        else {
          release();
          release = undefined;
        }
      });
      hooks.exit.for('monitor-trap-flag').tap((exit, vcpu) => {
        tell(`0x${vcpu.rip.toString(16)}`);
        return RETRY;
      });
    },
  });
}
