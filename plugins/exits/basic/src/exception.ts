/**
 * Exit 0: an exception or NMI that the exception bitmap or a pin control made exit. Whoever asked for the exit sees it
 * first; here the event is given to the guest as if there had been no exit (SDM 3C, 32.7.1.1).
 */
import { RETRY, Stage, definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';

const VALID = 0x8000_0000;
const DEBUG = 1;
const PAGE_FAULT = 14;
/** DR7: accesses to debug registers raise #DB. */
const GENERAL_DETECT = 1n << 13n;
/** Bits of the exit's interruption information that an entry takes: vector, type, error code valid, valid. */
const ENTRY_BITS = 0x8000_0fff;

export function exception(): Plugin {
  return definePlugin({
    name: 'exits/exception',
    handles: ['exception'],
    apply({ hooks }) {
      hooks.exit.for('exception').tap({ stage: Stage.Fallback }, (exit, vcpu) => {
        const info = exit.interruptionInfo;
        if (info < VALID) return undefined;
        const vector = info & 0xff;
        // An exception that exits has not changed CR2, DR6 or DR7.GD; the new contents of the first two are in the qualification.
        if (vector === PAGE_FAULT) vcpu.setControlRegister(2, exit.qualification64);
        else if (vector === DEBUG) {
          const dr6 = vcpu.getDebugRegister(6);
          vcpu.setDebugRegister(6, (dr6 & ~0xfn) | BigInt(exit.qualification & 0x600f));
          // A handler may use debug registers (SDM 3B, 18.2.4)
          const dr7 = vcpu.getDebugRegister(7);
          if ((dr7 & GENERAL_DETECT) !== 0n) vcpu.setDebugRegister(7, dr7 & ~GENERAL_DETECT);
        }
        vcpu.injectEvent((info & ENTRY_BITS) >>> 0, exit.interruptionErrorCode, exit.instructionLength);
        return RETRY;
      });
    },
  });
}
