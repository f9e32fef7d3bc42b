/** The profile, and the plugin that adds it to a VM. */
import { definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { OsProfilesToken, defineOsProfile } from '@visorkit/vmi';
import { WINDOWS_REPORTS } from './reports.js';
import { WindowsKernel } from './windows-kernel.js';

export const profile = defineOsProfile({
  name: 'windows',
  describe: 'Windows XP to 11, 32-bit and 64-bit: built-in offsets, or a PDB file or ISF',
  find: (memory, known) => WindowsKernel.find(memory, known),
  reports: WINDOWS_REPORTS,
});

/** Makes a VM's introspection (`VmiToken` of @visorkit/vmi) know Windows. */
export function osWindows(): Plugin {
  return definePlugin({
    name: 'os-windows',
    uses: { profiles: OsProfilesToken },
    apply(host, { profiles }) {
      host.onDispose(profiles.add(profile));
    },
  });
}
