/** A program's first stack, as the ABI has it. */
import { isVisorkitError } from '@visorkit/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { STACK_TOP, VDSO } from './abi.js';
import type { ProgramPlan } from './program.js';
import { MOST_ARGUMENTS, buildStack, checkArguments, stackBytes } from './stack.js';

const plan: ProgramPlan = {
  entry: 0x7fff_e000_1000n,
  end: 0x60_0000n,
  executableStack: false,
  segments: [],
  headers: 0x40_0040n,
  headerCount: 9,
  programEntry: 0x40_1000n,
  interpreterBase: 0x7fff_e000_0000n,
};
const contents = {
  args: ['program', '', 'two'],
  env: ['A=b'],
  execName: '/bin/program',
  random: new Uint8Array(16).fill(9),
  uid: 5,
  gid: 6,
  plan,
};
const processor = { hwcap: 0x1234, xsaveBytes: 832, fsgsbase: true };

/** Reads it back as a program does. */
function read({ pointer, bytes }: { pointer: number; bytes: Uint8Array }) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const word = (at: number): bigint => view.getBigUint64(at - pointer, true);
  const text = (at: bigint): string => {
    const from = Number(at) - pointer;
    return Buffer.from(bytes.subarray(from, bytes.indexOf(0, from))).toString('latin1');
  };
  let at = pointer + 8;
  const strings = (): string[] => {
    const found: string[] = [];
    for (; word(at) !== 0n; at += 8) found.push(text(word(at)));
    at += 8;
    return found;
  };
  const count = Number(word(pointer)),
    args = strings(),
    env = strings(),
    pairs = new Map<bigint, bigint>();
  for (; word(at) !== 0n; at += 16) pairs.set(word(at), word(at + 8));
  return { count, args, env, pairs, text, byte: (address: bigint) => bytes[Number(address) - pointer] };
}

describe('the stack', () => {
  it('has arguments, environment and the auxiliary vector', () => {
    const stack = buildStack(contents, processor),
      { count, args, env, pairs, text, byte } = read(stack);
    expect([count, args, env]).toEqual([3, ['program', '', 'two'], ['A=b']]);
    expect([3, 5, 6, 7, 9, 11, 13, 16, 26, 33, 51].map((key) => pairs.get(BigInt(key)))).toEqual(
      [0x40_0040, 9, 4096, 0x7fff_e000_0000, 0x40_1000, 5, 6, 0x1234, 2, VDSO, 832 + 1024].map(BigInt),
    );
    expect([text(pairs.get(31n)!), text(pairs.get(15n)!)]).toEqual(['/bin/program', 'x86_64']);
    expect(byte(pairs.get(25n)! + 15n)).toBe(9);
    expect(stack.pointer + stack.bytes.length).toBe(STACK_TOP);
  });

  it('begins at a multiple of 16 and fits in what was foretold, whatever is in it', () => {
    const text = fc.string({
      unit: fc.integer({ min: 1, max: 255 }).map((code) => String.fromCharCode(code)),
      maxLength: 40,
    });
    fc.assert(
      fc.property(fc.array(text, { maxLength: 9 }), fc.array(text, { maxLength: 9 }), text, (args, env, execName) => {
        const stack = buildStack({ ...contents, args, env, execName }, processor),
          back = read(stack);
        expect([back.args, back.env]).toEqual([args, env]);
        expect(stack.pointer % 16).toBe(0);
        expect(stack.bytes.length).toBeLessThanOrEqual(stackBytes({ args, env, execName }));
      }),
    );
  });
});

it('arguments that are too long, or have a NUL in them, are refused', () => {
  const wrong = (args: readonly string[]): string => {
    try {
      checkArguments({ ...contents, args });
      return '';
    } catch (error) {
      if (!isVisorkitError(error)) throw error;
      return `${error.code}: ${error.message}`;
    }
  };
  expect(wrong(['x'.repeat(MOST_ARGUMENTS - 100)])).toBe('');
  expect(wrong(['x'.repeat(MOST_ARGUMENTS)])).toMatch(/^SANDBOX_ARGUMENTS: .* at most 2097152 fit\.$/);
  expect(wrong(['program', 'a\0b'])).toBe(
    'SANDBOX_ARGUMENTS: Argument or environment entry 1 has a NUL in it: "a\\u0000b".',
  );
});
