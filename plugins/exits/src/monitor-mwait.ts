/**
 * Exits 36, 39 and 40: MWAIT, MONITOR, PAUSE. MWAIT may end at any time (SDM 2B, MWAIT), so with interrupts on it waits as
 * HLT does, and with interrupts off, where only a store to the monitored line would end it, it does nothing.
 */
import { HALT, RESUME, Stage } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';

export function monitorMwait(): Plugin {
  return {
    name: 'exits/monitor-mwait',
    apply({ hooks }) {
      const tap = { name: 'exits/monitor-mwait', stage: Stage.Architecture };
      hooks.exit.for('mwait').tap(tap, (_exit, vcpu) => (vcpu.interruptsEnabled() ? HALT : RESUME));
      hooks.exit.for('monitor').tap(tap, () => RESUME);
      hooks.exit.for('pause').tap(tap, () => RESUME);
    },
  };
}
