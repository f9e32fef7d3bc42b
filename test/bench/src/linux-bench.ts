/** Debian's kernel with busybox, from the start of the process to the guest's line that it is up, and to its power-off. */
import { join } from 'node:path';
import { GUEST_READY, guestParameters, prepareDebianGuest } from '@visorkit/guests';
import type { Bits } from './guest.js';
import { inFolder, runLinux } from './machines.js';
import type { MachineName } from './machines.js';
import { summarise } from './statistics.js';
import type { Summary } from './statistics.js';

export interface LinuxResult {
  readonly machine: MachineName;
  readonly readySeconds: Summary;
  /** NaN where the guest cannot be powered off. */
  readonly endSeconds: Summary;
  /** Processor time of the whole run. */
  readonly cpuSeconds: Summary;
  readonly peakKiB: Summary;
  /** What visorkit says of its instructions and speed. */
  readonly report?: string;
}

export async function linuxBench(
  machines: readonly MachineName[],
  { bits, rounds, say }: { bits: Bits; rounds: number; say: (text: string) => void },
): Promise<LinuxResult[]> {
  const guest = await prepareDebianGuest({
    arch: bits === 64 ? 'amd64' : 'i386',
    onProgress: ({ message, percent }) => {
      if (percent === undefined) say(message);
    },
  });
  const commandLine = `console=ttyS0 ${guestParameters({ mode: 'off' })}`;
  const runnable = machines.filter((machine) => machine !== 'bochs');
  const samples = new Map(
    runnable.map((machine) => [
      machine,
      { ready: [] as number[], end: [] as number[], cpu: [] as number[], peak: [] as number[], report: '' },
    ]),
  );
  await inFolder(async (folder) => {
    const options = {
      kernel: guest.kernel,
      initramfs: guest.initramfs,
      commandLine,
      ready: GUEST_READY,
      timeoutMs: 600_000,
      translations: join(folder, 'translations'),
    };
    if (runnable.includes('kept')) await runLinux('kept', options); // for what it leaves
    for (let round = 1; round <= rounds; round++) {
      for (const machine of runnable) {
        const run = await runLinux(machine, options);
        const ready = run.lines.find(({ text }) => text.includes(GUEST_READY));
        if (ready === undefined || run.timedOut)
          throw new Error(
            `Linux did not come up on ${machine}: its last line is "${run.lines.at(-1)?.text ?? ''}", its status ${run.status}.\n${run.errors}`,
          );
        say(`Linux, round ${round} of ${rounds}: ${machine}, ready after ${(ready.last / 1000).toFixed(2)} s`);
        const sample = samples.get(machine)!;
        sample.ready.push(ready.last / 1000);
        sample.end.push(machine === 'v86' ? NaN : run.wallMs / 1000);
        sample.cpu.push(run.cpuSeconds);
        sample.peak.push(run.peakKiB);
        sample.report = reportOf(run.errors);
      }
    }
  });
  return [...samples].map(([machine, { ready, end, cpu, peak, report }]) => ({
    machine,
    readySeconds: summarise(ready),
    endSeconds: summarise(end),
    cpuSeconds: summarise(cpu),
    peakKiB: summarise(peak),
    ...(report === '' ? {} : { report }),
  }));
}

/** What visorkit says of its work with --verbose. */
function reportOf(errors: string): string {
  const speed = /^\s*(\d+ instructions in .*MIPS)/m.exec(errors)?.[1],
    statistics = errors.matchAll(/^ *(\d+) ((?:instructions run|regions|modules|bytes|milliseconds) .*)$/gm);
  return [speed, ...[...statistics].map(([, count, what]) => `${count} ${what}`)]
    .filter((part) => part !== undefined)
    .join(', ');
}
