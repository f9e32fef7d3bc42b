/** What counting its exits costs a boot of Debian, to its power-off: `visorkit trace --count` beside `visorkit run`, in turn. */
import { join } from 'node:path';
import { guestParameters, prepareDebianGuest } from '@visorkit/guests';
import { runProcess } from './process.js';
import { summarise } from './statistics.js';
import type { Summary } from './statistics.js';

export interface TraceCost {
  /** What is counted; empty: nothing is. */
  readonly count: string;
  /** Processor time of all threads, and of the wall's clock, from the start of the process to its end. */
  readonly cpuSeconds: Summary;
  readonly wallSeconds: Summary;
  /** Medians of the ratios to the run of the same round in which nothing was counted. */
  readonly cpuRatio: number;
  readonly wallRatio: number;
}

const VISORKIT = join(import.meta.dirname, '../../../apps/visorkit/bin/visorkit.js');
const COUNTS = ['', 'reason', 'reason,rip'] as const;

export async function traceBench(rounds: number, say: (text: string) => void): Promise<TraceCost[]> {
  const guest = await prepareDebianGuest({ onProgress: () => {} });
  const what = [
    ...['--kernel', guest.kernel, '--initrd', guest.initramfs, '--memory', '256M', '--serial', 'none'],
    ...['--append', `console=ttyS0 ${guestParameters({ mode: 'off' })}`],
  ];
  const cpu = COUNTS.map((): number[] => []),
    wall = COUNTS.map((): number[] => []);
  for (let round = 0; round < rounds; round++) {
    say(`trace, round ${round + 1} of ${rounds}`);
    for (let turn = 0; turn < COUNTS.length; turn++) {
      // each comes first in some rounds
      const at = (round + turn) % COUNTS.length,
        count = COUNTS[at];
      const command = count === '' ? ['run'] : ['trace', '--count', count];
      const run = await runProcess({
        command: process.execPath,
        args: [VISORKIT, ...command, ...what],
        timeoutMs: 600_000,
      });
      if (run.status !== 0 || run.timedOut)
        throw new Error(
          `Debian did not power off under visorkit ${command.join(' ')}: status ${run.status}.\n${run.errors}`,
        );
      cpu[at].push(run.cpuSeconds);
      wall[at].push(run.wallMs / 1000);
    }
  }
  const ratio = (samples: readonly number[], plain: readonly number[]): number =>
    summarise(samples.map((sample, round) => sample / plain[round])).median;
  return COUNTS.map((count, at) => ({
    count,
    cpuSeconds: summarise(cpu[at]),
    wallSeconds: summarise(wall[at]),
    cpuRatio: ratio(cpu[at], cpu[0]),
    wallRatio: ratio(wall[at], wall[0]),
  }));
}
