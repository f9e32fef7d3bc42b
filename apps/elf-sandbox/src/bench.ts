/**
 * What the sandbox costs: start to exit of `true` above Node's own start, and sha256sum of 64 MB beside the machine itself, on each
 * backend. Rounds are interleaved; medians. JSON on standard output. `npm run bench -- [ROUNDS]`.
 */
import { spawnSync } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fetchDebianPackage } from '@visorkit/guests';

const rounds = Number(process.argv[2] ?? 7);
const busybox = `${(await fetchDebianPackage('busybox-static')).root}/bin/busybox`;
const visorkit = new URL('../../visorkit/bin/visorkit.js', import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), 'visorkit-bench-'));
writeFileSync(join(folder, 'data'), randomFillSync(new Uint8Array(64 << 20)));

function milliseconds(command: string, args: readonly string[]): number {
  const start = performance.now();
  const { status, stderr } = spawnSync(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: status ${status}\n${stderr.toString()}`);
  return performance.now() - start;
}

const exec =
  (backend: string, ...args: string[]) =>
  (): number =>
    milliseconds(process.execPath, [
      visorkit,
      'exec',
      '--backend',
      backend,
      '--mount',
      `${folder}:/data:ro`,
      busybox,
      ...args,
    ]);
const backends = ['vmx', ...(existsSync('/dev/kvm') ? ['kvm'] : [])];
const subjects: Record<string, () => number> = {
  'node -e 0': () => milliseconds(process.execPath, ['-e', '0']),
  'sha256sum native': () => milliseconds(busybox, ['sha256sum', join(folder, 'data')]),
  ...Object.fromEntries(
    backends.flatMap((backend) => [
      [`true ${backend}`, exec(backend, 'true')],
      [`sha256sum ${backend}`, exec(backend, 'sha256sum', '/data/data')],
    ]),
  ),
};
try {
  const samples = new Map(Object.keys(subjects).map((name) => [name, [] as number[]]));
  for (let round = 0; round < rounds; round++)
    for (const [name, run] of Object.entries(subjects)) samples.get(name)!.push(run());
  const median = (name: string): number => samples.get(name)!.sort((a, b) => a - b)[Math.floor(rounds / 2)];
  const rows = Object.keys(subjects).map((name) => {
    const sorted = samples.get(name)!.sort((a, b) => a - b);
    return {
      name,
      median: Math.round(median(name)),
      spread: [Math.round(sorted[0]), Math.round(sorted.at(-1)!)],
      unit: 'ms',
    };
  });
  const derived = backends.flatMap((backend) => [
    {
      name: `true ${backend}, above Node's start`,
      value: Math.round(median(`true ${backend}`) - median('node -e 0')),
      unit: 'ms',
    },
    {
      name: `sha256sum ${backend} / native`,
      value: Math.round((median(`sha256sum ${backend}`) / median('sha256sum native')) * 10) / 10,
      unit: 'times',
    },
  ]);
  process.stdout.write(`${JSON.stringify({ rounds, rows, derived }, null, 2)}\n`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
