/** Exit 18: VMCALL. Without a plugin that speaks some hypercall protocol, the guest gets #UD, as without a hypervisor. */
import { RETRY, Stage, definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';

export function vmcall(): Plugin {
  return definePlugin({
    name: 'exits/vmcall',
    handles: ['vmcall'],
    apply({ hooks }) {
      hooks.exit.for('vmcall').tap({ stage: Stage.Fallback }, (_exit, vcpu) => {
        vcpu.injectException(6);
        return RETRY;
      });
    },
  });
}
