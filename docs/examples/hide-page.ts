import { definePlugin } from '@visorkit/core';
import { MemoryViewsToken } from '@visorkit/machine';

/** The code at `gpa` runs as it is; who reads it, sees a page of INT3. */
export const hidePage = (gpa: number) =>
  definePlugin({
    name: 'hide-page',
    capabilities: ['ept.execute-only'],
    uses: { views: MemoryViewsToken },
    apply: ({ hooks }, { views }) =>
      void hooks.started.tap(() => views.base.hide(gpa, new Uint8Array(4096).fill(0xcc))),
  });
