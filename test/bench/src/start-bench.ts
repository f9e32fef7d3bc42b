/** From the start of the command to the first byte that a multiboot guest writes on its serial port, beside Node's own start. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { guestImages, withParameters } from './guest.js';
import { selection } from './kernels.js';
import { nodeStartMs } from './process.js';
import { summarise } from './statistics.js';
import type { Summary } from './statistics.js';

export interface StartResult {
  readonly firstByteMs: Summary;
  /** A process of Node that does nothing. */
  readonly nodeMs: Summary;
}

const VISORKIT = join(import.meta.dirname, '../../../apps/visorkit/bin/visorkit.js');

/** Milliseconds to the first byte; the guest is let go on to its end. */
function firstByte(kernel: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const began = performance.now();
    const child = spawn(process.execPath, [VISORKIT, 'run', '--memory', '64M', '--kernel', kernel], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let milliseconds: number | undefined,
      errors = '';
    child.stdout.on('data', () => void (milliseconds ??= performance.now() - began));
    child.stderr.on('data', (text: Buffer) => void (errors += text.toString()));
    child.on('error', reject);
    child.on('close', () => {
      if (milliseconds === undefined) reject(new Error(`The guest wrote nothing.\n${errors.slice(-400)}`));
      else resolve(milliseconds);
    });
  });
}

export async function startBench(rounds: number): Promise<StartResult> {
  const folder = mkdtempSync(join(tmpdir(), 'visorkit-bench-'));
  try {
    const kernel = join(folder, 'guest.elf');
    writeFileSync(kernel, withParameters(guestImages().multiboot, 1, selection(['gcd'])));
    const bytes: number[] = [],
      nodes: number[] = [];
    for (let round = 0; round < rounds; round++) {
      nodes.push(nodeStartMs());
      bytes.push(await firstByte(kernel));
    }
    return { firstByteMs: summarise(bytes), nodeMs: summarise(nodes) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
