/** Programs of busybox in Debian, one after another in one boot, on each machine: what a user waits for once the guest is up. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CpioWriter } from '@visorkit/formats';
import { prepareDebianGuest } from '@visorkit/guests';
import type { Bits } from './guest.js';
import { runLinux } from './machines.js';
import type { MachineName } from './machines.js';
import { geometricMean, summarise } from './statistics.js';
import type { Summary } from './statistics.js';

export interface WorkResult {
  readonly machine: MachineName;
  /** Seconds of the host's clock, by program. */
  readonly seconds: Readonly<Record<string, Summary>>;
  /** Geometric mean of the programs' medians over QEMU's; NaN for QEMU itself, and where it has not run. */
  readonly ratio: number;
  readonly worst: number;
}

/** By name: what the shell runs. Each takes QEMU some tenths of a second at least, so that when a line comes does not matter. */
const WORK: Readonly<Record<string, string>> = {
  sha256sum: 'sha256sum /tmp/data',
  gzip: 'gzip -c /tmp/text > /tmp/text.gz',
  awk: "awk 'BEGIN { for (i = 0; i < 400000; i++) s += i % 7; print s }'",
  'fork+exec': 'i=0; while [ $i -lt 200 ]; do /bin/busybox true; i=$((i+1)); done',
  'shell loop': 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done',
  pipe: 'cat /tmp/data /tmp/data | cat | cat | wc -c',
  find: 'find / -xdev > /dev/null; find /proc /sys -name "*e*" | wc -l',
  sort: 'sort /tmp/text > /dev/null',
};
const READY = 'the work is done';

function script(): string {
  const steps = Object.entries(WORK).map(
    ([name, command]) => `echo 'BEGIN ${name}'\n{ ${command}; } > /dev/null 2>&1\necho 'END ${name}'`,
  );
  return `#!/bin/sh
export PATH=/sbin:/usr/sbin:/bin:/usr/bin
mount -t devtmpfs devtmpfs /dev
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /tmp
dmesg -n 1
dd if=/dev/zero of=/tmp/data bs=1M count=24 2>/dev/null
i=0; while [ $i -lt 40 ]; do cat /proc/kallsyms | head -n 2000 | awk '{ print $3 }'; i=$((i+1)); done > /tmp/text
${steps.join('\n')}
echo '${READY}'
poweroff -f
`;
}

export async function workBench(
  machines: readonly MachineName[],
  { bits, rounds, say }: { bits: Bits; rounds: number; say: (text: string) => void },
): Promise<WorkResult[]> {
  const guest = await prepareDebianGuest({ arch: bits === 64 ? 'amd64' : 'i386', onProgress: () => {} });
  const folder = mkdtempSync(join(tmpdir(), 'visorkit-bench-'));
  const runnable = machines.filter((machine) => machine !== 'bochs');
  const samples = new Map(runnable.map((machine) => [machine, new Map<string, number[]>()]));
  try {
    const initramfs = join(folder, 'initramfs');
    const more = new CpioWriter().file('work', script(), 0o755).finish();
    writeFileSync(initramfs, Buffer.concat([readFileSync(guest.initramfs), more]));
    const options = {
      kernel: guest.kernel,
      initramfs,
      commandLine: 'console=ttyS0 quiet rdinit=/work',
      ready: READY,
      timeoutMs: 600_000,
      translations: join(folder, 'translations'),
    };
    if (runnable.includes('kept')) await runLinux('kept', options); // for what it leaves
    for (let round = 1; round <= rounds; round++) {
      for (const machine of runnable) {
        const { lines, errors } = await runLinux(machine, options);
        for (const name of Object.keys(WORK)) {
          const [begin, end] = [`BEGIN ${name}`, `END ${name}`].map((mark) => lines.find(({ text }) => text === mark));
          if (begin === undefined || end === undefined)
            throw new Error(
              `${name} did not run to its end on ${machine}: the last line is "${lines.at(-1)?.text ?? ''}".\n${errors}`,
            );
          const of = samples.get(machine)!;
          of.set(name, [...(of.get(name) ?? []), (end.last - begin.last) / 1000]);
        }
        say(`user work, round ${round} of ${rounds}: ${machine}`);
      }
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  const seconds = new Map(
    runnable.map((machine) => [
      machine,
      Object.fromEntries([...samples.get(machine)!].map(([name, times]) => [name, summarise(times)])),
    ]),
  );
  const peer = seconds.get('qemu');
  return runnable.map((machine) => {
    const own = seconds.get(machine)!,
      ratios =
        peer === undefined || machine === 'qemu'
          ? []
          : Object.keys(WORK).map((name) => own[name]!.median / peer[name]!.median);
    return {
      machine,
      seconds: own,
      ratio: ratios.length === 0 ? NaN : geometricMean(ratios),
      worst: ratios.length === 0 ? NaN : Math.max(...ratios),
    };
  });
}
