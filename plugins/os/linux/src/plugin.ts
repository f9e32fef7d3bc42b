/** Introspection of the VM's own guest as a service. */
import { GuestMemoryToken, definePlugin, token } from '@visorkit/core';
import type { Plugin, Token } from '@visorkit/core';
import { LiveMemory } from '@visorkit/vmi';
import { LinuxKernel } from './linux.js';

export interface LinuxIntrospection {
  /**
   * Looks for a Linux kernel in the guest's memory as it is now; undefined when there is none yet. What it gives is of this moment: when the guest has run, ask
   * again.
   */
  find(): LinuxKernel | undefined;
}

export const LinuxIntrospectionToken: Token<LinuxIntrospection> = token('linux-introspection', '@visorkit/os-linux');

/** Gives the VM the service {@link LinuxIntrospectionToken}. The guest does not notice. */
export function osLinux(): Plugin {
  return definePlugin({
    name: 'os-linux',
    uses: { memory: GuestMemoryToken },
    provides: [
      {
        token: LinuxIntrospectionToken,
        make: ({ memory }) => ({ find: () => LinuxKernel.find(new LiveMemory(memory)) }),
      },
    ],
    apply() {},
  });
}
