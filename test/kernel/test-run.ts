/** For the tests of the run loop: plugins by what they do. */
import { HALT, InterruptSourceToken, Stage, SystemControlToken, definePlugin } from '@visorkit/core';
import type { Plugin, PluginHost, Used } from '@visorkit/core';
import { ConsoleToken, PortBusToken, TimerQueueToken } from '@visorkit/machine';

export const memory = 8192;
export const USES = { ports: PortBusToken, timers: TimerQueueToken, console: ConsoleToken, system: SystemControlToken };
export const does = (name: string, apply: (host: PluginHost, used: Used<typeof USES>) => void): Plugin =>
  definePlugin({ name, uses: USES, apply });
export const halting = does('halting', ({ hooks }) => {
  hooks.exit.for('hlt').tap({ name: 'halting', stage: Stage.Architecture }, () => HALT);
});

/** A timer every `period` ns that raises vector 32. */
export function ticker(period: number, times: number, log: string[] = []): Plugin {
  let raised = 0;
  const source = {
    pending: () => raised > 0,
    acknowledge: () => {
      raised--;
      return 32;
    },
  };
  return definePlugin({
    name: 'ticker',
    uses: USES,
    provides: [{ token: InterruptSourceToken, make: () => source }],
    apply(_host, { timers }) {
      let left = times;
      const timer = timers.schedule(period, () => {
        raised++;
        log.push(`tick ${timers.clock.now()}`);
        if (--left > 0) timer.reschedule(period * (times - left + 1));
      });
    },
  });
}
