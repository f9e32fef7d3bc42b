/**
 * Schemas of what options of plugins and states of devices are made of. The message of each is the words for what the value
 * must be, so that the sentence about a wrong one can say it.
 */
import * as v from 'valibot';

/** A whole number from `least` to `most`. */
export function wholeNumber(least: number, most: number): v.GenericSchema<number> {
  // One step, because states of devices have thousands of them
  return v.custom<number>(
    (value) => Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most,
    `a whole number from ${least} to ${most}`,
  );
}

/** A register of `bits` bits, 1 to 53. */
export const unsigned = (bits: number): v.GenericSchema<number> => wholeNumber(0, 2 ** bits - 1);

/** A register of 64 bits, in decimal digits: states hold nothing that JSON does not know. */
export function unsigned64(): v.GenericSchema<string> {
  const right = 'a number from 0 to 2^64 - 1 as decimal digits';
  return v.pipe(
    v.string(right),
    v.regex(/^\d{1,20}$/, right),
    v.check((digits) => BigInt(digits) >> 64n === 0n, right),
  );
}

/** A span of time in ns, as {@link Device} says how states keep times; a deadline that has passed is negative. */
export function nanoseconds(): v.GenericSchema<number> {
  const right = 'a number of ns between -2^53 and 2^53';
  return v.pipe(v.number(right), v.finite(right), v.minValue(-(2 ** 53), right), v.maxValue(2 ** 53, right));
}

/** A list of exactly `length` elements. */
export function listOf<T>(length: number, element: v.GenericSchema<T>): v.GenericSchema<T[]> {
  const right = `a list of ${length}`;
  return v.pipe(v.array(element, right), v.length(length, right));
}

/** A Uint8Array of exactly `length` bytes. */
export function bytesOf(length: number): v.GenericSchema<Uint8Array> {
  const right = `a Uint8Array of ${length} bytes`;
  return v.pipe(
    v.instance(Uint8Array, right),
    v.check((bytes) => bytes.length === length, right),
  );
}

/** An object with a method of this name, as services are that a caller gives: an output has `write`. */
export const objectWith = (method: string): v.GenericSchema =>
  v.custom((value) => typeof (value as Record<string, unknown> | null | undefined)?.[method] === 'function');
