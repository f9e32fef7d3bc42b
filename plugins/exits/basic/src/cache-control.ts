/** Exits 13 and 54: INVD, WBINVD and WBNOINVD. There is no cache between the guest and its memory, so they do nothing. */
import { RESUME, Stage, definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';

export function cacheControl(): Plugin {
  return definePlugin({
    name: 'exits/cache-control',
    handles: ['invd', 'wbinvd'],
    apply({ hooks }) {
      const tap = { stage: Stage.Architecture };
      hooks.exit.for('invd').tap(tap, () => RESUME);
      hooks.exit.for('wbinvd').tap(tap, () => RESUME);
    },
  });
}
