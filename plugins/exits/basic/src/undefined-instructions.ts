/**
 * Exits of instructions whose feature the guest does not have: VMX itself, SMX, SGX. They exit before the processor looks
 * whether the feature is on, and without it they are undefined: #UD (SDM 3C, 26.1.2). At stage Fallback, so that a
 * plugin which brings the feature takes them first.
 */
import { RETRY, Stage, definePlugin } from '@visorkit/core';
import type { ExitName, Plugin } from '@visorkit/core';
import { VMX_INSTRUCTION_EXITS } from '@visorkit/x86';

const UNDEFINED: readonly ExitName[] = ['getsec', ...VMX_INSTRUCTION_EXITS, 'vmfunc', 'encls'];

export function undefinedInstructions(): Plugin {
  return definePlugin({
    name: 'exits/undefined-instructions',
    handles: UNDEFINED,
    apply({ hooks }) {
      for (const name of UNDEFINED) {
        hooks.exit.for(name).tap({ stage: Stage.Fallback }, (_exit, vcpu) => {
          vcpu.injectException(6);
          return RETRY;
        });
      }
    },
  });
}
