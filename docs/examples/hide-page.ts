import type { Plugin } from '@visorkit/core';
import { MemoryViewsToken } from '@visorkit/machine';

/** The code at `gpa` runs as it is; who reads it, sees a page of INT3. */
export const hidePage = (gpa: number): Plugin => ({
  name: 'hide-page',
  requires: { capabilities: ['ept.execute-only'], services: [MemoryViewsToken] },
  apply: ({ hooks, services }) =>
    hooks.started.tap('hide-page', () =>
      services.get(MemoryViewsToken).base.hide(gpa, new Uint8Array(4096).fill(0xcc)),
    ),
});
