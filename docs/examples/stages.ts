import { RESUME, Stage } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';

/** Three taps on one exit, made in the wrong order, and one behind them all. */
export function stages(tell: (text: string) => void): Plugin {
  return {
    name: 'stages',
    apply({ hooks }) {
      const cpuid = hooks.exit.for('cpuid');
      cpuid.tap({ name: 'last', stage: Stage.Fallback }, () => tell('never: somebody has taken the exit'));
      cpuid.tap({ name: 'carry-out', stage: Stage.Architecture }, (exit, vcpu) => {
        tell('carry-out');
        vcpu.setRegister32(0, 0x1234);
        return RESUME;
      });
      cpuid.tap('look-on', () => tell('look-on'));
      cpuid.tap({ name: 'look-first', before: 'look-on' }, () => tell('look-first'));
      hooks.afterExit.tap((exit, vcpu, outcome) => tell(`afterwards: ${outcome === RESUME ? 'RESUME' : outcome}`));
    },
  };
}
