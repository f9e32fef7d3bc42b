/**
 * What a server gets of the sandbox, for docs/serving.md: start and memory of a VM, the delay of the server's event loop, programs a
 * second by number of threads. JSON on standard output. `npm run bench:serving -- [SECONDS FOR EACH MEASUREMENT] [starts,memory,delays,throughput]`.
 */
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { fetchDebianPackage } from '@visorkit/guests';
import { ElfPool, runElf } from '@visorkit/run-elf';

const seconds = Number(process.argv[2] ?? 5);
const cores = availableParallelism();
const file = join((await fetchDebianPackage('busybox-static')).root, 'bin/busybox');

interface Row {
  readonly name: string;
  readonly median: number;
  readonly spread: readonly [least: number, most: number];
  readonly unit: string;
}
const rows: Row[] = [];

function add(name: string, unit: string, samples: readonly number[], digits = 1): void {
  const sorted = [...samples].sort((a, b) => a - b);
  const round = (value: number): number => Math.round(value * 10 ** digits) / 10 ** digits;
  const row: Row = {
    name,
    median: round(sorted[Math.floor(sorted.length / 2)]),
    spread: [round(sorted[0]), round(sorted.at(-1)!)],
    unit,
  };
  rows.push(row);
  process.stderr.write(`${name}: ${row.median} ${unit} (${row.spread.join(' to ')})\n`);
}

async function timed(act: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await act();
  return performance.now() - start;
}

/** Processor time of this process while something runs, ms: what other work on the machine does not change. */
async function processorTime(act: () => Promise<unknown>): Promise<number> {
  const before = process.cpuUsage();
  await act();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

const TRUE = { file, args: ['true'] };
/** Some work for the processor. */
const WORK = { file, args: ['sh', '-c', 'i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done'] };

/** Start to end of `true`: in this thread, in a thread of a pool, and with a pool that has to start first. */
async function starts(): Promise<void> {
  await runElf(TRUE);
  const here: number[] = [];
  for (let i = 0; i < 40; i++) here.push(await timed(() => runElf(TRUE)));
  add('start to end of `true`, runElf in this thread', 'ms', here);
  const costHere: number[] = [];
  for (let i = 0; i < 40; i++) costHere.push(await processorTime(() => runElf(TRUE)));
  add('processor time of that', 'ms', costHere);
  const cold: number[] = [];
  for (let i = 0; i < 5; i++) {
    const pool = new ElfPool({ workers: 1 });
    cold.push(await timed(() => pool.run(TRUE)));
    await pool.dispose();
  }
  add('the same, with a new ElfPool', 'ms', cold);
  await using pool = new ElfPool({ workers: 1 });
  await pool.run(TRUE);
  const there: number[] = [];
  for (let i = 0; i < 40; i++) there.push(await timed(() => pool.run(TRUE)));
  add('the same, in a pool that has started', 'ms', there);
  const costThere: number[] = [];
  for (let i = 0; i < 40; i++) costThere.push(await processorTime(() => pool.run(TRUE)));
  add('processor time of that', 'ms', costThere);
}

const MEBIBYTE = 2 ** 20;
const settledSize = async (): Promise<number> => {
  globalThis.gc?.();
  await sleep(300);
  return process.memoryUsage.rss() / MEBIBYTE;
};

/** Resident memory of VMs that wait, and of threads that do. */
async function memory(): Promise<void> {
  const count = 8;
  for (const size of ['32M', '256M']) {
    const before = await settledSize();
    const end = new AbortController();
    const runs = Array.from({ length: count }, () =>
      runElf({ file, args: ['sleep', '1000'], memory: size, signal: end.signal }),
    );
    await sleep(1000);
    add(`resident memory of a VM with ${size} in which busybox sleeps`, 'MiB', [
      ((await settledSize()) - before) / count,
    ]);
    end.abort();
    await Promise.all(runs);
  }
  const before = await settledSize();
  const pool = new ElfPool({ workers: 4 });
  await Promise.all(Array.from({ length: 4 }, () => pool.run(TRUE)));
  add('resident memory of a thread of a pool', 'MiB', [((await settledSize()) - before) / 4]);
  await pool.dispose();
}

/** How late timers of this thread are while programs compute, by where they do. */
async function delays(): Promise<void> {
  const measure = async (name: string, begin: (signal: AbortSignal) => Promise<unknown>[]): Promise<void> => {
    const end = new AbortController();
    const runs = begin(end.signal);
    await sleep(500);
    const histogram = monitorEventLoopDelay({ resolution: 1 });
    histogram.enable();
    await sleep(seconds * 1000);
    histogram.disable();
    end.abort();
    await Promise.all(runs);
    const at = (percentile: number): number => Math.max(0, histogram.percentile(percentile) / 1e6 - 1);
    add(`event-loop delay, ${name}: median`, 'ms', [at(50)]);
    add(`event-loop delay, ${name}: 99 %`, 'ms', [at(99)]);
    add(`event-loop delay, ${name}: greatest`, 'ms', [at(100)]);
  };
  const SPIN = { file, args: ['sh', '-c', 'while :; do :; done'] };
  await measure('nothing runs', () => []);
  await measure('one program in this thread', (signal) => [runElf({ ...SPIN, signal })]);
  await measure('four programs in this thread', (signal) =>
    Array.from({ length: 4 }, () => runElf({ ...SPIN, signal })),
  );
  for (const workers of new Set([Math.max(1, cores - 1), cores])) {
    await using pool = new ElfPool({ workers });
    await measure(`four programs in a pool of ${workers} of ${cores} processors`, (signal) =>
      Array.from({ length: 4 }, () => pool.run(SPIN, { signal }).catch(() => {})),
    );
  }
}

/** Programs a second, and the processor time of each, which other work on the machine changes less. */
async function throughput(): Promise<void> {
  const measure = async (name: string, concurrent: number, run: () => Promise<unknown>): Promise<void> => {
    const start = performance.now(),
      cpu = process.cpuUsage();
    let done = 0;
    await Promise.all(
      Array.from({ length: concurrent }, async () => {
        for (; performance.now() < start + seconds * 1000; done++) await run();
      }),
    );
    const { user, system } = process.cpuUsage(cpu);
    add(`${name}: programs a second`, '/s', [(done * 1000) / (performance.now() - start)]);
    add(`${name}: processor time of each`, 'ms', [(user + system) / 1000 / done]);
  };
  const subjects = [
    ['`true`', TRUE],
    ['a loop of 2000 turns in sh', WORK],
  ] as const;
  for (const [name, job] of subjects) {
    await measure(`${name}, runElf in this thread`, 1, () => runElf(job));
    for (const workers of new Set([1, cores, 2 * cores])) {
      await using pool = new ElfPool({ workers });
      await Promise.all(Array.from({ length: workers }, () => pool.run(TRUE)));
      await measure(`${name}, a pool of ${workers}`, 2 * workers, () => pool.run(job));
    }
  }
}

const parts = { starts, memory, delays, throughput };
const wanted = process.argv[3]?.split(',') ?? Object.keys(parts);
for (const [name, part] of Object.entries(parts)) if (wanted.includes(name)) await part();
process.stdout.write(`${JSON.stringify({ cores, seconds, rows }, null, 2)}\n`);
