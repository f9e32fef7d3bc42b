/**
 * Exits 67 and 68: UMWAIT and TPAUSE, for those who ask for "RDTSC exiting". As where they do not exit, the wait ends at once (SDM 2B: it may for any
 * reason), before its time is up.
 */
import { RESUME, RETRY, Stage, definePlugin } from '@visorkit/core';
import type { Plugin, Vcpu, VmExit } from '@visorkit/core';

/** CF says that the wait took too long; it and the other flags of arithmetic are cleared. */
const ARITHMETIC_FLAGS = 0x8d5n;
/** The operand says how deeply to wait; its other bits are reserved. */
const STATE = 1;
const GENERAL_PROTECTION = 13;

export function userWait(): Plugin {
  return definePlugin({
    name: 'exits/user-wait',
    handles: ['umwait', 'tpause'],
    apply({ hooks }) {
      const answer = ({ instructionInfo }: VmExit, vcpu: Vcpu): typeof RESUME | typeof RETRY => {
        // Bits 6:3 name the operand; the exit comes before the instruction looks at it
        if ((vcpu.getRegister32((instructionInfo >>> 3) & 15) & ~STATE) !== 0) {
          vcpu.injectException(GENERAL_PROTECTION, 0);
          return RETRY;
        }
        vcpu.rflags &= ~ARITHMETIC_FLAGS;
        return RESUME;
      };
      hooks.exit.for('umwait').tap({ stage: Stage.Architecture }, answer);
      hooks.exit.for('tpause').tap({ stage: Stage.Architecture }, answer);
    },
  });
}
