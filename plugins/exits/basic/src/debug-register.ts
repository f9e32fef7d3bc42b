/** Exit 29: MOV to and from debug registers (qualification: SDM 3C, table 28-4). Only when "MOV-DR exiting" is asked for. */
import { RESUME, RETRY, Stage, definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { drNumber, drRead, drRegister } from '@visorkit/x86';

export function debugRegister(): Plugin {
  return definePlugin({
    name: 'exits/debug-register',
    handles: ['debug-register'],
    apply({ hooks }) {
      hooks.exit.for('debug-register').tap({ stage: Stage.Architecture }, (exit, vcpu) => {
        const { qualification } = exit;
        const named = drNumber(qualification);
        // DR4 and DR5 are DR6 and DR7 while CR4.DE = 0 (SDM 3B, 18.2.2); with DE = 1 the processor gave #UD before the exit.
        const number = named === 4 || named === 5 ? named + 2 : named;
        const register = drRegister(qualification);
        const wide = vcpu.codeBits === 64;
        if (drRead(qualification)) {
          const value = vcpu.getDebugRegister(number);
          if (wide) vcpu.setRegister(register, value);
          else vcpu.setRegister32(register, Number(value & 0xffff_ffffn));
          return RESUME;
        }
        const value = wide ? vcpu.getRegister(register) : vcpu.getRegister(register) & 0xffff_ffffn;
        if (number >= 6 && value >> 32n !== 0n) {
          vcpu.injectException(13, 0);
          return RETRY;
        }
        if (number === 6) vcpu.setDebugRegister(6, (value & 0xe00fn) | 0xffff_0ff0n);
        else if (number === 7) vcpu.setDebugRegister(7, (value & 0xffff_2bffn) | 0x400n);
        else vcpu.setDebugRegister(number, value);
        return RESUME;
      });
    },
  });
}
