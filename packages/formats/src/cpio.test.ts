/** cpio archives: written, read back, and damaged. */
import { execFileSync, spawnSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { CpioType, CpioWriter, readCpio } from './cpio.js';

const archive = (): Uint8Array =>
  new CpioWriter()
    .file('/bin/hello', 'hi\n', 0o755)
    .symlink('bin/sh', 'hello')
    .characterDevice('dev/console', 5, 1)
    .directory('proc')
    .directory('bin')
    .finish();

describe('CpioWriter', () => {
  test('writes the header fields of newc', () => {
    const bytes = archive();
    const text = new TextDecoder('latin1').decode(bytes);
    // magic, inode 1, mode 040755, uid, gid, two links, mtime, size 0, device numbers, name "bin" with its NUL, no checksum
    expect(text.slice(0, 110)).toBe(
      '070701' +
        '00000001' +
        '000041ED' +
        '00000000'.repeat(2) +
        '00000002' +
        '00000000'.repeat(6) +
        '00000004' +
        '00000000',
    );
    expect(bytes.length % 512).toBe(0);
  });

  test('adds parent directories once, before what is in them', () => {
    expect(readCpio(archive()).map((entry) => entry.name)).toEqual([
      'bin',
      'bin/hello',
      'bin/sh',
      'dev',
      'dev/console',
      'proc',
    ]);
  });

  test('is read back as it was written', () => {
    const entries = new Map(readCpio(archive()).map((entry) => [entry.name, entry]));
    expect(entries.get('bin/hello')).toMatchObject({
      mode: CpioType.FILE | 0o755,
      data: new TextEncoder().encode('hi\n'),
    });
    expect(new TextDecoder().decode(entries.get('bin/sh')?.data)).toBe('hello');
    expect(entries.get('dev/console')).toMatchObject({
      mode: CpioType.CHARACTER | 0o600,
      deviceMajor: 5,
      deviceMinor: 1,
    });
  });

  const cpio = spawnSync('cpio', ['--version']).error === undefined;
  test.skipIf(!cpio)(`is read by cpio${cpio ? '' : ' (cpio is not installed)'}`, () => {
    expect(
      execFileSync('cpio', ['-it'], { input: archive(), encoding: 'utf8', stdio: ['pipe', 'pipe', 'ignore'] }),
    ).toBe('bin\nbin/hello\nbin/sh\ndev\ndev/console\nproc\n');
  });

  test.each(['..', 'a/../b', '', 'TRAILER!!!', 'a\0b'])('refuses the name %j', (name) => {
    expect(() => new CpioWriter().file(name, '')).toThrow(expect.objectContaining({ code: 'CPIO_NAME' }));
  });
});

describe('readCpio', () => {
  test.each([
    ['cut off in the data', archive().subarray(0, 230)],
    ['without a trailer', archive().subarray(0, 116)],
    ['of another format', new TextEncoder().encode('070707'.padEnd(200, '0'))],
    ['with a field that is not hexadecimal', archive().with(20, 0x78)],
  ])('refuses an archive %s', (_what, bytes) => {
    expect(() => readCpio(bytes)).toThrow(expect.objectContaining({ code: 'CPIO_MALFORMED' }));
  });
});
