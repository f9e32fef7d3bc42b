/** The profile, and the plugin that adds it to a VM. */
import { definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { OsProfilesToken, defineOsProfile } from '@visorkit/vmi';
import { LinuxKernel } from './linux-kernel.js';
import { LINUX_REPORTS } from './reports.js';

export const profile = defineOsProfile({
  name: 'linux',
  describe: 'Linux for x86, by what the kernel says of itself: no profile file',
  find: (memory, known) => LinuxKernel.find(memory, known),
  reports: LINUX_REPORTS,
});

/** Makes a VM's introspection (`VmiToken` of @visorkit/vmi) know Linux. */
export function osLinux(): Plugin {
  return definePlugin({
    name: 'os-linux',
    uses: { profiles: OsProfilesToken },
    apply(host, { profiles }) {
      host.onDispose(profiles.add(profile));
    },
  });
}
