/** The command line within a test's process: what it writes is caught, its status is told. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect } from 'vitest';
import { written } from './test-writes.js';

export interface CliResult {
  readonly status: number | string | undefined;
  readonly out: string;
  readonly err: string;
}

/** Runs `visorkit ARGUMENTS`. */
export async function cli(...argv: string[]): Promise<CliResult> {
  const { main } = await import('./main.js');
  written.out = [];
  written.err = [];
  const before = process.exitCode;
  process.exitCode = undefined;
  // What commander has to say of the arguments goes through the streams
  const { write } = process.stderr;
  process.stderr.write = ((text: string) => written.err.push(Buffer.from(text)) > 0) as typeof write;
  try {
    await main(['node', 'visorkit', ...argv]);
  } finally {
    process.stderr.write = write;
  }
  const status = process.exitCode ?? 0;
  process.exitCode = before;
  return {
    status,
    out: Buffer.concat(written.out).toString('latin1'),
    err: Buffer.concat(written.err).toString('utf8'),
  };
}

/** Expects that `visorkit run ARGUMENTS` does not begin: a sentence, its code, status 2, and nothing on standard output. */
export async function refused(code: string, message: RegExp, ...argv: string[]): Promise<void> {
  const { status, err, out } = await cli('run', ...argv);
  expect(err).toMatch(message);
  expect(err).toContain(`[${code}]`);
  expect(err).not.toMatch(/internal error|^ +at /m);
  expect(out).toBe('');
  expect(status).toBe(2);
}

/** A folder for one test file's images, plugins and reports. */
export class Scratch {
  readonly folder = mkdtempSync(join(tmpdir(), 'visorkit-cli-'));

  /** Writes a file and gives its path. */
  file(name: string, content: Uint8Array | string | readonly number[]): string {
    const path = join(this.folder, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, typeof content === 'string' ? content : Uint8Array.from(content));
    return path;
  }

  path(name: string): string {
    return join(this.folder, name);
  }
  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
