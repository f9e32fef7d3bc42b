/**
 * Runs kvm-unit-tests on visorkit. The suite is not part of this project: build it elsewhere and name the folder.
 *
 *     node test/kvm-unit-tests/dist/main.js --suite DIR [--only names] [--json FILE] [--output FOLDER]
 *
 * Reads DIR/x86/unittests.cfg, runs each program with its arguments and time limit in its own process, prints a table. --timeout replaces the
 * programs' own limits, --time is real or virtual, --translate off, on or a threshold, --cpus says how many CPUs the machine can have, --jobs how many programs run at a time, --nested adds the programs
 * that need virtualisation in the guest, --vmx runs the tests of vmx.flat instead, each by its name, and --vmx-entries the configuration's own
 * entries for vmx.flat, as they are; --output keeps what each printed.
 * Exits 0 when every program passed or skipped, 1 when one did not, 2 when it could not begin.
 */
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { DEFAULT_MEMORY, DEFAULT_TIMEOUT, parseConfig, vmxConfigurations, vmxEntries } from './config.js';
import type { SuiteEntry } from './config.js';
import { runProgram } from './run-program.js';
import type { ProgramResult } from './run-program.js';
import { formatTable, formatTotals, totalsOf } from './table.js';

/** Programs about virtualisation in the guest, which needs a plugin of its own. */
const NESTED = new Set(['vmx.flat', 'svm.flat', 'svm_npt.flat']);

const OPTIONS = {
  suite: { type: 'string' },
  only: { type: 'string' },
  json: { type: 'string' },
  output: { type: 'string' },
  timeout: { type: 'string' },
  cpus: { type: 'string', default: '1' },
  jobs: { type: 'string', default: '1' },
  backend: { type: 'string', default: 'vmx' },
  time: { type: 'string', default: 'real' },
  translate: { type: 'string' },
  nested: { type: 'boolean', default: false },
  vmx: { type: 'boolean', default: false },
  'vmx-entries': { type: 'boolean', default: false },
  list: { type: 'boolean', default: false },
} as const;

function stop(sentence: string): never {
  console.error(sentence);
  process.exit(2);
}

function flags() {
  try {
    return parseArgs({ options: OPTIONS }).values;
  } catch (error) {
    return stop((error as Error).message);
  }
}
const values = flags();

function positive(option: string, text: string): number {
  const value = Number(text);
  return Number.isFinite(value) && value > 0 ? value : stop(`--${option} takes a number above 0, not "${text}".`);
}

/** What the configuration lists for 64-bit processors, then the programs it does not mention. */
function entriesOf(suite: string): SuiteEntry[] {
  const path = join(suite, 'x86', 'unittests.cfg');
  if (!existsSync(path)) stop(`There is no ${path}: --suite takes the folder of a built kvm-unit-tests.`);
  const configured = parseConfig(readFileSync(path, 'utf8'), Math.floor(Date.now() / 1000));
  if (values.vmx) {
    const source = (file: string): string => readFileSync(join(suite, 'x86', file), 'utf8');
    return vmxEntries(source('vmx.c'), source('vmx_tests.c'), configured);
  }
  if (values['vmx-entries']) return vmxConfigurations(configured);
  const named = new Set(configured.map(({ file }) => file));
  const unlisted = readdirSync(join(suite, 'x86'))
    .filter((file) => file.endsWith('.flat') && !named.has(file))
    .sort();
  return [
    ...configured.filter(({ arch }) => arch !== 'i386'),
    ...unlisted.map(
      (file): SuiteEntry => ({
        name: file.replace(/\.flat$/, ''),
        file,
        args: '',
        cpus: 1,
        memory: DEFAULT_MEMORY,
        timeout: DEFAULT_TIMEOUT,
        groups: [],
        cpu: [],
        unlisted: true,
      }),
    ),
  ].filter(({ file }) => existsSync(join(suite, 'x86', file)) && (values.nested || !NESTED.has(file)));
}

if (values.suite === undefined)
  stop(
    'Usage: node test/kvm-unit-tests/dist/main.js --suite DIR [--only names] [--json FILE] [--output FOLDER] [--timeout SECONDS] [--cpus N] [--jobs N] [--nested] [--vmx] [--vmx-entries] [--list]',
  );
const suite = resolve(values.suite);
const all = entriesOf(suite);
const wanted = values.only?.split(',');
for (const name of wanted ?? [])
  if (!all.some((entry) => entry.name === name))
    stop(
      `The suite has no program "${name}" for this processor. It has: ${all.map((entry) => entry.name).join(', ')}.`,
    );
const entries = all.filter(({ name, groups }) =>
  wanted === undefined ? !groups.includes('nodefault') : wanted.includes(name),
);
if (values.list) {
  for (const entry of entries) console.log(`${entry.name}: ${entry.file} ${entry.args}`);
  process.exit(0);
}
const output = values.output;
if (output !== undefined) mkdirSync(output, { recursive: true });
const options = {
  suite,
  maxCpus: positive('cpus', values.cpus),
  ...(values.timeout === undefined ? {} : { timeout: positive('timeout', values.timeout) }),
  backend: values.backend,
  time: values.time,
  ...(values.translate === undefined ? {} : { translate: values.translate }),
  ...(output === undefined
    ? {}
    : {
        onOutput: (name: string, text: string) => writeFileSync(join(output, `${name.replaceAll('/', '_')}.log`), text),
      }),
};

const results = new Map<SuiteEntry, ProgramResult>();
const waiting = [...entries];
async function worker(): Promise<void> {
  for (let entry = waiting.shift(); entry !== undefined; entry = waiting.shift()) {
    const result = await runProgram(entry, options);
    results.set(entry, result);
    console.error(
      `${result.verdict.padEnd(8)}${result.name} ${result.pass}/${result.fail}/${result.skip} ${result.seconds.toFixed(1)} s${result.why === undefined ? '' : ` (${result.why})`}`,
    );
  }
}
await Promise.all(Array.from({ length: positive('jobs', values.jobs) }, worker));

const ordered = entries.map((entry) => results.get(entry) as ProgramResult);
const totals = totalsOf(ordered);
console.log(`${formatTable(ordered)}\n\n${formatTotals(totals)}`);
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify({ totals, results: ordered }, null, 2)}\n`);
process.exitCode = ordered.every(({ verdict }) => verdict === 'PASS' || verdict === 'SKIP') ? 0 : 1;
