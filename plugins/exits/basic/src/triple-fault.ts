/** Exit 2: triple fault. The run ends with a full report, or the machine resets, as a PC's chipset would do it. */
import { EXIT_STATUS, RETRY, Stage, stop } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { SystemControlToken } from '@visorkit/machine';

export interface TripleFaultOptions {
  /** `stop` (default): the run ends. `reset`: the machine is asked to reset. */
  readonly action?: 'stop' | 'reset';
}

export function tripleFault({ action = 'stop' }: TripleFaultOptions = {}): Plugin {
  return {
    name: 'exits/triple-fault',
    requires: { services: [SystemControlToken] },
    apply({ hooks, services }) {
      const system = services.get(SystemControlToken);
      hooks.exit.for('triple-fault').tap({ name: 'exits/triple-fault', stage: Stage.Architecture }, (_exit, vcpu) => {
        if (action === 'reset') {
          system.reset('the guest triple-faulted');
          return RETRY;
        }
        return stop(
          `The guest triple-faulted at RIP 0x${vcpu.rip.toString(16)}: an exception came while it could not deliver a double fault.`,
          EXIT_STATUS['triple-fault'],
          'triple-fault',
        );
      });
    },
  };
}
