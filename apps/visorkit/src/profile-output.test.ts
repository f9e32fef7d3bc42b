/** `visorkit run --profile`: what the guest ran most, by name, and whether it ran translated. */
import { readFileSync } from 'node:fs';
import { buildElf } from '@visorkit/formats/testing';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { Scratch, cli, refused } from './test-cli.js';

vi.mock('node:fs', async (original) =>
  (await import('./test-writes.js')).catchWrites(await original<typeof import('node:fs')>()),
);

const scratch = new Scratch();
afterAll(() => scratch.remove());

const CODE = 0x10_0000;
const MOV_ECX = (value: number): number[] => [0xb9, ...[0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff)];
/** 64-bit code: ADD RAX, RCX; DEC ECX; JNZ. */
const SPIN = [...MOV_ECX(12_000_000), 0x48, 0x01, 0xc8, 0xff, 0xc9, 0x75, 0xf9];
/** SERIALIZE; DEC ECX; JNZ. */
const HELD = [...MOV_ECX(3_000_000), 0x0f, 0x01, 0xe8, 0xff, 0xc9, 0x75, 0xf9];
const HLT = [0xfa, 0xf4];
const CODE_BYTES = Uint8Array.from([...SPIN, ...HELD, ...HLT]);

/** A symbol table in sections behind the file's end (gABI, chapter 4). */
function withSymbols(elf: Uint8Array, symbols: Readonly<Record<string, number>>): Uint8Array {
  const names = `\0${Object.keys(symbols).join('\0')}\0`;
  const entry = (name: number, address: number): Buffer => {
    const bytes = Buffer.alloc(24);
    bytes.writeUInt32LE(name, 0);
    bytes.writeUInt8(address === 0 ? 0 : 0x12, 4); // a global function
    bytes.writeUInt16LE(address === 0 ? 0 : 1, 6);
    bytes.writeBigUInt64LE(BigInt(address), 8);
    return bytes;
  };
  const table = Buffer.concat([
    entry(0, 0),
    ...Object.entries(symbols).map(([name, address]) => entry(names.indexOf(`\0${name}\0`) + 1, address)),
  ]);
  const section = (type: number, flags: number, offset: number, size: number, link = 0): Buffer => {
    const bytes = Buffer.alloc(64);
    bytes.writeUInt32LE(type, 4);
    bytes.writeBigUInt64LE(BigInt(flags), 8);
    bytes.writeBigUInt64LE(BigInt(offset), 24);
    bytes.writeBigUInt64LE(BigInt(size), 32);
    bytes.writeUInt32LE(link, 40);
    return bytes;
  };
  const at = elf.length,
    strings = at + table.length,
    headers = Math.ceil((strings + names.length) / 8) * 8;
  const file = Buffer.concat([elf, table, Buffer.from(names), Buffer.alloc(headers - strings - names.length)]);
  file.writeBigUInt64LE(BigInt(headers), 40);
  file.writeUInt16LE(64, 58);
  file.writeUInt16LE(4, 60);
  file.writeUInt16LE(3, 62);
  return Buffer.concat([
    file,
    section(0, 0, 0, 0),
    section(1, 6, 0, 0),
    section(2, 0, at, table.length, 3),
    section(3, 0, strings, names.length),
  ]);
}

const guest = scratch.file(
  'guest.elf',
  withSymbols(
    buildElf({ bits: 64, entry: BigInt(CODE), segments: [{ physicalAddress: BigInt(CODE), data: CODE_BYTES }] }),
    { spin: CODE, held: CODE + SPIN.length },
  ),
);
const play = (...more: string[]) =>
  cli('run', '--kernel', guest, '--time', 'virtual', '--memory', '16M', '--serial', 'none', ...more);

interface Json {
  readonly samples: number;
  readonly translated: number;
  readonly instructions: number;
  readonly code: readonly { samples: number; place: string; of: string; state: string; address: string }[];
  readonly reasons: readonly { samples: number; reason: string }[];
}
async function profileOf(...more: string[]): Promise<Json> {
  const path = scratch.path('profile.json');
  await play('--profile', path, ...more);
  return JSON.parse(readFileSync(path, 'utf8')) as Json;
}

describe('run --profile', () => {
  it('shows hot code by symbol, and what keeps code from being translated', async () => {
    const { status, out, err } = await play('--profile');
    expect(status).toBe(68);
    expect(out).toBe('');
    expect(err).toMatch(
      /^profile: 149 samples, 300007 instructions from one to the next; \d\d\.\d% in code that runs translated$/m,
    );
    expect(err).toMatch(/^ *[78]\d\.\d% +1[12]\d +spin\+0x5 +kernel +translated$/m);
    expect(err).toMatch(/^ *\d\.\d% +\d+ +held\+0x5 +kernel +left to the interpreter: serialize$/m);
    expect(err).toMatch(/^SHARE +SAMPLES +NOT TRANSLATED$/m);
    expect(err).toMatch(/^45000004 instructions, \d\d\.\d% of them translated$/m);
    expect(err).toMatch(/^ +\d+ modules of WebAssembly$/m);
  });

  it('as JSON is the same twice', async () => {
    const first = await profileOf();
    expect(first.code[0]).toMatchObject({ place: 'spin+0x5', of: 'kernel', state: 'translated', address: '0x100005' });
    expect(first.reasons.map(({ reason }) => reason)).toContain('left to the interpreter: serialize');
    expect(first.code.reduce((sum, { samples }) => sum + samples, 0)).toBe(first.samples);
    expect(first.reasons.reduce((sum, { samples }) => sum + samples, first.translated)).toBe(first.samples);
    const { code, reasons } = await profileOf();
    expect({ code, reasons }).toEqual({ code: first.code, reasons: first.reasons });
  });

  it('says that all is interpreted where nothing is translated', async () => {
    const { translated, reasons } = await profileOf('--translate', 'off');
    expect(translated).toBe(0);
    expect(reasons).toEqual([{ samples: 149, reason: 'translation is off' }]);
  });

  it('says that 16-bit code is translated too', async () => {
    const real = scratch.file('real.bin', [0x66, ...MOV_ECX(1_000_000), 0x40, 0x66, 0x49, 0x75, 0xfb, ...HLT]);
    const { err } = await cli(
      'run',
      '--kernel',
      real,
      '--mode',
      'real16',
      '--time',
      'virtual',
      '--memory',
      '16M',
      '--profile',
    );
    expect(err).toMatch(/^100\.0% +\d+ +0x1006 +kernel +translated$/m);
  });

  it('does not change what the guest does', async () => {
    const report = scratch.path('report.json');
    const seen = (): unknown => {
      const { guestInstructions, guestNanoseconds, exits, reason } = JSON.parse(readFileSync(report, 'utf8')) as Record<
        string,
        unknown
      >;
      return { guestInstructions, guestNanoseconds, exits, reason };
    };
    await play('--report', report);
    const plain = seen();
    await play('--report', report, '--profile', '-');
    expect(seen()).toEqual(plain);
  });

  it('goes with a trace, too', async () => {
    const { err } = await cli(
      'trace',
      '--kernel',
      guest,
      '--time',
      'virtual',
      '--memory',
      '16M',
      '--count',
      '--profile',
    );
    expect(err).toMatch(/spin\+0x5 +kernel +translated/);
    expect(err).toMatch(/1 +hlt/);
  });

  it('is refused where its file cannot be written, before the guest starts', async () => {
    const { status, err } = await play('--profile', '/nowhere/profile');
    expect(status).toBe(78);
    expect(err).toContain('OUTPUT_FILE');
  });

  it('is refused by a backend that takes no samples, which says which one does', async () => {
    const backend = scratch.file(
      'backend.mjs',
      `import { vmx } from '@visorkit/backend-vmx';
       import { defineBackend } from '@visorkit/core';
       export default defineBackend({ name: 'blind', describe: 'takes no samples', create: () => {
         const backend = vmx();
         const capabilities = new Set([...backend.capabilities].filter((one) => one !== 'code-samples'));
         return Object.defineProperties(backend, { name: { value: 'blind' }, capabilities: { value: capabilities } });
       } });`,
    );
    await refused(
      'CAPABILITY_MISSING',
      /code-samples.*code-profile.*vmx/s,
      '--kernel',
      guest,
      '--profile',
      '--backend',
      backend,
    );
  });
});
