import { Gpr, HALT, RESUME, RETRY, pause, stop } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';

const UNDEFINED_OPCODE = 6;

/** A hypercall of our own: VMCALL with a number in EAX. */
export const hypercall: Plugin = {
  name: 'hypercall',
  capabilities: ['exit.vmcall'],
  handles: ['vmcall'],
  apply({ hooks }) {
    hooks.exit.for('vmcall').tap((exit, vcpu) => {
      const argument = vcpu.getRegister32(Gpr.RBX);
      switch (vcpu.getRegister32(Gpr.RAX)) {
        case 1: // add: the instruction is done, and its result is in a register
          vcpu.setRegister32(Gpr.RAX, argument + vcpu.getRegister32(Gpr.RCX));
          return RESUME;
        case 2: // refuse: the instruction has not been executed, the guest gets an exception instead
          vcpu.injectException(UNDEFINED_OPCODE);
          return RETRY;
        case 3: // idle: done, and nothing more until an interrupt comes
          return HALT;
        case 4: // end the run
          return stop(`the guest ended with ${argument}`, { status: argument, reason: 'exit' });
        case 5: // let somebody look; the call is made again when the VM goes on
          return pause('the guest asked for a pause', { answer: RETRY });
        default: // not ours: whoever comes next
          return undefined;
      }
    });
  },
};
