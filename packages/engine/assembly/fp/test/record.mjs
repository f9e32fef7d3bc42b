// Records what this machine's processor computes: builds native-sse.c and native-x87.c with gcc, keeps some cases of every
// instruction and writes recorded.bin.gz.
// usage: node record.mjs            record anew
//        node record.mjs check N    compare N million SSE and N million x87 cases with the library, recording nothing
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { compile, load, describeX87, SSE_BYTES, X87_BYTES, pack } from './compile.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const work = mkdtempSync(join(tmpdir(), 'visorkit-fp-'));
const build = (name) =>
  execFileSync('gcc', ['-O1', '-mno-red-zone', '-o', join(work, name), join(here, `${name}.c`)], { stdio: 'inherit' });
const run = (name, seed, count) =>
  execFileSync(join(work, name), [String(seed), String(count)], { maxBuffer: 2 ** 30 });

function keepSome(data, size, perKey, keyOf) {
  const seen = new Map();
  const kept = [];
  for (let at = 0; at < data.length; at += size) {
    const key = keyOf(at);
    const n = seen.get(key) ?? 0;
    if (n >= perKey) continue;
    seen.set(key, n + 1);
    kept.push(data.subarray(at, at + size));
  }
  return Buffer.concat(kept);
}

try {
  build('native-sse');
  build('native-x87');
  if (process.argv[2] === 'check') {
    const millions = Number(process.argv[3] ?? 1);
    const { exports } = await compile();
    let wrong = 0;
    for (let part = 0; part < millions * 4; part++) {
      for (const [name, size, check] of [
        ['native-sse', SSE_BYTES, exports.checkSse],
        ['native-x87', X87_BYTES, exports.checkX87],
      ]) {
        const data = run(name, part + 1, 250_000);
        const base = load(exports, data);
        for (
          let i = check(base, 0, data.length / size);
          i < data.length / size;
          i = check(base, i + 1, data.length / size)
        ) {
          if (wrong++ < 20)
            console.log(
              name,
              i,
              size === X87_BYTES ? describeX87(data, i) : data.subarray(i * size, i * size + 40).toString('hex'),
            );
        }
      }
    }
    console.log(`${millions} million cases of each, ${wrong} wrong`);
    process.exitCode = wrong ? 1 : 0;
  } else {
    const sse = run('native-sse', 11, 200_000),
      x87 = run('native-x87', 11, 200_000);
    const sseKept = keepSome(sse, SSE_BYTES, 40, (at) => sse.readUInt16LE(at));
    const x87Kept = keepSome(
      x87,
      X87_BYTES,
      12,
      (at) => x87[at] * 256 + (x87[at] === 1 && x87[at + 1] >= 0xe0 ? x87[at + 1] : x87[at + 1] & 0xf8),
    );
    const file = gzipSync(pack(sseKept, x87Kept), { level: 9 });
    writeFileSync(join(here, 'recorded.bin.gz'), file);
    console.log(`${sseKept.length / SSE_BYTES} SSE and ${x87Kept.length / X87_BYTES} x87 cases, ${file.length} bytes`);
  }
} finally {
  rmSync(work, { recursive: true });
}
