/** A shell of Debian in 256 MiB, saved at its prompt: from the start of a process that restores it to its answer to the Enter key, beside Node's own start. */
import { spawn } from 'node:child_process';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { guestParameters, prepareDebianGuest } from '@visorkit/guests';
import { nodeStartMs } from './process.js';
import { summarise } from './statistics.js';
import type { Summary } from './statistics.js';

export interface RestoreResult {
  readonly fileBytes: number;
  /** From the start of the process to the prompt that answers a key. */
  readonly promptMs: Summary;
  /** A process of Node that does nothing. */
  readonly nodeMs: Summary;
  /** The one minus the other. */
  readonly aboveNodeMs: number;
}

const VISORKIT = join(import.meta.dirname, '../../../apps/visorkit/bin/visorkit.js');
const PROMPT = 'root # ';
const PATIENCE_MS = 120_000;

const start = (...args: string[]): ChildProcessWithoutNullStreams =>
  spawn(process.execPath, [VISORKIT, 'run', ...args]);

/** Resolves when the process has written the prompt. */
function prompt(child: ChildProcessWithoutNullStreams): Promise<void> {
  return new Promise((resolve, reject) => {
    let text = '';
    const late = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS);
    const look = (chunk: Buffer): void => {
      text += chunk.toString('latin1');
      if (!text.includes(PROMPT)) return;
      clearTimeout(late);
      resolve();
    };
    child.stdout.on('data', look);
    child.stderr.on('data', look);
    child.on('exit', () => reject(new Error(`The guest showed no prompt: ${text.slice(-400)}`)));
  });
}

const exited = (child: ChildProcessWithoutNullStreams): Promise<unknown> =>
  new Promise((resolve) => child.once('close', resolve));

export async function restoreBench(rounds: number, say: (text: string) => void): Promise<RestoreResult> {
  const guest = await prepareDebianGuest({ onProgress: () => {} });
  const folder = mkdtempSync(join(tmpdir(), 'visorkit-bench-'));
  try {
    say('restore: booting Debian to its prompt');
    const file = join(folder, 'prompt.vm');
    const commandLine = `console=ttyS0 quiet ${guestParameters({ mode: 'shell' })}`;
    const first = start('--kernel', guest.kernel, '--initrd', guest.initramfs, '--append', commandLine, '--save', file);
    await prompt(first);
    first.kill('SIGTERM');
    await exited(first);
    const prompts: number[] = [],
      nodes: number[] = [];
    for (let round = 0; round < rounds; round++) {
      nodes.push(nodeStartMs());
      const began = performance.now();
      const child = start('--restore', file);
      child.stdin.write('\n');
      await prompt(child);
      prompts.push(performance.now() - began);
      child.kill('SIGKILL');
      await exited(child);
    }
    const promptMs = summarise(prompts),
      nodeMs = summarise(nodes);
    return { fileBytes: statSync(file).size, promptMs, nodeMs, aboveNodeMs: promptMs.median - nodeMs.median };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
