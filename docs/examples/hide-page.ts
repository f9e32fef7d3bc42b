import { EptViewsToken } from '@visorkit/backend-vmx';
import type { Plugin } from '@visorkit/core';

/** The code at `gpa` runs as it is; who reads it, sees a page of INT3. */
export const hidePage = (gpa: number): Plugin => ({
  name: 'hide-page',
  requires: { capabilities: ['ept.execute-only'], services: [EptViewsToken] },
  apply: ({ hooks, services }) =>
    hooks.started.tap('hide-page', () =>
      services.get(EptViewsToken).base.hidePage(gpa, new Uint8Array(4096).fill(0xcc)),
    ),
});
