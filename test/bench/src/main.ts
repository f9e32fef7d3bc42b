/**
 * Speed of the software processor beside its peers, all in one run. JSON to standard output or a file, tables to standard error.
 * Usage: node dist/main.js [--rounds 3] [--passes 3] [--peers translated,kept,bochs,qemu,v86|none] [--bits 64|32] [--only kernels or groups] [--linux] [--out FILE]
 *                          [--kernels] [--exits] [--hello] [--views] [--events] [--nested] [--restore] [--introspection] [--work] [--trace]
 * Kernels, exits and interrupts, views, events, nested VMX, starts (apps/hello, and the command with a multiboot guest), restoring and introspection are measured; --linux adds boots of Debian's kernel, also on its own KVM, and
 * --work programs in it, --trace boots whose exits are counted. Naming --kernels, --exits, --hello, --views, --events, --nested, --restore, --introspection,
 * --work or --trace leaves out the others.
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { eventsBench } from './events-bench.js';
import type { ExitCost } from './exit-bench.js';
import { interruptBench } from './interrupt-bench.js';
import { introspectionBench } from './introspection-bench.js';
import { kernelBench } from './kernel-bench.js';
import { selection } from './kernels.js';
import { linuxBench } from './linux-bench.js';
import { PEERS, missing, runHello, version } from './machines.js';
import type { MachineName } from './machines.js';
import { nestedBench } from './nested-bench.js';
import { humanReport } from './report.js';
import type { Report } from './report.js';
import { restoreBench } from './restore-bench.js';
import { startBench } from './start-bench.js';
import { summarise } from './statistics.js';
import { traceBench } from './trace-bench.js';
import { viewsBench } from './views-bench.js';
import { workBench } from './work-bench.js';

const say = (text: string): void => void process.stderr.write(`${text}\n`);

function count(option: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 100)
    throw new Error(`--${option} takes a whole number from 1 to 100, not "${text}".`);
  return value;
}

async function helloBench(rounds: number): Promise<Report['hello']> {
  say('apps/hello');
  const times: number[] = [],
    peaks: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const { wallMs, peakKiB, status, errors } = await runHello();
    if (status !== 0) throw new Error(`apps/hello ended with status ${status}.\n${errors}`);
    times.push(wallMs);
    peaks.push(peakKiB);
  }
  return { milliseconds: summarise(times), peakKiB: summarise(peaks) };
}

function exitCosts(): ExitCost[] {
  say('exits');
  const program = join(import.meta.dirname, 'exit-bench.js');
  return JSON.parse(
    execFileSync(process.execPath, ['--min-semi-space-size=64', '--max-semi-space-size=64', '--expose-gc', program], {
      encoding: 'utf8',
    }),
  ) as ExitCost[];
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '3' },
      passes: { type: 'string', default: '3' },
      peers: { type: 'string', default: PEERS.join() },
      bits: { type: 'string', default: '64' },
      only: { type: 'string', default: '' },
      kernels: { type: 'boolean' },
      linux: { type: 'boolean' },
      exits: { type: 'boolean' },
      hello: { type: 'boolean' },
      views: { type: 'boolean' },
      events: { type: 'boolean' },
      nested: { type: 'boolean' },
      restore: { type: 'boolean' },
      introspection: { type: 'boolean' },
      work: { type: 'boolean' },
      trace: { type: 'boolean' },
      out: { type: 'string' },
    },
  });
  const rounds = count('rounds', values.rounds),
    passes = count('passes', values.passes),
    selected = selection(values.only.split(',').filter(Boolean));
  if (values.bits !== '64' && values.bits !== '32') throw new Error(`--bits takes 64 or 32, not "${values.bits}".`);
  const bits = values.bits === '64' ? 64 : 32;
  const { kernels: k, exits: x, hello: h, views: w, events: e, nested: n, restore: r, introspection: i } = values;
  const all = !k && !x && !h && !w && !e && !n && !r && !i && !values.work && !values.trace;
  const skipped: string[] = [],
    machines: MachineName[] = ['visorkit'];
  for (const peer of values.peers.split(',').filter((name) => name !== '' && name !== 'none')) {
    const machine = PEERS.find((known) => known === peer);
    if (machine === undefined)
      throw new Error(`--peers takes ${PEERS.join(', ')}, separated by commas, or none; not "${peer}".`);
    const why = missing(machine, bits);
    if (why === '') machines.push(machine);
    else skipped.push(`${peer}: ${why}`);
  }
  for (const line of skipped) say(`SKIPPED: ${line}`);
  const host = {
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    node: process.version,
    load: loadavg()[0],
  };
  const kernels =
    all || values.kernels
      ? await kernelBench({ machines: machines.filter((name) => name !== 'kept'), rounds, passes, selected, bits, say })
      : undefined;
  const linux = values.linux && !n ? await linuxBench(machines, { bits, rounds, say }) : undefined;
  const work = values.work ? await workBench(machines, { bits, rounds, say }) : undefined;
  const hello = all || values.hello ? await helloBench(Math.max(3, rounds)) : undefined;
  const start = all || values.hello ? await startBench(Math.max(9, rounds)) : undefined;
  const exits = all || values.exits ? exitCosts() : undefined;
  const interrupts = all || values.exits ? await interruptBench() : undefined;
  if (all || values.views) say('views');
  const views = all || values.views ? await viewsBench() : undefined;
  if (all || values.events) say('events');
  const events = all || values.events ? await eventsBench() : undefined;
  const nested = all || values.nested ? await nestedBench(Math.max(3, rounds), values.linux ?? false, say) : undefined;
  skipped.push(...(nested?.skipped ?? []));
  const restore = all || values.restore ? await restoreBench(Math.max(9, rounds), say) : undefined;
  const introspection = all || values.introspection ? await introspectionBench(Math.max(5, rounds), say) : undefined;
  const trace = values.trace ? await traceBench(Math.max(5, rounds), say) : undefined;
  const report: Report = {
    date: new Date().toISOString(),
    host,
    versions: Object.fromEntries(machines.map((machine) => [machine, version(machine)])),
    skipped,
    rounds,
    ...(kernels === undefined ? {} : { kernels }),
    ...(linux === undefined ? {} : { linux }),
    ...(work === undefined ? {} : { work }),
    ...(hello === undefined ? {} : { hello }),
    ...(start === undefined ? {} : { start }),
    ...(exits === undefined ? {} : { exits }),
    ...(interrupts === undefined ? {} : { interrupts }),
    ...(views === undefined ? {} : { views }),
    ...(events === undefined ? {} : { events }),
    ...(nested === undefined ? {} : { nested }),
    ...(restore === undefined ? {} : { restore }),
    ...(introspection === undefined ? {} : { introspection }),
    ...(trace === undefined ? {} : { trace }),
  };
  say(`\n${humanReport(report)}`);
  const json = `${JSON.stringify(report, null, 2)}\n`;
  if (values.out === undefined) process.stdout.write(json);
  else writeFileSync(values.out, json);
}

try {
  await main();
} catch (error) {
  say(`bench: ${(error as Error).message}`);
  process.exitCode = 1;
}
