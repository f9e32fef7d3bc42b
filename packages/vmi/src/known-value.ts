/** What is known of a guest by name. */
import type { KnownOfGuest } from './profile.js';

/** A number that is known by name; text is read as C writes it. */
export function knownValue(known: KnownOfGuest, name: string): bigint | undefined {
  const value = known.values?.[name];
  if (typeof value === 'bigint') return value;
  return value !== undefined && /^(0x[0-9a-f]+|\d+)$/i.test(value) ? BigInt(value) : undefined;
}

/** A key of a libvmi.conf; one that is 0 counts as not given, as it does for LibVMI. */
export function configured(known: KnownOfGuest, key: string): bigint | undefined {
  const value = knownValue(known, key);
  return value === 0n ? undefined : value;
}
