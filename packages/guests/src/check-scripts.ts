/** The shell scripts with which a guest checks itself, and what they print. */
import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';

/**
 * Scripts that the guest runs to check itself. Each check prints one line, `CHECK name ok` or `CHECK name FAIL` with what
 * came out and what was right, and the last line says `CHECKS ok` or `CHECKS FAIL`. The right answers are known from
 * elsewhere: hashes computed by Node or taken from their specifications, numbers from mathematics.
 */

/** Folder in the guest with the scripts and their data. */
export const CHECK_FOLDER = 'etc/visorkit';

/** One line of a check script's output. */
export interface CheckResult {
  readonly name: string;
  readonly ok: boolean;
  /** What the guest printed after FAIL. */
  readonly detail: string;
}

/** The check lines in a guest's console output. */
export function parseChecks(output: string): CheckResult[] {
  return [...output.matchAll(/^CHECK (\S+) (ok|FAIL)(.*?)\r?$/gm)].map(([, name, verdict, detail]) => ({
    name,
    ok: verdict === 'ok',
    detail: detail.trim(),
  }));
}

/** Whether a check script ran to its end with every check passed. */
export function checksPassed(output: string): boolean {
  return /^CHECKS ok\r?$/m.test(output) && parseChecks(output).every(({ ok }) => ok);
}

const PRELUDE = `failed=0
# check NAME RESULT RIGHT
check() {
  if [ "$2" = "$3" ]; then echo "CHECK $1 ok"; else failed=1; echo "CHECK $1 FAIL got: $2 right: $3"; fi
}
data="\${CHECK_FOLDER:-/${CHECK_FOLDER}}"
`;
const EPILOGUE = `if [ $failed = 0 ]; then echo 'CHECKS ok'; else echo 'CHECKS FAIL'; fi
`;

/** The short self-check of a first boot. */
export function selfCheckScript(): string {
  return `${PRELUDE}uname -a
ps
check uname "$(uname -s)" Linux
check ps "$(ps | awk '$1 == 1 { print $1 }')" 1
check sha256sum "$(printf abc | sha256sum | cut -d' ' -f1)" ${hash('sha256', 'abc')}
check arithmetic "$((123456789 * 987654321 % 1000000007))" ${(123456789n * 987654321n) % 1000000007n}
${EPILOGUE}`;
}

/** Checks of programs of the real world: hashes, compression, floating point, arbitrary precision, text. */
export function programsScript(): string {
  const data = checkData();
  const digest = (algorithm: string): string => hash(algorithm, data);
  const lines = new TextDecoder('latin1').decode(data).trimEnd().split('\n');
  const tally = new Map<string, number>();
  for (const line of lines) {
    const word = line.split(' ')[1];
    tally.set(word, (tally.get(word) ?? 0) + 1);
  }
  const sorted = [...tally]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([word, count]) => `${word}:${count}`)
    .join(' ');
  return `${PRELUDE}sum() { "$1" | cut -d' ' -f1; }
check md5sum-empty "$(printf '' | sum md5sum)" d41d8cd98f00b204e9800998ecf8427e
check md5sum-abc "$(printf abc | sum md5sum)" 900150983cd24fb0d6963f7d28e17f72
check md5sum-file "$(sum md5sum <$data/data)" ${digest('md5')}
check sha1sum-file "$(sum sha1sum <$data/data)" ${digest('sha1')}
check sha256sum-abc "$(printf abc | sum sha256sum)" ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
check sha256sum-file "$(sum sha256sum <$data/data)" ${digest('sha256')}
check sha512sum-file "$(sum sha512sum <$data/data)" ${digest('sha512')}
check crc32 "$(printf 123456789 | crc32)" cbf43926
check gzip-round-trip "$(gzip -c <$data/data | gunzip -c | sum md5sum)" ${digest('md5')}
check gzip-smaller "$([ $(gzip -9 -c <$data/data | wc -c) -lt ${Math.floor(data.length / 2)} ] && echo yes)" yes
check gunzip-from-host "$(gunzip -c <$data/data.gz | sum sha256sum)" ${digest('sha256')}
check bzip2-round-trip "$(bzip2 -c <$data/data | bunzip2 -c | sum md5sum)" ${digest('md5')}
check awk-harmonic "$(awk 'BEGIN { for (i = 1; i <= 1000; i++) s += 1 / (i * i); printf "%.12f", s }')" 1.643934566682
check awk-pi "$(awk 'BEGIN { for (i = 5000; i >= 0; i--) s += (i % 2 ? -4 : 4) / (2 * i + 1); printf "%.9f", s }')" ${leibniz(5000)}
check awk-sqrt "$(awk 'BEGIN { x = 1; for (i = 0; i < 8; i++) x = (x + 2 / x) / 2; printf "%.15f %.6e %g", x, x * 1e100, x / 1e300 }')" '1.414213562373095 1.414214e+100 1.41421e-300'
check awk-exp "$(awk 'BEGIN { t = 1; for (i = 1; i < 25; i++) { s += t; t /= i } printf "%.13f", s }')" 2.7182818284590
check awk-convert "$(awk 'BEGIN { print 0.1 + 0.2 == 0.3, 1e15 + 0.5, int(-7.9), 7 % 3, 1 / 3 }')" '0 1e+15 -7 1 0.333333'
check bc-divide "$(echo 'scale=20; 2^100/3' | bc)" 422550200076076467165567735125.33333333333333333333
check bc-sqrt "$(echo 'scale=30; sqrt(2)' | bc)" 1.414213562373095048801688724209
check bc-pi "$(echo 'scale=25; 4*a(1)' | bc -l)" 3.1415926535897932384626432
check dc-power "$(dc -e '2 200 ^ p')" ${2n ** 200n}
check dc-modulus "$(dc -e '7 77 ^ 1000003 % p')" ${7n ** 77n % 1000003n}
check sort-uniq "$(cut -d' ' -f2 $data/data | sort | uniq -c | awk '{ printf "%s%s:%s", s, $2, $1; s = " " }')" '${sorted}'
check sed "$(echo hello world | sed -e 's/\\(hello\\) \\(world\\)/\\2 \\1/' -e y/lo/01/)" 'w1r0d he001'
check factor "$(factor 1009000007063)" '1009000007063: 1009 1000000007'
check shell-arithmetic "$((0x7fffffffffffffff % 1000003)) $((-7 / 2)) $((1 << 40)) $((255 ^ 170))" '${0x7fffffffffffffffn % 1000003n} -3 1099511627776 85'
check tar "$(cd $data && tar -cf - data | tar -xOf - | sum md5sum)" ${digest('md5')}
check base64 "$(head -c 3000 $data/data | base64 | base64 -d | sum md5sum)" ${hash('md5', data.subarray(0, 3000))}
${EPILOGUE}`;
}

/** Files of the check scripts, by their path in the guest. */
export function checkFiles(): Record<string, Uint8Array | string> {
  const data = checkData();
  return {
    [`${CHECK_FOLDER}/check`]: selfCheckScript(),
    [`${CHECK_FOLDER}/programs`]: programsScript(),
    [`${CHECK_FOLDER}/data`]: data,
    [`${CHECK_FOLDER}/data.gz`]: new Uint8Array(gzipSync(data)),
  };
}

/** 4000 lines of a number, a word and some digits: the same every time. */
function checkData(): Uint8Array {
  const words = ['alder', 'birch', 'cedar', 'elm', 'fir', 'hazel', 'larch', 'maple', 'oak', 'pine', 'rowan', 'willow'];
  let state = 20200520;
  let text = '';
  for (let line = 1; line <= 4000; line++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    text += `${line} ${words[(state >>> 16) % words.length]} ${(state >>> 4).toString(16)}\n`;
  }
  return new TextEncoder().encode(text);
}

/** Leibniz's series for pi, summed in the order in which the guest's awk sums it, so to the same double. */
function leibniz(terms: number): string {
  let sum = 0;
  for (let index = terms; index >= 0; index--) sum += (index % 2 ? -4 : 4) / (2 * index + 1);
  return sum.toFixed(9);
}

function hash(algorithm: string, data: string | Uint8Array): string {
  return createHash(algorithm).update(data).digest('hex');
}
