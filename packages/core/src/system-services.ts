/** What devices and hosts may ask of the run: to end it, to reset the machine, to wake it. */
import { pause, reset, stop } from './exit.js';
import type { EndOutcome } from './exit.js';
import type { KernelHooks } from './hooks.js';
import type { SystemControl, Wakeup } from './platform.js';
import type { Sleeper } from './sleeper.js';

/** `request` ends the run after the current exit. */
export function systemControl(hooks: KernelHooks, request: (end: EndOutcome) => void): SystemControl {
  const tell = (kind: string, message: string): void => {
    if (hooks.guestEvent.isUsed()) hooks.guestEvent.call({ kind, source: 'system-control', message });
  };
  return {
    powerOff: (why) => {
      tell('power-off', why);
      request(stop(why, { reason: 'power-off' }));
    },
    exit: (status, why) => {
      tell('exit', why);
      request(stop(why, { status, reason: 'exit' }));
    },
    reset: (why) => {
      tell('reset', why);
      request(reset(why));
    },
    pause: (why) => request(pause(why)),
  };
}

/** Wakes the sleeper; `sources` are those that may do so at any time. */
export function wakeup(sleeper: Sleeper, sources: Set<object>): Wakeup {
  return {
    notify: () => sleeper.wake(),
    addSource: () => {
      const source = {};
      sources.add(source);
      return () => {
        sources.delete(source);
        sleeper.wake();
      };
    },
  };
}
