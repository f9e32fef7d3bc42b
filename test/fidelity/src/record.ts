/**
 * Records what this machine's processor does with a seeded subset of the cases: `node test/fidelity/dist/record.js [PART]`.
 *
 * A part is some groups and a file: a machine whose kernel has no 32-bit programs can record the 64-bit part anew.
 * The file holds results only; the cases are generated again from the seed. A result is stored as its difference from the
 * state before the case, the whole gzipped. A checksum of the cases tells a test when the generator has changed.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { argv } from 'node:process';
import { fileURLToPath } from 'node:url';
import { gunzipSync, gzipSync } from 'node:zlib';
import { CASE, CASE_BYTES, type CaseSet, caseAt, FPU, RESULT } from './format.js';
import { generate, GROUPS } from './generate.js';
import type { Group } from './groups/group.js';
import { runNative } from './native.js';

const SEED = 20260101;

export interface RecordedPart {
  readonly name: string;
  readonly groups: readonly Group[];
  readonly cases: number;
}
const RIGHTS = /^rights/;
export const RECORDED_PARTS: readonly RecordedPart[] = [
  { name: 'recorded', groups: GROUPS.filter(({ name }) => !RIGHTS.test(name)), cases: 12_000 },
  { name: 'recorded-rights', groups: GROUPS.filter(({ name }) => name === 'rights'), cases: 3_000 },
];
const fileOf = ({ name }: RecordedPart): string =>
  join(dirname(fileURLToPath(import.meta.url)), '..', 'data', `${name}.bin.gz`);
const casesOf = ({ cases, groups }: RecordedPart): CaseSet => generate(SEED, 0, cases, groups);

export function caseChecksum(set: CaseSet): string {
  return createHash('sha256').update(set.bytes).digest('hex').slice(0, 16);
}

/** The result a case would have if it changed nothing: what differences are taken against. */
function baseline(set: CaseSet, index: number): Uint8Array {
  const c = caseAt(set, index);
  const out = new Uint8Array(RESULT.runs);
  const view = new DataView(out.buffer);
  view.setUint32(RESULT.vector, 3, true);
  view.setBigUint64(RESULT.rip, BigInt(c.rip + c.code.length + 1), true);
  view.setBigUint64(RESULT.rflags, c.rflags | 0x202n, true);
  out.set(c.bytes.subarray(CASE.gpr, CASE.gpr + 128), RESULT.gpr);
  const segments = c.is32 ? [0x2b, 0x23, 0x2b, 0x2b, 0x2b, 0x2b] : [0, 0x33, 0x2b, 0, 0, 0];
  segments.forEach((s, i) => view.setUint16(RESULT.segments + i * 2, s, true));
  out.set(c.fpu, RESULT.fpu);
  view.setUint32(RESULT.fpu + FPU.word, 0, true);
  return out;
}

/** Differences as (u16 offset, u16 length, bytes) runs, an 0xffff offset at the end. */
export function packResults(set: CaseSet, results: readonly Uint8Array[]): Uint8Array {
  const parts: number[] = [];
  results.forEach((r, index) => {
    const base = baseline(set, index);
    for (let i = 4; i < r.length; ) {
      if (i < base.length && r[i] === base[i]) {
        i++;
        continue;
      }
      const from = i;
      while (i < r.length && (i >= base.length || r[i] !== base[i])) i++;
      parts.push(from & 255, from >> 8, (i - from) & 255, (i - from) >> 8);
      for (let k = from; k < i; k++) parts.push(r[k]!);
    }
    parts.push(0xff, 0xff);
  });
  return Uint8Array.from(parts);
}

export function unpackResults(set: CaseSet, packed: Uint8Array): Uint8Array[] {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  const out: Uint8Array[] = [];
  const scratch = new Uint8Array(65536);
  let at = 0;
  for (let index = 0; index < set.bytes.length / CASE_BYTES; index++) {
    const base = baseline(set, index);
    scratch.set(base);
    let size = base.length;
    for (;;) {
      const offset = view.getUint16(at, true);
      if (offset === 0xffff) break;
      const length = view.getUint16(at + 2, true);
      scratch.set(packed.subarray(at + 4, at + 4 + length), offset);
      size = Math.max(size, offset + length);
      at += 4 + length;
    }
    at += 2;
    const r = scratch.slice(0, size);
    new DataView(r.buffer).setUint32(RESULT.size, size, true);
    out.push(r);
  }
  return out;
}

/** A recorded part: cases generated anew, results from the file. Throws when the generator no longer makes those cases. */
export function loadRecorded(part: RecordedPart): { set: CaseSet; native: Uint8Array[] } {
  const bytes = gunzipSync(readFileSync(fileOf(part)));
  const checksum = bytes.subarray(0, 16).toString('latin1');
  const set = casesOf(part);
  if (caseChecksum(set) !== checksum)
    throw new Error(
      'The case generator has changed since the results were recorded: run "npm run fidelity:record" on a machine with gcc.',
    );
  return { set, native: unpackResults(set, bytes.subarray(16)) };
}

if (argv[1] && fileURLToPath(import.meta.url) === argv[1]) {
  for (const part of RECORDED_PARTS.filter(({ name }) => argv[2] === undefined || name === argv[2])) {
    const set = casesOf(part);
    const results = runNative(set);
    const file = gzipSync(Buffer.concat([Buffer.from(caseChecksum(set), 'latin1'), packResults(set, results)]), {
      level: 9,
    });
    mkdirSync(dirname(fileOf(part)), { recursive: true });
    writeFileSync(fileOf(part), file);
    console.log(`${part.name}: ${results.length} results, ${file.length} bytes.`);
  }
}
