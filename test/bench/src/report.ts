/** The figures as tables for people. */
import type { ExitCost } from './exit-bench.js';
import type { KernelBench } from './kernel-bench.js';
import type { LinuxResult } from './linux-bench.js';
import type { MachineName } from './machines.js';
import type { NestedResult } from './nested-bench.js';
import type { IntrospectionResult } from './introspection-bench.js';
import type { RestoreResult } from './restore-bench.js';
import type { StartResult } from './start-bench.js';
import type { Summary } from './statistics.js';
import type { InterruptCost } from './interrupt-bench.js';
import type { EventCost } from './events-bench.js';
import type { TraceCost } from './trace-bench.js';
import type { ViewCost } from './views-bench.js';
import type { WorkResult } from './work-bench.js';

export interface Report {
  readonly date: string;
  readonly host: { readonly processor: string; readonly cores: number; readonly node: string; readonly load: number };
  readonly versions: Readonly<Partial<Record<MachineName, string>>>;
  readonly skipped: readonly string[];
  readonly rounds: number;
  readonly kernels?: KernelBench;
  readonly linux?: readonly LinuxResult[];
  readonly work?: readonly WorkResult[];
  readonly exits?: readonly ExitCost[];
  readonly interrupts?: readonly InterruptCost[];
  readonly views?: readonly ViewCost[];
  readonly events?: readonly EventCost[];
  readonly nested?: NestedResult;
  readonly restore?: RestoreResult;
  readonly introspection?: IntrospectionResult;
  readonly trace?: readonly TraceCost[];
  readonly hello?: { readonly milliseconds: Summary; readonly peakKiB: Summary };
  readonly start?: StartResult;
}

const number = (value: number | undefined, digits = 1): string =>
  value === undefined || Number.isNaN(value) ? '-' : value.toFixed(digits);

/** Columns side by side: the first to the left, the others to the right. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => (column === 0 ? cell.padEnd(widths[column]) : cell.padStart(widths[column])))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

function kernelTables({ bits, kernels, groups, machines }: KernelBench): string[] {
  const names = Object.keys(machines) as MachineName[],
    peers = names.filter((name) => name !== 'visorkit');
  return [
    table([
      [
        `kernel (${bits} bits)`,
        'M instr',
        ...names.flatMap((name) => [`${name} ms`, 'spread', 'MIPS']),
        ...peers.map((name) => `visorkit/${name}`),
      ],
      ...kernels.map(({ name, instructions, times, mips, ratios }) => [
        name,
        number(instructions / 1e6),
        ...names.flatMap((machine) => [
          number(times[machine]?.median),
          `${number((times[machine]?.spread ?? NaN) * 100, 0)}%`,
          number(mips[machine], 0),
        ]),
        ...peers.map((peer) => number(ratios[peer], 2)),
      ]),
      ...groups.map(({ group, mips, ratios }) => [
        `geometric mean, ${group}`,
        '',
        ...names.flatMap((machine) => ['', '', number(mips[machine], 0)]),
        ...peers.map((peer) => number(ratios[peer], 2)),
      ]),
    ]),
    table([
      ['machine', 'first line ms', 'peak RSS MiB'],
      ...names.map((name) => [
        name,
        number(machines[name]?.firstLineMs.median, 0),
        number((machines[name]?.peakKiB.median ?? NaN) / 1024),
      ]),
    ]),
  ];
}

export function humanReport(report: Report): string {
  const parts = [
    `${report.host.processor}, ${report.host.cores} cores, load ${number(report.host.load)}; ${Object.values(report.versions).join('; ')}`,
  ];
  if (report.kernels !== undefined) parts.push(...kernelTables(report.kernels));
  if (report.linux !== undefined) {
    parts.push(
      table([
        ['Debian boot', 'ready s', 'spread', 'power-off s', 'CPU s', 'peak RSS MiB', 'report'],
        ...report.linux.map(({ machine, readySeconds, endSeconds, cpuSeconds, peakKiB, report: own }) => [
          machine,
          number(readySeconds.median, 2),
          `${number(readySeconds.spread * 100, 0)}%`,
          number(endSeconds.median, 2),
          number(cpuSeconds.median, 2),
          number(peakKiB.median / 1024),
          own ?? '',
        ]),
      ]),
    );
  }
  if (report.work !== undefined) {
    const { work } = report;
    parts.push(
      table([
        ['in Debian, s', ...work.map(({ machine }) => machine)],
        ...Object.keys(work[0]!.seconds).map((name) => [
          name,
          ...work.map(({ seconds }) => number(seconds[name]!.median, 2)),
        ]),
        ['geometric mean of ratios to QEMU', ...work.map(({ ratio }) => number(ratio, 2))],
        ['the worst of them', ...work.map(({ worst }) => number(worst, 2))],
      ]),
    );
  }
  if (report.hello !== undefined)
    parts.push(
      `apps/hello: ${number(report.hello.milliseconds.median, 0)} ms from start to exit, peak RSS ${number(report.hello.peakKiB.median / 1024)} MiB`,
    );
  if (report.start !== undefined)
    parts.push(
      `a multiboot guest's first byte: ${number(report.start.firstByteMs.median, 0)} ms from the start of the command, Node's own start ${number(report.start.nodeMs.median, 0)}`,
    );
  if (report.exits !== undefined) {
    parts.push(
      table([
        ['exit', 'ns', 'heap growth in bytes over 1,000,000', 'collections'],
        ...report.exits.map(({ name, nanoseconds, heapGrowthBytes, collections }) => [
          name,
          number(nanoseconds),
          String(heapGrowthBytes),
          String(collections),
        ]),
      ]),
    );
  }
  if (report.interrupts !== undefined) {
    parts.push(
      table([
        ['in the guest alone', 'ns'],
        ...report.interrupts.map(({ name, nanoseconds }) => [name, number(nanoseconds)]),
      ]),
    );
  }
  if (report.views !== undefined) {
    parts.push(
      table([
        ['change of rights', 'ns', 'spread'],
        ...report.views.map(({ name, nanoseconds: { median, spread } }) => [
          name,
          number(median),
          `${number(spread * 100, 0)}%`,
        ]),
      ]),
    );
  }
  if (report.events !== undefined) {
    parts.push(
      table([
        ['event', 'ns', 'spread', 'the loop afterwards'],
        ...report.events.map(({ name, nanoseconds: { median, spread }, afterwards }) => [
          name,
          number(median),
          `${number(spread * 100, 0)}%`,
          `${number(afterwards * 100, 0)}% of the time before`,
        ]),
      ]),
    );
  }
  if (report.nested !== undefined) {
    const { costs, linux } = report.nested;
    parts.push(
      table([
        ["a CPUID of the hypervisor's guest", 'ns', 'spread', 'instructions'],
        ...costs.map(({ name, nanoseconds: { median, spread }, instructions }) => [
          name,
          number(median, 0),
          `${number(spread * 100, 0)}%`,
          String(instructions),
        ]),
      ]),
    );
    if (linux !== undefined)
      parts.push(
        `Debian on Debian's KVM is up after ${number(linux.guestSeconds.median)} s of CPU time, ${number(linux.ratio)} times what the hypervisor took (${number(linux.hypervisorSeconds.median)} s)`,
      );
  }
  if (report.introspection !== undefined) {
    const { dumpBytes, listMs, nodeMs, aboveNodeMs, physicalReads, linearReads, sequential } = report.introspection;
    parts.push(
      `processes of a dump of ${number(dumpBytes / 2 ** 20, 0)} MiB after ${number(listMs.median, 0)} ms, ${number(aboveNodeMs, 0)} ms above Node's start (${number(nodeMs.median, 0)} ms)`,
      `reads of 8 bytes: ${number(physicalReads.median)} million a second by physical address, ${number(linearReads.median)} by linear; of 4 KiB: ${number(sequential.median)} GB/s`,
    );
  }
  if (report.restore !== undefined) {
    const { promptMs, nodeMs, aboveNodeMs, fileBytes } = report.restore;
    parts.push(
      `a shell of Debian restored from ${number(fileBytes / 2 ** 20)} MiB answers after ${number(promptMs.median, 0)} ms, ${number(aboveNodeMs, 0)} ms above Node's start (${number(nodeMs.median, 0)} ms)`,
    );
  }
  if (report.trace !== undefined) {
    parts.push(
      table([
        ['a boot of Debian, counted by', 'CPU s', 'wall s', 'CPU', 'wall', 'spread of CPU'],
        ...report.trace.map(({ count, cpuSeconds, wallSeconds, cpuRatio, wallRatio }) => [
          count === '' ? 'nothing' : count,
          number(cpuSeconds.median, 2),
          number(wallSeconds.median, 2),
          number(cpuRatio, 2),
          number(wallRatio, 2),
          `${number(cpuSeconds.spread * 100, 0)}%`,
        ]),
      ]),
    );
  }
  for (const line of report.skipped) parts.push(`SKIPPED: ${line}`);
  return `${parts.join('\n\n')}\n`;
}
