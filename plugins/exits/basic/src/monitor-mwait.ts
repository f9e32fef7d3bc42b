/**
 * Exits 36, 39 and 40: MWAIT, MONITOR, PAUSE.
 *
 * MWAIT ends with an interrupt, a store to the monitored line, or at any time (SDM 2B, MWAIT). With one CPU nothing but an
 * interrupt can bring such a store, so it waits: as HLT does, or, when ECX[0] says so, also for interrupts that IF = 0
 * masks. With several CPUs, or when no interrupt can end it, it ends at once.
 */
import { Gpr, HALT, RESUME, RETRY, Stage, WAIT, definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';

/** Qualification: a MONITOR came before and still holds. */
const ARMED = 1;
/** ECX: masked interrupts end the wait; the other bits are reserved. */
const BREAK_ON_MASKED = 1;
const GENERAL_PROTECTION = 13;

export function monitorMwait(): Plugin {
  return definePlugin({
    name: 'exits/monitor-mwait',
    handles: ['monitor', 'mwait', 'pause'],
    appliesTo: ['exit.monitor', 'exit.mwait'],
    needs: { primary: ['mwait-exiting'] },
    apply({ hooks, vcpus }) {
      const tap = { stage: Stage.Architecture };
      hooks.exit.for('mwait').tap(tap, (exit, vcpu) => {
        const extensions = vcpu.getRegister32(Gpr.RCX);
        // The exit comes before the instruction looks at ECX
        if ((extensions & ~BREAK_ON_MASKED) !== 0) {
          vcpu.injectException(GENERAL_PROTECTION, 0);
          return RETRY;
        }
        if ((exit.qualification & ARMED) === 0 || vcpus.length > 1) return RESUME;
        if ((extensions & BREAK_ON_MASKED) !== 0) return WAIT;
        return vcpu.interruptsEnabled() ? HALT : RESUME;
      });
      hooks.exit.for('monitor').tap(tap, () => RESUME);
      hooks.exit.for('pause').tap(tap, () => RESUME);
    },
  });
}
