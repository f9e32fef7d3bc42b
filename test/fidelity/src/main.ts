/**
 * Compares the engine with the machine's own processor:
 *
 *     node test/fidelity/dist/main.js --cases 200000 --seed 1 [--groups alu,shift] [--show 3] [--from 0] [--translate]
 *
 * With --translate cases run as translated code, as far as they can, and are compared, bit for bit, with the interpreter.
 *
 * Prints mismatches as disassembly with the fields that differ, a table of groups, and exits 1 if anything differed.
 */
import { parseArgs } from 'node:util';
import { compareCase, decodeCase, type Difference } from './compare.js';
import { EngineRunner } from './engine.js';
import { explain } from './explain.js';
import { type CaseSet, caseAt } from './format.js';
import { generate, GROUPS } from './generate.js';
import { buildHarness, runNative, runs32Bit } from './native.js';
import { ENGINE_MODULE, engineIsBuilt } from './processor.js';

const BATCH = 10_000;

const OPTIONS = {
  cases: { type: 'string', default: '20000' },
  seed: { type: 'string', default: '1' },
  from: { type: 'string', default: '0' },
  groups: { type: 'string' },
  show: { type: 'string', default: '2' },
  list: { type: 'boolean', default: false },
  translate: { type: 'boolean', default: false },
} as const;

function stop(problem: unknown): never {
  console.error(problem instanceof Error ? problem.message : String(problem));
  process.exit(2);
}

function options() {
  try {
    return parseArgs({ options: OPTIONS }).values;
  } catch (error) {
    stop(error);
  }
}
const values = options();

/** What results are compared with. */
async function reference(): Promise<{ run: (set: CaseSet) => (Uint8Array | undefined)[]; only64: boolean }> {
  if (values.translate) {
    const interpreter = await EngineRunner.create();
    return { run: (set) => interpreter.run(set), only64: false };
  }
  try {
    const harness = buildHarness();
    return { run: (set) => runNative(set, harness), only64: !runs32Bit(harness) };
  } catch (error) {
    return stop(error);
  }
}

if (values.list) {
  console.log(GROUPS.map((g) => g.name).join('\n'));
  process.exit(0);
}
const wanted = values.groups?.split(',');
let groups = wanted ? GROUPS.filter((g) => wanted.includes(g.name)) : GROUPS;
if (groups.length === 0 || (wanted && groups.length !== wanted.length)) {
  console.error(`Unknown group in "${values.groups}". Known groups: ${GROUPS.map((g) => g.name).join(', ')}.`);
  process.exit(2);
}
const total = Number(values.cases);
const seed = Number(values.seed);
const show = Number(values.show);
if (
  !Number.isInteger(total) ||
  total < 1 ||
  !Number.isInteger(seed) ||
  !Number.isInteger(show) ||
  !Number.isInteger(Number(values.from))
) {
  console.error(
    `--cases takes a number of at least 1, --seed, --from and --show an integer; got ${values.cases}, ${values.seed}, ${values.from}, ${values.show}.`,
  );
  process.exit(2);
}

if (!engineIsBuilt()) stop(`${ENGINE_MODULE} is missing: build the engine first (npm run build).`);
const expected = await reference();
const { only64 } = expected;
if (only64) {
  const left = groups.filter(({ modes }) => modes === 32).map(({ name }) => name);
  groups = groups.filter(({ modes }) => modes !== 32);
  const without = left.length === 0 ? '' : ` Left out: ${left.join(', ')}.`;
  console.error(
    `This machine's kernel runs no 32-bit code (IA32 emulation is off), so all cases are 64-bit code.${without}`,
  );
  if (groups.length === 0) process.exit(2);
}
const engine = await EngineRunner.create({ translates: values.translate });
const summary = new Map<string, { cases: number; mismatches: number }>();
const byMnemonic = new Map<string, { count: number; fields: Map<string, number> }>();
const allowed = new Map<string, number>();
const started = Date.now();
let mismatches = 0;

for (let done = 0; done < total; ) {
  const count = Math.min(BATCH, total - done);
  const set = generate(seed, Number(values.from) + done, count, groups, only64);
  const native = expected.run(set);
  const ours = engine.run(set);
  for (let i = 0; i < count; i++) {
    const row = summary.get(set.groups[i]!) ?? { cases: 0, mismatches: 0 };
    summary.set(set.groups[i]!, row);
    row.cases++;
    const c = caseAt(set, i);
    const differences: Difference[] = native[i]
      ? compareCase(c, native[i]!, ours[i]!, (cite) => allowed.set(cite, (allowed.get(cite) ?? 0) + 1))
      : [{ field: 'result', native: 'none', engine: '' }];
    // between the two tiers nothing is undefined
    if (values.translate && differences.length === 0 && Buffer.compare(native[i]!, ours[i]!) !== 0)
      differences.push({ field: 'undefined results', native: 'interpreted', engine: 'translated' });
    if (differences.length === 0) continue;
    row.mismatches++;
    mismatches++;
    const [first] = decodeCase(c);
    const key = `${set.groups[i]}: ${first?.text.split(' ').filter((w) => !/^(lock|rep|repe|repne|repz|repnz)$/.test(w))[0] ?? '?'}`;
    const entry = byMnemonic.get(key) ?? { count: 0, fields: new Map<string, number>() };
    byMnemonic.set(key, entry);
    entry.count++;
    for (const d of differences) {
      const name = d.field === 'vector' ? `${d.native}->${d.engine}` : d.field.replace(/^\[.*/, 'memory');
      entry.fields.set(name, (entry.fields.get(name) ?? 0) + 1);
    }
    if (entry.count <= show) console.log(explain(set, i, differences, Number(values.from) + done) + '\n');
  }
  done += count;
  if (total > BATCH) process.stderr.write(`\r${done} of ${total} cases, ${mismatches} mismatches `);
}
if (total > BATCH) process.stderr.write('\n');

if (byMnemonic.size > 0) {
  console.log('Mismatches by group and first instruction:');
  for (const [key, entry] of [...byMnemonic].sort((a, b) => b[1].count - a[1].count)) {
    const fields = [...entry.fields]
      .sort((a, b) => b[1] - a[1])
      .slice(0, 6)
      .map(([f, n]) => `${f} ${n}`)
      .join(', ');
    console.log(`${String(entry.count).padStart(7)}  ${key.padEnd(34)} ${fields}`);
  }
  console.log();
}
console.log('group                  cases  mismatches');
for (const [name, row] of summary)
  console.log(`${name.padEnd(20)} ${String(row.cases).padStart(7)} ${String(row.mismatches).padStart(11)}`);
if (allowed.size > 0) {
  console.log('\nDifferences that the manuals allow, beside undefined flags and results:');
  for (const [cite, count] of [...allowed].sort((a, b) => b[1] - a[1]))
    console.log(`${String(count).padStart(7)}  ${cite}`);
  console.log();
}
if (values.translate) console.log(`${engine.translated} instructions ran as translated code.`);
const seconds = (Date.now() - started) / 1000;
console.log(
  `${'all'.padEnd(20)} ${String(total).padStart(7)} ${String(mismatches).padStart(11)}   (seed ${seed}, ${seconds.toFixed(1)} s)`,
);
process.exit(mismatches === 0 ? 0 : 1);
