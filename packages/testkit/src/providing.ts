/** A plugin that is nothing but a service. */
import { definePlugin, tokenName } from '@visorkit/core';
import type { Plugin, Token } from '@visorkit/core';

/** Gives a VM a service for a test: `providing(InterruptSourceToken, source)`. */
export function providing<T>(token: Token<T>, value: T): Plugin {
  return definePlugin({ name: `provides-${tokenName(token)}`, provides: [{ token, make: () => value }] });
}
