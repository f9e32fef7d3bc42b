/** Exits 13 and 54: INVD, WBINVD and WBNOINVD. There is no cache between the guest and its memory, so they do nothing. */
import { RESUME, Stage } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';

export function cacheControl(): Plugin {
  return {
    name: 'exits/cache-control',
    apply({ hooks }) {
      const tap = { name: 'exits/cache-control', stage: Stage.Architecture };
      hooks.exit.for('invd').tap(tap, () => RESUME);
      hooks.exit.for('wbinvd').tap(tap, () => RESUME);
    },
  };
}
