/** Every way of compression against its own tool, and against damaged streams. */
import { execFileSync, spawnSync } from 'node:child_process';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { compressionOf, decompress } from './decompress.js';
import { gunzip, gunzipByPako } from './gunzip.js';
import { crc32 } from './xz.js';

const x86Code = (): Uint8Array => {
  // Calls to a few targets among other bytes, so that the x86 filter has something to do at every alignment.
  const bytes = new Uint8Array(60000);
  let seed = 1;
  const random = (): number => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) >>> 16;
  for (let at = 0; at + 8 < bytes.length; ) {
    if (random() % 3 === 0) {
      bytes[at] = random() % 2 ? 0xe8 : 0xe9;
      new DataView(bytes.buffer).setInt32(at + 1, (random() % 16) * 1000 - at, true);
      at += random() % 4 ? 5 : 1 + (random() % 4);
    } else {
      bytes[at++] = random() % 7 ? 0x48 : random() & 255;
    }
  }
  return bytes;
};
const text = new TextEncoder().encode('the quick brown fox jumps over the lazy dog. '.repeat(3000));
const samples: Record<string, Uint8Array> = {
  text,
  code: x86Code(),
  one: Uint8Array.of(7),
  zeros: new Uint8Array(300000),
};

const tools: [kind: string, command: string, args: string[]][] = [
  ['lz4', 'lz4', ['-l', '-9', '-c']],
  ['lz4', 'lz4', ['-c', '-']],
  ['xz', 'xz', ['--check=crc32', '-c']],
  ['xz', 'xz', ['--check=crc32', '--x86', '--lzma2=dict=1MiB,lc=2,lp=2,pb=1', '-c']],
  ['xz', 'xz', ['--check=sha256', '--block-size=20000', '-c']],
  ['lzma', 'xz', ['--format=lzma', '-c']],
  ['zstd', 'zstd', ['-19', '-c']],
];

describe('decompress', () => {
  for (const [kind, command, args] of tools) {
    const missing = spawnSync(command, ['--version']).error !== undefined;
    test.skipIf(missing)(
      `reads what \`${command} ${args.join(' ')}\` writes${missing ? ` (${command} is not installed)` : ''}`,
      () => {
        for (const sample of Object.values(samples)) {
          const packed = new Uint8Array(
            execFileSync(command, args, { input: sample, maxBuffer: 1 << 26, stdio: ['pipe', 'pipe', 'ignore'] }),
          );
          expect(compressionOf(packed)).toBe(kind);
          expect(Buffer.from(decompress(packed)).equals(Buffer.from(sample))).toBe(true);
        }
      },
    );
  }

  describe.each([
    ['the host’s zlib', gunzip],
    ['pako', gunzipByPako],
  ])('gzip by %s', (_name, gunzip) => {
    const packed = gzipSync(samples.zeros);

    test('gives the bytes, of several members too, and keeps to the limit', () => {
      expect(gunzip(packed, 300000)).toEqual(samples.zeros);
      expect(gunzip(Buffer.concat([packed, packed]), 600000).length).toBe(600000);
      expect(() => gunzip(packed, 299999)).toThrow();
    });

    test('refuses what is damaged or cut off', () => {
      for (const length of [6, 20, packed.length - 9, packed.length - 1])
        expect(() => gunzip(packed.subarray(0, length), 1 << 20)).toThrow();
      const damaged = Uint8Array.from(packed);
      damaged[packed.length - 6] ^= 1; // the checksum
      expect(() => gunzip(damaged, 1 << 20)).toThrow();
    });
  });

  test('reads gzip, and keeps to the limit', () => {
    const packed = gzipSync(samples.zeros);
    expect(decompress(packed).length).toBe(300000);
    expect(() => decompress(packed, { limit: 1000 })).toThrow(
      expect.objectContaining({ code: 'COMPRESSION_MALFORMED' }),
    );
  });

  test('reads an LZ4 legacy frame byte for byte', () => {
    // Token 0x35: three literals "abc", then a match of 9 from 3 back; then the last sequence, literals only.
    const block = [0x35, 0x61, 0x62, 0x63, 3, 0, 0x10, 0x21];
    const frame = Uint8Array.of(0x02, 0x21, 0x4c, 0x18, block.length, 0, 0, 0, ...block);
    expect(new TextDecoder().decode(decompress(frame))).toBe('abcabcabcabc!');
  });

  test('refuses a match before the first byte', () => {
    const block = [0x15, 0x61, 9, 0, 0x10, 0x21];
    const frame = Uint8Array.of(0x02, 0x21, 0x4c, 0x18, block.length, 0, 0, 0, ...block);
    expect(() => decompress(frame)).toThrow(/reaches 9 bytes back where 1 were written/);
  });

  test('names what it cannot read', () => {
    expect(() => decompress(new TextEncoder().encode('BZh91AY&SY'))).toThrow(/compressed with bzip2/);
    expect(() => decompress(new Uint8Array(32))).toThrow(expect.objectContaining({ code: 'COMPRESSION_UNSUPPORTED' }));
  });

  test('crc32 of the check string', () => {
    expect(crc32(new TextEncoder().encode('123456789'))).toBe(0xcbf43926);
  });
});
