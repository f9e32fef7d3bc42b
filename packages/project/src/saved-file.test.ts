/** Files of saved VMs: what is written is read again, and what was cut or altered is refused. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { isVisorkitError } from '@visorkit/core';
import type { SavedVm } from '@visorkit/core';
import { openSavedVm, readSavedVm, writeSavedVm } from './saved-file.js';

const folder = mkdtempSync(join(tmpdir(), 'visorkit-saved-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const file = join(folder, 'vm');

/** Bytes that do not compress away. */
const noise = (length: number, seed: number): Uint8Array => {
  let state = seed;
  return Uint8Array.from({ length }, () => (state = (Math.imul(state, 1103515245) + 12345) >>> 0) >>> 24);
};

const saved = {
  state: {
    format: 1,
    kernel: '0.1.0',
    composition: { backend: 'fake', memory: 4 << 20, cpus: 1, time: 'virtual', cpuid: ['0 0'], parts: ['machine'] },
    loop: { current: 0, big: 2n ** 64n - 1n, small: 7n, none: undefined, deadline: Infinity },
    vcpus: [{ registers: noise(5000, 1), few: noise(10, 2) }],
    backend: [null, true, 'text', -0.5],
    parts: { machine: { uart0: { fifo: noise(2048, 3) } } },
  },
  memory: [
    { gpa: 0x1000, length: 0x3000, bytes: noise(0x3000, 4) },
    { gpa: 0x10_0000, length: 1 << 17, bytes: noise(1 << 17, 5) },
    { gpa: 0x20_0000, length: 1 << 17, bytes: noise(1 << 17, 6) },
    { gpa: 0x30_0000, length: 0x1000, recent: true, bytes: noise(0x1000, 7) },
    { gpa: 0x40_0000, length: 0x4000, bytes: new Uint8Array(0x4000).fill(1) },
  ],
} as unknown as SavedVm;

/** With all its memory read. */
const whole = ({ state, memory }: SavedVm) => ({
  state,
  memory: memory.map(({ gpa, length, bytes }) => ({ gpa, length, bytes: new Uint8Array(bytes) })),
});

describe('the file of a saved VM', () => {
  it('gives what was saved, numbers and byte strings of every kind', async () => {
    await writeSavedVm(file, saved);
    const read = await readSavedVm(file);
    expect(whole(read)).toEqual(whole(saved));
    for (const [index, { length, bytes, readInto }] of read.memory.entries()) {
      const target = new Uint8Array(new SharedArrayBuffer(length));
      readInto!.call(read.memory[index], target);
      expect(Buffer.compare(target, bytes)).toBe(0);
    }
    expect(readdirSync(folder)).toEqual(['vm']);
  });

  it('is refused with a sentence wherever it is cut or altered, and never hangs or crashes', async () => {
    await writeSavedVm(file, saved);
    const written = readFileSync(file);
    const other = join(folder, 'other');
    const read = async (bytes: Uint8Array): Promise<unknown> => {
      writeFileSync(other, bytes);
      try {
        return whole(await readSavedVm(other));
      } catch (error) {
        if (isVisorkitError(error) && error.code === 'SAVED_FILE') return error.message;
        throw error;
      }
    };
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: written.length - 1 }), async (length) => {
        expect(await read(written.subarray(0, length))).toMatch(/cannot be restored: .*\./s);
      }),
      { numRuns: 60 },
    );
    await fc.assert(
      fc.asyncProperty(fc.nat({ max: written.length - 1 }), fc.integer({ min: 1, max: 255 }), async (at, change) => {
        const altered = Uint8Array.from(written);
        altered[at] ^= change;
        expect(await read(altered)).toMatch(/cannot be restored: .*\./s);
      }),
      { numRuns: 120 },
    );
    expect(await read(Uint8Array.from([...written, 0]))).toMatch(/truncated or altered/);
  });

  it('is opened with damage in its memory, which is found when that is read, and by looking at all of it', async () => {
    await writeSavedVm(file, saved);
    const written = readFileSync(file);
    written[written.length - 20 - 0x1000] ^= 4; // in the piece before the last two, which ends there or later
    writeFileSync(file, written);
    const altered = /vm cannot be restored: it is truncated or altered: the checksum of its \d+ bytes at offset \d+/;
    const open = openSavedVm(file);
    expect(open.state).toEqual(saved.state);
    const damaged = open.memory.filter((piece) => {
      try {
        return piece.bytes.length === 0;
      } catch (error) {
        expect((error as Error).message).toMatch(altered);
        return true;
      }
    });
    expect(damaged).toHaveLength(1);
    expect(() => damaged[0].readInto!(new Uint8Array(damaged[0].length))).toThrow(altered);
    await expect(open.check()).rejects.toThrow(altered);
    await expect(readSavedVm(file)).rejects.toThrow(altered);
    const large = { ...saved, memory: [{ gpa: 0, length: 1 << 22, bytes: noise(1 << 22, 8) }] };
    large.memory.push({ ...large.memory[0], gpa: 1 << 22 });
    await writeSavedVm(file, large);
    const bytes = readFileSync(file);
    bytes[bytes.length - 1] ^= 1;
    writeFileSync(file, bytes);
    await expect(openSavedVm(file).check(AbortSignal.abort())).resolves.toBeUndefined();
    await expect(openSavedVm(file).check()).rejects.toThrow(altered);
  });

  it('gives its memory later too, when another has taken its name, and says so when it was cut meanwhile', async () => {
    await writeSavedVm(file, saved);
    const old = await readSavedVm(file);
    const { memory } = saved;
    await writeSavedVm(file, {
      ...saved,
      memory: memory.map((piece) => ({ ...piece, bytes: noise(piece.length, 99) })),
    });
    expect(whole(old)).toEqual(whole(saved));
    const cut = await readSavedVm(file);
    truncateSync(file, 6000);
    const message = /vm (cannot be (read|restored): .*)\.$/;
    expect(() => whole(cut)).toThrow(message);
    expect(() => cut.memory[1].readInto!(new Uint8Array(cut.memory[1].length))).toThrow(message);
  });

  it('is not begun where it cannot be written, and says why', async () => {
    await expect(writeSavedVm(join(folder, 'no', 'such'), saved)).rejects.toMatchObject({ code: 'SAVED_FILE' });
    await expect(readSavedVm(join(folder, 'nothing'))).rejects.toMatchObject({ code: 'SAVED_FILE' });
    await expect(readSavedVm(folder)).rejects.toThrow('it is not a file');
    if (spawnSync('mkfifo', [join(folder, 'pipe')]).status === 0)
      await expect(readSavedVm(join(folder, 'pipe'))).rejects.toThrow('it is not a file');
    writeFileSync(join(folder, 'text'), 'This is not a saved VM.');
    await expect(readSavedVm(join(folder, 'text'))).rejects.toThrow('it is not a saved VM');
  });
});
