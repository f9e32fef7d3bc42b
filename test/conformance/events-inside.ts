/** The events on kvm, as a program of its own for a guest that has one: a line of JSON for each case, and one for the kinds. */
import { kvm } from '@visorkit/backend-kvm';
import type { ConformingBackend } from './backends.js';
import { EVENT_CASES, kindsOn, seenOn } from './event-cases.js';

const backend: ConformingBackend = {
  name: 'kvm',
  factory: 'kvm',
  time: 'real',
  lacks: new Set(),
  unusable: () => undefined,
  make: () => kvm(),
};
const { capabilities } = kvm();

const say = (line: unknown): void => console.log(`events: ${JSON.stringify(line)}`);

for (const one of EVENT_CASES) {
  const { name, needs, expected } = one;
  const missing = needs.filter((capability) => !capabilities.has(capability));
  const seen = missing.length > 0 ? [] : await seenOn(backend, one).catch((error: unknown) => [String(error)]);
  say({ name, missing, seen, expected });
}
say({ kinds: await kindsOn(backend) });
