/** Exit 18: VMCALL. Without a plugin that speaks some hypercall protocol, the guest gets #UD, as without a hypervisor. */
import { RETRY, Stage } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';

export function vmcall(): Plugin {
  return {
    name: 'exits/vmcall',
    apply({ hooks }) {
      hooks.exit.for('vmcall').tap({ name: 'exits/vmcall', stage: Stage.Fallback }, (_exit, vcpu) => {
        vcpu.injectException(6);
        return RETRY;
      });
    },
  };
}
