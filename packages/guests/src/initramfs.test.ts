/** Initramfs images of busybox: what is in them, and that their scripts work. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { readCpio } from '@visorkit/formats';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { defaultCacheFolder } from './cache.js';
import { checkFiles, checksPassed, parseChecks } from './check-scripts.js';
import { GUEST_READY, guestParameters, initScript, sessionScript } from './init-script.js';
import { busyboxApplets, makeBusyboxInitramfs } from './initramfs.js';

const busybox = Uint8Array.of(0x7f, 0x45, 0x4c, 0x46);
const applets = ['bin/sh', 'bin/ls', 'sbin/init', 'bin/busybox', 'usr/bin/['];
const text = (bytes: Uint8Array | undefined): string => new TextDecoder().decode(bytes);

describe('makeBusyboxInitramfs', () => {
  const image = makeBusyboxInitramfs({
    busybox,
    applets,
    files: { 'bin/ls': { data: '#!/bin/sh\n', executable: true }, '/root/data': Uint8Array.of(1) },
  });
  const entries = new Map(readCpio(image).map((entry) => [entry.name, entry]));

  test('holds busybox, links to it, and an init', () => {
    expect(entries.get('bin/busybox')).toMatchObject({ mode: 0o100755, data: busybox });
    expect(entries.get('bin/sh')).toMatchObject({ mode: 0o120777 });
    expect(text(entries.get('bin/sh')?.data)).toBe('/bin/busybox');
    expect(entries.get('init')?.mode).toBe(0o100755);
    expect(text(entries.get('init')?.data)).toMatch(/^#!\/bin\/sh\n/);
    expect(entries.get('etc/visorkit/session')?.mode).toBe(0o100755);
    for (const folder of ['dev', 'proc', 'sys', 'tmp', 'usr/bin'])
      expect(entries.get(folder)?.mode).toBe(folder === 'tmp' ? 0o041777 : 0o040755);
    expect(entries.get('dev/console')).toMatchObject({ mode: 0o020600, deviceMajor: 5, deviceMinor: 1 });
  });

  test('files take the place of applets, and each path stands once', () => {
    expect(entries.get('bin/ls')).toMatchObject({ mode: 0o100755 });
    expect(text(entries.get('bin/ls')?.data)).toBe('#!/bin/sh\n');
    expect(entries.get('root/data')?.data).toEqual(Uint8Array.of(1));
    const names = readCpio(image).map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
  });

  test('the same input gives the same bytes', () => {
    expect(
      Buffer.from(makeBusyboxInitramfs({ busybox, applets })).equals(
        Buffer.from(makeBusyboxInitramfs({ busybox, applets })),
      ),
    ).toBe(true);
  });

  test('asks busybox for its applets, and has a list where it cannot run', async () => {
    expect(await busyboxApplets('/nonexistent')).toContain('bin/sh');
    expect(await busyboxApplets('/bin/false')).toContain('usr/bin/sha256sum');
  });
});

describe('scripts', () => {
  test('are right for a POSIX shell', () => {
    for (const script of [
      initScript(),
      sessionScript(),
      ...Object.entries(checkFiles())
        .filter(([name]) => /check$|programs$/.test(name))
        .map(([, content]) => content as string),
    ]) {
      expect(spawnSync('sh', ['-n'], { input: script, encoding: 'utf8' })).toMatchObject({ status: 0, stderr: '' });
    }
    expect(initScript()).toContain(GUEST_READY);
  });

  test('parameters for the command line', () => {
    expect(guestParameters({ mode: 'check' })).toBe('visorkit_mode=check');
    expect(guestParameters({ mode: 'shell', rows: 40, columns: 120 })).toBe(
      'visorkit_mode=shell visorkit_rows=40 visorkit_columns=120',
    );
  });

  test('check lines are read from console output, with its carriage returns', () => {
    const output = 'boot\r\nCHECK a ok\r\nCHECK b FAIL got: 1 right: 2\r\nCHECKS FAIL\r\n';
    expect(parseChecks(output)).toEqual([
      { name: 'a', ok: true, detail: '' },
      { name: 'b', ok: false, detail: 'got: 1 right: 2' },
    ]);
    expect(checksPassed(output)).toBe(false);
    expect(checksPassed('CHECK a ok\r\nCHECKS ok\r\n')).toBe(true);
    expect(checksPassed('CHECK a ok\r\n')).toBe(false);
  });
});

describe('check scripts on this machine', () => {
  const program = [join(defaultCacheFolder(), 'debian/amd64/busybox-static/root/bin/busybox')].find((path) =>
    existsSync(path),
  );
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'visorkit-checks-'));
    for (const [name, content] of Object.entries(checkFiles())) await writeFile(join(folder, basename(name)), content);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  for (const script of ['check', 'programs']) {
    test.skipIf(!program)(
      `the answers of "${script}" are right by the real processor${program ? '' : " (Debian's busybox-static is not in the cache)"}`,
      () => {
        const { stdout } = spawnSync(program ?? '', ['sh', join(folder, script)], {
          encoding: 'utf8',
          env: { CHECK_FOLDER: folder, PATH: '/nonexistent' },
        });
        expect(parseChecks(stdout).filter(({ ok }) => !ok && process.platform === 'linux')).toEqual([]);
        expect(checksPassed(stdout)).toBe(true);
      },
    );
  }
});
