/** The lab: CR0 of the hypervisor's guest, as the hypervisor writes it into its VMCS and as it finds it there after the guest has run. */
import { definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { NestedVmxToken } from '@visorkit/nested-vmx';
import { VmcsField } from '@visorkit/x86';

/** `print` is called each time the hypervisor's guest is entered or left. */
export const guestCr0 = (print: (line: string) => void): Plugin =>
  definePlugin({
    name: 'guest-cr0',
    uses: { nested: NestedVmxToken },
    apply: (_host, { nested }) => {
      nested.hooks.vmcsSwitch.tap(({ to }, vcpu) => {
        const cr0 = nested.read(vcpu, VmcsField.GUEST_CR0) ?? 0n;
        print(`${to === 'guest' ? 'before' : 'after'}: guest_cr0 = 0x${cr0.toString(16)}`);
      });
    },
  });
