/** What is known of a guest by name. */
import type { KnownOfGuest } from '@visorkit/vmi';

/** A number that is known by name; text is read as C writes it. */
export function knownValue(known: KnownOfGuest, name: string): bigint | undefined {
  const value = known.values?.[name];
  if (typeof value === 'bigint') return value;
  return value !== undefined && /^(0x[0-9a-f]+|\d+)$/i.test(value) ? BigInt(value) : undefined;
}
