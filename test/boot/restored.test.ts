/** Debian restored to its prompt by the command line, as a user does it. */
import { spawn } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { EXIT_STATUS } from '@visorkit/core';
import { bootedDebian } from './booted.js';
import { BOOT_TIMEOUT, findDebianGuest, titled } from './boots.js';

const BIN = join(import.meta.dirname, '../../apps/visorkit/bin/visorkit.js');
const BUILT = join(import.meta.dirname, '../../apps/visorkit/build/parts.cjs');
const found = await findDebianGuest('amd64');

/** Types a line at the prompt and gives what the process has written by its end. */
function type(args: readonly string[], line: string, until?: string): Promise<{ text: string; status: number | null }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [BIN, 'run', ...args]);
    let text = '';
    const take = (chunk: Buffer): void => {
      text += chunk.toString('latin1');
      if (until === undefined || !text.includes(until)) return;
      until = undefined; // a second signal would end it at once
      child.kill('SIGTERM');
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    child.on('error', reject);
    child.on('close', (status) => resolve({ text, status }));
    child.stdin.write(`${line}\n`);
  });
}

describe.skipIf(found.missing !== '' || !existsSync(BUILT))(
  titled('Debian at its prompt (needs a build)', found),
  () => {
    const folder = mkdtempSync(join(tmpdir(), 'visorkit-restored-'));
    afterAll(() => rmSync(folder, { recursive: true, force: true }));
    const file = join(folder, 'prompt.vm');

    it(
      'answers, is saved to the file it came from, and goes on from there',
      async () => {
        copyFileSync(await bootedDebian(found.value), file);
        const first = await type(['--restore', file, '--save', file], 'kept=$((6*7)); echo so""far', 'sofar\r\n');
        expect(first).toMatchObject({ status: 143 });
        const second = await type(['--restore', file], 'echo kept=$kept; poweroff');
        expect(second.text).toContain('kept=42\r\n');
        expect(second.status).toBe(0);
        const copy = await type(['--restore', file, '--memory', '128M'], '');
        expect(copy.status).not.toBe(0);
        expect(copy.text).toMatch(
          /it had a memory size in bytes of 268435456, this one has 134217728.*\[SAVED_MISMATCH\]/s,
        );
      },
      BOOT_TIMEOUT,
    );

    it(
      'is ended when its file is damaged, needed there or not',
      async () => {
        const bytes = readFileSync(await bootedDebian(found.value));
        bytes[bytes.length - 1] ^= 1; // of the highest page that is in use
        writeFileSync(file, bytes);
        const { text, status } = await type(['--restore', file], '');
        expect(status).toBe(EXIT_STATUS['backend-error']);
        expect(text).toMatch(/prompt\.vm cannot be restored: it is truncated or altered: .* at offset \d+ is not/);
      },
      BOOT_TIMEOUT,
    );
  },
);
