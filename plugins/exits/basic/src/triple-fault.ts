/** Exit 2: triple fault. The run ends with a full report, or the machine resets, as a PC's chipset resets it. */
import { EXIT_STATUS, RETRY, Stage, definePlugin, stop } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { SystemControlToken } from '@visorkit/machine';

export interface TripleFaultOptions {
  /** `stop` (default): the run ends. `reset`: the machine is asked to reset. */
  readonly action?: 'stop' | 'reset';
}

export function tripleFault({ action = 'stop' }: TripleFaultOptions = {}): Plugin {
  return definePlugin({
    name: 'exits/triple-fault',
    handles: ['triple-fault'],
    uses: { system: SystemControlToken },
    apply({ hooks }, { system }) {
      hooks.exit.for('triple-fault').tap({ stage: Stage.Architecture }, (_exit, vcpu) => {
        if (action === 'reset') {
          system.reset('the guest triple-faulted');
          return RETRY;
        }
        const { rip, lostState } = vcpu;
        const where = lostState === undefined ? ` at RIP 0x${rip.toString(16)}` : '';
        const what = 'an exception came while it could not deliver a double fault.';
        return stop(`The guest triple-faulted${where}: ${what}${lostState === undefined ? '' : ` ${lostState}`}`, {
          status: EXIT_STATUS['triple-fault'],
          reason: 'triple-fault',
          answer: RETRY,
        });
      });
    },
  });
}
