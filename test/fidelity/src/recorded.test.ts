/** The recorded subset of the comparison with a real processor. */
import { describe, expect, it } from 'vitest';
import { compareCase } from './compare.js';
import { EngineRunner } from './engine.js';
import { explain } from './explain.js';
import { CASE_BYTES, caseAt, CaseView, DATA_BYTES, PATTERNS, ResultView } from './format.js';
import { generate, GROUPS } from './generate.js';
import { ENGINE_MODULE, engineIsBuilt } from './processor.js';
import { caseChecksum, loadRecorded, packResults, RECORDED_PARTS, unpackResults } from './record.js';

describe('instructions against a real processor, recorded', () => {
  it('names the same cases by the same seed', () => {
    const a = generate(9, 100, 50);
    const b = generate(9, 100, 50);
    expect(caseChecksum(a)).toBe(caseChecksum(b));
    expect(caseChecksum(generate(10, 100, 50))).not.toBe(caseChecksum(a));
    // a run of cases does not depend on where it starts
    expect(Buffer.compare(generate(9, 120, 1).bytes, a.bytes.subarray(20 * CASE_BYTES, 21 * CASE_BYTES))).toBe(0);
  });

  it('has recorded results of every group that 64-bit kernels can run', () => {
    const groups = new Set<string>();
    for (const part of RECORDED_PARTS) {
      const { set, native } = loadRecorded(part);
      expect(native).toHaveLength(part.cases);
      for (const name of set.groups) groups.add(name);
      expect(unpackResults(set, packResults(set, native)).every((r, i) => Buffer.compare(r, native[i]!) === 0)).toBe(
        true,
      );
    }
    // rights-32 needs a machine with 32-bit programs: `npm run fidelity` has it
    for (const { name } of GROUPS) if (name !== 'rights-32') expect(groups, name).toContain(name);
  }, 120_000);

  it('applies patches to the data area in order', () => {
    const bytes = new Uint8Array(CASE_BYTES);
    bytes[5] = 2;
    bytes.set([0x10, 0, 2, 0, 0xaa, 0xbb, 0x11, 0, 1, 0, 0xcc], 864);
    const data = new Uint8Array(DATA_BYTES);
    new CaseView(bytes).fillData(data);
    expect(Array.from(data.subarray(0x10, 0x13))).toEqual([0xaa, 0xcc, PATTERNS[0]![0x12]]);
  });

  it.skipIf(!engineIsBuilt()).each(RECORDED_PARTS)(
    'agrees with the engine: $name, $cases cases',
    async (part) => {
      const { set, native } = loadRecorded(part);
      const engine = await EngineRunner.create();
      const ours = engine.run(set);
      const mismatches: string[] = [];
      for (let i = 0; i < ours.length; i++) {
        const differences = compareCase(caseAt(set, i), native[i]!, ours[i]!);
        if (differences.length > 0) mismatches.push(explain(set, i, differences));
      }
      expect(mismatches.slice(0, 5).join('\n\n')).toBe('');
      // the comparison itself sees differences: one register of one result changed
      const index = native.findIndex((r) => new ResultView(r).vector === 3);
      const changed = ours[index]!.slice();
      changed[40]! ^= 1;
      expect(compareCase(caseAt(set, index), native[index]!, changed).map((d) => d.field)).toContain('rax');
    },
    120_000,
  );

  if (!engineIsBuilt())
    console.warn(`skipped: ${ENGINE_MODULE} has not been built, so the recorded results are compared with nothing.`);
});
