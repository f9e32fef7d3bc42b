/** What is known of a guest by name. */
import type { KnownOfGuest } from './profile.js';

/** A number that is known by name; text is read as C writes it. */
export function knownValue(known: KnownOfGuest, name: string): bigint | undefined {
  const value = known.values?.[name];
  if (typeof value === 'bigint') return value;
  return value !== undefined && /^(0x[0-9a-f]+|\d+)$/i.test(value) ? BigInt(value) : undefined;
}

/** No structure of a kernel has so many bytes. */
const MOST_BYTES = 1n << 16n;

/** A key of a libvmi.conf; one that is 0 counts as not given, as it does for LibVMI. */
export function configured(known: KnownOfGuest, key: string): bigint | undefined {
  const value = knownValue(known, key);
  return value === 0n ? undefined : value;
}

/** An offset in a structure, in bytes. One that no structure reaches counts as not given. */
export function configuredOffset(known: KnownOfGuest, key: string): number | undefined {
  const value = configured(known, key);
  return value === undefined || value >= MOST_BYTES ? undefined : Number(value);
}
