/** Exit 12: HLT. The vCPU waits for an interrupt, NMI or INIT; the run loop lets time pass meanwhile. */
import { HALT, Stage, definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';

export function hlt(): Plugin {
  return definePlugin({
    name: 'exits/hlt',
    handles: ['hlt'],
    appliesTo: ['exit.hlt'],
    needs: { primary: ['hlt-exiting'] },
    apply({ hooks }) {
      hooks.exit.for('hlt').tap({ stage: Stage.Architecture }, () => HALT);
    },
  });
}
