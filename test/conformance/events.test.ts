/** Events of introspection on every backend: those that it has are told, the others are refused by name. */
import { describe, expect, it } from 'vitest';
import { BACKENDS, itOn } from './backends.js';
import { EVENT_CASES, kindsOn, seenOn } from './event-cases.js';

describe.each(BACKENDS)('events on $name', (backend) => {
  for (const one of EVENT_CASES)
    itOn(
      backend,
      one.needs,
      one.name,
      async () => {
        expect(await seenOn(backend, one)).toEqual(one.expected);
      },
      one.deviations,
    );

  it('are refused where the backend lacks what they need, and only there', async () => {
    const kinds = await kindsOn(backend);
    expect(kinds.filter(({ right }) => !right)).toEqual([]);
  });
});
