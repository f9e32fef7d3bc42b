/** Outcomes in words: names of vectors and flags, and the whole account of a mismatch. */
import { decodeCase, type Difference, operandOffset } from './compare.js';
import { CASE, type CaseSet, caseAt, DATA_BYTES, FPU, PATTERNS, READ_ONLY } from './format.js';
import { describeSegments } from './segments.js';
import { flagNames, hex, hexBytes, REGISTERS } from './names.js';

/** A readable account of one mismatch. `from` is the number of the set's first case. */
export function explain(set: CaseSet, index: number, differences: readonly Difference[], from = 0): string {
  const c = caseAt(set, index);
  const lines = [`case ${from + index} (${set.groups[index]}, ${c.bits}-bit): ${hexBytes(c.code.slice().reverse())}`];
  for (const i of decodeCase(c)) lines.push(`    ${hex(i.address)}  ${i.text}`);
  lines.push(
    `    before: flags ${flagNames(Number(c.rflags))}  mxcsr ${hex(c.view.getUint32(CASE.fpu + FPU.mxcsr, true))} fcw ${hex(c.view.getUint16(CASE.fpu + FPU.fcw, true))} fsw ${hex(c.view.getUint16(CASE.fpu + FPU.fsw, true))} ftw ${hex(c.bytes[CASE.fpu + FPU.ftw]!)}`,
  );
  const used = new Set(differences.map((d) => d.field));
  const registers = REGISTERS.slice(0, c.is32 ? 8 : 16).map((n, r) => `${n}=${c.gpr(r).toString(16)}`);
  lines.push(`    ${registers.join(' ')}`);
  if (c.segments >= 0) lines.push(`    segments ${describeSegments(c.segments)}`);
  for (const i of decodeCase(c)) {
    const at = i.hasMemory ? operandOffset(c, i) : undefined;
    if (at !== undefined) {
      const data = new Uint8Array(DATA_BYTES);
      c.fillData(data);
      const view =
        at >= READ_ONLY
          ? PATTERNS[0]!.subarray(at - READ_ONLY, at - READ_ONLY + 16)
          : data.subarray(Math.max(0, at), Math.max(0, at) + 32);
      lines.push(`    [data+${hex(at)}] = ${hexBytes(view.slice())}`);
    }
  }
  for (let r = 0; r < 8; r++)
    if (used.has(`st${r}`) || set.groups[index]!.startsWith('x87'))
      lines.push(`    st${r} before: ${hexBytes(c.fpu.slice(FPU.st + r * 16, FPU.st + r * 16 + 10))}`);
  if (/sse|avx|fma|f16|mutate|random|crypto|approx|gather/.test(set.groups[index]!))
    for (let r = 0; r < (c.is32 ? 8 : 16); r++)
      if (decodeCase(c).some((i) => new RegExp(`[xy]mm${r}\\b`).test(i.text)) || used.has(`ymm${r}`))
        lines.push(`    ymm${r} before: ${hexBytes(c.fpu.slice(FPU.ymm + r * 32, FPU.ymm + r * 32 + 32))}`);
  for (const d of differences) lines.push(`    ${d.field.padEnd(14)} native ${d.native}   engine ${d.engine}`);
  return lines.join('\n');
}
