/** The files that ../scripts/build-samples.mjs has built, and damage to them: for tests. */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { expect } from 'vitest';
import { isVisorkitError } from '@visorkit/core';
import type { ByteSource } from '../src/stored-memory.js';

export type Sample = 'sample.dll' | 'sample.pdb' | 'sample32.dll' | 'sample32.pdb' | 'types.o' | 'samples.json';

export function sample(name: Sample): Uint8Array<ArrayBuffer> {
  return new Uint8Array(readFileSync(new URL(`built/${name}`, import.meta.url)));
}

/** Bytes as a file that is read by need; like Node's, it throws when more is asked than there is. */
export function sourceOf(bytes: Uint8Array): ByteSource {
  return {
    length: bytes.length,
    read(at, target) {
      if (!(at >= 0 && at + target.length <= bytes.length))
        throw new RangeError(`${target.length} bytes at ${at} are not there`);
      target.set(bytes.subarray(at, at + target.length));
    },
  };
}

/** What it gives, or the sentence that refuses. Any error but one of these codes, with a sentence, fails the test. */
export function attempt<T>(codes: string | readonly string[], what: () => T): T | string {
  try {
    return what();
  } catch (error) {
    if (!isVisorkitError(error)) throw error;
    expect([codes].flat()).toContain(error.code);
    expect(error.message).toMatch(/[.?]$/);
    return error.message;
  }
}

/** `whole` with up to six changes of one, two or four bytes, cut off somewhere or not. `within`: where most of the changes are. */
export function damaged(whole: Uint8Array, within = whole.length): fc.Arbitrary<Uint8Array<ArrayBuffer>> {
  const number = fc.oneof(fc.constantFrom(0, 1, 0x7f, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff), fc.nat(0xffff_ffff));
  const change = fc.tuple(fc.oneof(fc.nat(within - 1), fc.nat(whole.length - 1)), fc.constantFrom(1, 2, 4), number);
  const length = fc.oneof({ weight: 3, arbitrary: fc.constant(whole.length) }, fc.nat(whole.length));
  return fc.tuple(fc.array(change, { minLength: 1, maxLength: 6 }), length).map(([changes, end]) => {
    const bytes = new Uint8Array(whole).slice(0, end);
    for (const [at, width, value] of changes)
      for (let index = 0; index < width && at + index < end; index++) bytes[at + index] = value >>> (8 * index);
    return bytes;
  });
}
