/** The kernels on every machine, in turn and in rounds, so that a slow moment of the host meets all of them. */
import { expectedChecksums } from './guest.js';
import type { Bits } from './guest.js';
import { KERNELS } from './kernels.js';
import type { Group } from './kernels.js';
import { runKernels } from './machines.js';
import type { KernelRun, MachineName } from './machines.js';
import { geometricMean, summarise } from './statistics.js';
import type { Summary } from './statistics.js';

type PerMachine<Value> = Readonly<Partial<Record<MachineName, Value>>>;

export interface KernelResult {
  readonly name: string;
  readonly group: Group;
  readonly checksum: string;
  /** Instructions of a pass, counted by visorkit under virtual time (a REP instruction counts each time it is started). */
  readonly instructions: number;
  /** Milliseconds of a pass. */
  readonly times: PerMachine<Summary>;
  readonly mips: PerMachine<number>;
  /** Median time of visorkit over that of the peer: below 1, visorkit is faster. */
  readonly ratios: PerMachine<number>;
}

export interface GroupResult {
  readonly group: Group | 'all';
  /** Geometric means. */
  readonly mips: PerMachine<number>;
  readonly ratios: PerMachine<number>;
}

export interface KernelBench {
  readonly bits: Bits;
  readonly kernels: readonly KernelResult[];
  readonly groups: readonly GroupResult[];
  /** Peak resident memory in KiB, and ms from the start of the process to the guest's first line. */
  readonly machines: PerMachine<{ peakKiB: Summary; firstLineMs: Summary }>;
}

export interface Pass {
  readonly kernel: string;
  /** 0 is the warm-up. */
  readonly pass: number;
  readonly checksum: string;
  readonly ticks: number;
  readonly ms: number;
}

/** The passes of a run, from its lines and marks. Throws when the guest did not reach its end. */
export function passesOf(machine: string, run: KernelRun): Pass[] {
  const passes: Pass[] = [];
  let begun = NaN;
  for (const { text, first, last } of run.lines) {
    if (text.startsWith('BEGIN ')) begun = last;
    const match = /^END (\S+) ([0-9a-f]+) ([0-9a-f]+) ([0-9a-f]+)$/.exec(text);
    if (match === null) continue;
    const mark = 2 * passes.length,
      { marks } = run;
    passes.push({
      kernel: match[1],
      pass: parseInt(match[2], 16),
      checksum: match[3],
      ticks: parseInt(match[4], 16),
      ms: marks !== undefined && marks.length > mark + 1 ? marks[mark + 1] - marks[mark] : first - begun,
    });
  }
  if (!run.lines.some(({ text }) => text === 'DONE')) {
    const last = run.lines.at(-1)?.text ?? '';
    throw new Error(
      `${machine} did not finish the kernels${run.timedOut ? ' in time' : ''}: its last line is "${last}", its status ${run.status}.\n${run.errors}`,
    );
  }
  return passes;
}

export interface KernelBenchOptions {
  readonly machines: readonly MachineName[];
  readonly rounds: number;
  readonly passes: number;
  readonly selected: number;
  readonly bits: Bits;
  readonly say: (text: string) => void;
}

export async function kernelBench({
  machines,
  rounds,
  passes,
  selected,
  bits,
  say,
}: KernelBenchOptions): Promise<KernelBench> {
  const timeoutMs = 600_000;
  say('counting instructions');
  const counted = passesOf(
    'visorkit',
    await runKernels('visorkit', { passes: 0, selected, timeoutMs, bits, virtual: true }),
  );
  const expected = expectedChecksums();
  const samples = new Map<string, number[]>(),
    peaks = new Map<string, number[]>(),
    starts = new Map<string, number[]>();
  for (let round = 1; round <= rounds; round++) {
    for (const machine of machines) {
      const run = await runKernels(machine, { passes, selected, timeoutMs, bits });
      say(`round ${round} of ${rounds}: ${machine}, ${(run.wallMs / 1000).toFixed(1)} s`);
      push(peaks, machine, run.peakKiB);
      push(starts, machine, run.lines.find(({ text }) => text.endsWith('READY'))?.last ?? NaN);
      for (const { kernel, pass, checksum, ms } of passesOf(machine, run)) {
        if (checksum !== expected.get(kernel))
          throw new Error(
            `${machine} computes ${checksum} in ${kernel}, where a real processor computes ${expected.get(kernel)}.`,
          );
        if (pass > 0) push(samples, `${machine} ${kernel}`, ms);
      }
    }
  }
  const peers = machines.filter((machine) => machine !== 'visorkit');
  const kernels = counted.map(({ kernel, checksum, ticks }): KernelResult => {
    const times = byMachine(machines, (machine) => summarise(samples.get(`${machine} ${kernel}`) ?? []));
    return {
      name: kernel,
      group: KERNELS.find(({ name }) => name === kernel)!.group,
      checksum,
      instructions: ticks,
      times,
      mips: byMachine(machines, (machine) => ticks / 1000 / times[machine]!.median),
      ratios: byMachine(peers, (machine) => times.visorkit!.median / times[machine]!.median),
    };
  });
  const groups = (['integer', 'memory', 'branch', 'float', 'all'] as const).flatMap((group): GroupResult[] => {
    const members = kernels.filter((kernel) => group === 'all' || kernel.group === group);
    if (members.length === 0) return [];
    return [
      {
        group,
        mips: byMachine(machines, (machine) => geometricMean(members.map(({ mips }) => mips[machine]!))),
        ratios: byMachine(peers, (machine) => geometricMean(members.map(({ ratios }) => ratios[machine]!))),
      },
    ];
  });
  return {
    bits,
    kernels,
    groups,
    machines: byMachine(machines, (machine) => ({
      peakKiB: summarise(peaks.get(machine) ?? []),
      firstLineMs: summarise(starts.get(machine) ?? []),
    })),
  };
}

function push(map: Map<string, number[]>, key: string, value: number): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
}

function byMachine<Value>(
  machines: readonly MachineName[],
  value: (machine: MachineName) => Value,
): Partial<Record<MachineName, Value>> {
  return Object.fromEntries(machines.map((machine) => [machine, value(machine)]));
}
