/** Builds the native harness with gcc and runs cases on the machine's own processor. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CASE_BYTES, type CaseSet, ResultView, caseAt } from './format.js';
import { GROUPS, generate } from './generate.js';

const source = join(dirname(fileURLToPath(import.meta.url)), '..', 'native', 'harness.c');

/** Compiles the harness if it is missing or older than its source; returns its path. Throws where that cannot be done, saying why. */
export function buildHarness(): string {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    throw new Error(
      `Cases run on the machine's own processor, which has to be x86-64 under Linux; this is ${process.arch} under ${process.platform}.`,
    );
  const binary = join(dirname(source), '..', 'dist', 'harness');
  if (!existsSync(binary) || statSync(binary).mtimeMs < statSync(source).mtimeMs) {
    const { error } = spawnSync('gcc', ['--version'], { stdio: 'ignore' });
    if (error)
      throw new Error(
        'The native harness is compiled with gcc, which is not installed (Debian: apt-get install gcc libc6-dev).',
        { cause: error },
      );
    execFileSync(
      'gcc',
      [
        '-O2',
        '-Wall',
        '-Wextra',
        '-fno-stack-protector',
        '-mno-red-zone',
        '-mfsgsbase',
        '-fpie',
        '-pie',
        '-Wl,-z,now',
        source,
        '-o',
        binary,
      ],
      { stdio: ['ignore', 'inherit', 'inherit'] },
    );
  }
  return binary;
}

/** Results of the cases on this machine's processor, in order. */
export function runNative(set: CaseSet, binary = buildHarness()): Uint8Array[] {
  const folder = mkdtempSync(join(tmpdir(), 'visorkit-fidelity-'));
  try {
    const input = join(folder, 'cases');
    const output = join(folder, 'results');
    writeFileSync(input, set.bytes);
    const run = spawnSync(binary, [input, output], { stdio: ['ignore', 'inherit', 'inherit'] });
    if (run.error) throw run.error;
    if (run.status !== 0) throw new Error(`The native harness ended with ${run.signal ?? `status ${run.status}`}.`);
    return splitResults(readFileSync(output), set.bytes.length / CASE_BYTES);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const PROBED = 60;

/** Whether the kernel runs 32-bit code: where it does not, no 32-bit case gets past its first instruction. */
export function runs32Bit(binary = buildHarness()): boolean {
  const set = generate(
    1,
    0,
    PROBED,
    GROUPS.filter(({ name }) => name === 'alu'),
  );
  const results = runNative(set, binary);
  return results.some((bytes, index) => {
    const { is32, rip } = caseAt(set, index);
    return is32 && new ResultView(bytes).rip !== BigInt(rip);
  });
}

/** Cuts a run of result records into single ones. */
export function splitResults(bytes: Uint8Array, count: number): Uint8Array[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const out: Uint8Array[] = [];
  for (let at = 0; out.length < count && at + 4 <= bytes.length; ) {
    const size = view.getUint32(at, true);
    if (size === 0) break;
    out.push(bytes.subarray(at, at + size));
    at += size;
  }
  return out;
}

export { ResultView };
