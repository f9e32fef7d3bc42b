/** Program files that are none, or damaged, get an error that says why. */
import { isVisorkitError } from '@visorkit/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkProgram, headersOf, interpreterOf, noInterpreter, planProgram } from './program.js';
import { tinyProgram } from './testing.js';

const good = tinyProgram();
const patched = (...changes: [offset: number, bytes: number[]][]): Uint8Array => {
  const image = good.slice();
  for (const [offset, bytes] of changes) image.set(bytes, offset);
  return image;
};
const HEADER = 64;

describe('checkProgram', () => {
  it('takes a static program', () => expect(checkProgram(good, 'p').segments).toHaveLength(2));

  it.each<[string, Uint8Array, string]>([
    ['an empty file', new Uint8Array(0), 'it is empty'],
    ['text', Buffer.from('hello'), 'it is not an ELF file'],
    ['a script', Buffer.from('#!/bin/sh -e\necho'), 'it is a script; run its interpreter (/bin/sh -e)'],
    ['a 32-bit program', patched([4, [1]]), 'it is a 32-bit program; one for x86-64 is right'],
    ['another machine', patched([18, [183, 0]]), 'it is for AArch64 (ARM64); x86-64 is right'],
    ['an object file', patched([16, [1]]), 'its type is 1'],
    ['odd program headers', patched([54, [57, 0]]), 'its program headers have 57 bytes; 56 is right'],
    ['nothing to load', patched([HEADER, [0]], [HEADER + 56, [0]]), 'it has nothing to load'],
    ['an offset that differs within the page', patched([HEADER + 16, [1]]), 'which differs within the page'],
    ['a segment at 0', patched([HEADER + 16, [0, 0, 0]]), 'is below 0x10000'],
    ['a segment in the upper half', patched([HEADER + 16, [0, 0, 0x40, 0, 0, 0, 0xff, 0xff]]), 'below 0x7fff'],
    ['segments in the wrong order', patched([HEADER + 56 + 16, [0, 0, 0x20]]), 'segments must ascend'],
    [
      'an entry point outside user space',
      patched([29, [0x80]]),
      'its entry point 0x8000004000b0 is no address of a program',
    ],
    ['a segment outside the file', patched([HEADER + 32, [0xff, 0xff, 0xff]]), ''],
    ['headers outside the file', patched([32, [0xff, 0xff, 0xff]]), ''],
    ['a truncated header', good.subarray(0, 50), ''],
  ])('%s', (_what, image, sentence) => {
    expect(() => checkProgram(image, 'p')).toThrow(
      expect.objectContaining({ name: 'VisorkitError', message: expect.stringContaining(sentence) as string }),
    );
  });

  it('finds the interpreter of a dynamic program', () => {
    expect(interpreterOf(checkProgram(good, 'p'))).toBeUndefined();
    // The second segment becomes PT_INTERP, with its text behind the code
    const path = Buffer.from('/lib/ld.so\0');
    const image = new Uint8Array(
      Buffer.concat([
        patched([HEADER + 56, [3]], [HEADER + 56 + 8, [good.length]], [HEADER + 56 + 32, [path.length]]),
        path,
      ]),
    );
    expect(interpreterOf(checkProgram(image, 'p'))).toBe('/lib/ld.so');
    expect(() => noInterpreter('p', '/lib/ld.so')).toThrow(
      expect.objectContaining({
        code: 'PROGRAM_DYNAMIC',
        message:
          'p cannot be run: it is linked dynamically and asks for /lib/ld.so, which is no program in the sandbox. Link it with -static or -static-pie, or give it the folder with its libraries by --mount.',
      }),
    );
  });

  it('plans a program and its interpreter, and refuses one that reaches too high', () => {
    const file = (image: Uint8Array, handle: number) => ({
      elf: checkProgram(image, 'p'),
      ...headersOf(image),
      handle,
    });
    const alone = planProgram(file(good, 1));
    expect(alone).toMatchObject({
      entry: 0x4000b0n,
      end: 0x601000n,
      headers: 0x400040n,
      headerCount: 2,
      interpreterBase: 0n,
    });
    expect(alone.segments).toEqual([
      {
        start: 0x400000n,
        fileEnd: 0x400000n + BigInt(good.length),
        end: 0x400000n + BigInt(good.length),
        offset: 0,
        handle: 1,
        prot: 5,
      },
      { start: 0x600000n, fileEnd: 0x600000n, end: 0x601000n, offset: 0, handle: 1, prot: 3 },
    ]);
    const shared = patched([16, [3]]); // ET_DYN
    const both = planProgram(file(good, 1), file(shared, 2));
    expect(both.entry).toBe(both.interpreterBase + 0x4000b0n);
    expect(both.segments.map(({ handle }) => handle)).toEqual([1, 1, 2, 2]);
    expect(both).toMatchObject({ programEntry: 0x4000b0n, end: 0x601000n });
    // As a program it would be right: the second segment at 1 TiB
    const high = patched([16, [3]], [HEADER + 56 + 16, [0, 0, 0, 0, 0, 1]]);
    expect(() => planProgram(file(good, 1), file(high, 2))).toThrow(
      expect.objectContaining({ code: 'PROGRAM_FORMAT', message: expect.stringContaining('would reach to') as string }),
    );
  });

  it('does not look at sections, as Linux does not', () => {
    expect(checkProgram(patched([40, [0xff, 0xff, 0xff, 0x7f]], [60, [0xff, 0xff]]), 'p').segments).toHaveLength(2);
  });

  it('accepts or explains whatever the bytes are', () => {
    const damage = fc.array(fc.tuple(fc.nat({ max: good.length - 1 }), fc.nat({ max: 255 })), { maxLength: 12 });
    fc.assert(
      fc.property(damage, fc.option(fc.nat({ max: good.length }), { freq: 3 }), (edits, keep) => {
        const image = good.slice(0, keep ?? undefined);
        for (const [at, value] of edits) if (at < image.length) image[at] = value;
        try {
          checkProgram(image, 'p');
        } catch (error) {
          expect(isVisorkitError(error) && /^[A-Z_]+$/.test(error.code) && error.message.length > 20).toBe(true);
        }
      }),
      { numRuns: 3000 },
    );
  });
});
