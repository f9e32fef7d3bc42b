/** Paths cannot leave a mount: by `..`, by symbolic links, by changing the folder while it is walked. */
import { spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LinuxError, MemoryFs, Namespace, OpenFlag, errnoName, errnoOf, isDirectory } from './index.js';
import type { Resolved } from './index.js';

let home = '',
  space: Namespace;

function makeSpace(...mounts: [folder: string, path: string, readOnly?: boolean][]): Namespace {
  const made = new Namespace(new MemoryFs({ limit: 1 << 20, uid: 0, gid: 0, now: () => 0n }).root);
  for (const [folder, path, readOnly = false] of mounts) made.mount(join(home, folder), path, readOnly);
  return made;
}

/** Descriptors of this process. */
const descriptors = (): number => readdirSync('/proc/self/fd').length;

/** What a path gives: contents of a file, a sorted listing, or an error's name. */
function look(path: string, follow = true): string {
  let found: Resolved | undefined;
  try {
    found = space.resolve({ names: [] }, path, { follow });
    if (found.node === undefined) return 'nothing';
    if (isDirectory(found.node))
      return found.node
        .list()
        .map(({ name }) => name)
        .sort()
        .join(' ');
    if (found.node.kind === 'symlink') return `-> ${found.node.readlink()}`;
    const handle = found.node.open(OpenFlag.RDONLY);
    try {
      const bytes = new Uint8Array(100);
      return Buffer.from(bytes.subarray(0, handle.read(bytes, 0))).toString();
    } finally {
      handle.close();
    }
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 0) throw error;
    return errnoName(errno) ?? 'error';
  } finally {
    found?.close();
  }
}

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'visorkit-fs-'));
  for (const folder of ['box/inner/deep', 'other', 'outside']) mkdirSync(join(home, folder), { recursive: true });
  writeFileSync(join(home, 'outside/secret'), 'SECRET');
  writeFileSync(join(home, 'secret'), 'SECRET');
  writeFileSync(join(home, 'box/file'), 'box file');
  writeFileSync(join(home, 'box/inner/file'), 'inner file');
  writeFileSync(join(home, 'other/file'), 'other file');
  space = makeSpace(['box', '/box'], ['other', '/deep/other', true]);
});
afterEach(() => {
  space.close();
  rmSync(home, { recursive: true, force: true });
});

describe('resolution', () => {
  it('walks mounts, folders, dots and slashes', () => {
    expect(look('/')).toBe('box deep');
    expect(look('/box')).toBe('file inner');
    expect(look('//box/./inner//file')).toBe('inner file');
    expect(look('/deep/other/file')).toBe('other file');
    expect(look('/box/../deep/other/../../box/file')).toBe('box file');
    expect(look('/box/file/')).toBe('ENOTDIR');
    expect(look('/box/file/..')).toBe('ENOTDIR');
    expect(look('/box/missing/..')).toBe('ENOENT');
    expect(look('/box/inner/')).toBe('deep file');
    expect(look('')).toBe('ENOENT');
    expect(look(`/${'x'.repeat(300)}`)).toBe('ENAMETOOLONG');
    expect(look(`/${'x/'.repeat(3000)}`)).toBe('ENAMETOOLONG');
  });

  it('does not go above the root, nor out of a mount', () => {
    expect(look('/../../../../../box/file')).toBe('box file');
    expect(look('/box/../secret')).toBe('nothing');
    expect(look('/box/../outside/secret')).toBe('ENOENT');
    expect(look('/box/inner/deep/../../../../../../../etc/passwd')).toBe('ENOENT');
  });

  it('follows links in the view of the sandbox', () => {
    const links: Record<string, string> = {
      absolute: '/box/file',
      relative: 'inner/file',
      up: '../box/file',
      host: join(home, 'secret'),
      escape: '../../secret',
      loop: 'loop',
      a: 'b',
      b: 'a',
      folder: 'inner',
      slash: 'inner/',
      root: '/',
      long: '../'.repeat(30),
      self: '/proc/self/root/secret',
      cwd: '/proc/self/cwd',
    };
    for (const [name, target] of Object.entries(links)) symlinkSync(target, join(home, 'box', name));
    expect(look('/box/absolute')).toBe('box file');
    expect(look('/box/relative')).toBe('inner file');
    expect(look('/box/up')).toBe('box file');
    expect(look('/box/host')).toBe('ENOENT');
    expect(look('/box/escape')).toBe('nothing');
    expect(look('/box/loop')).toBe('ELOOP');
    expect(look('/box/a')).toBe('ELOOP');
    expect(look('/box/folder/file')).toBe('inner file');
    expect(look('/box/slash')).toBe('deep file');
    expect(look('/box/root/box/file')).toBe('box file');
    expect(look('/box/long')).toBe('box deep');
    expect(look('/box/self')).toBe('ENOENT');
    expect(look('/box/absolute', false)).toBe('-> /box/file');
    expect(look('/box/folder/', false)).toBe('deep file');
  });

  it('keeps a read-only mount as it is', () => {
    const at = space.resolve({ names: [] }, '/deep/other/new', { follow: true });
    const changes: (() => unknown)[] = [
      () => at.parent!.create('new', 0o644, OpenFlag.RDWR),
      () => at.parent!.makeDirectory('new', 0o755),
      () => at.parent!.makeSymlink('new', 'x'),
      () => at.parent!.unlink('file'),
      () => at.parent!.rename('file', at.parent!, 'new'),
      () => at.parent!.link('file', at.parent!, 'new'),
      () => at.parent!.chmod(0o700),
      () => at.parent!.utimes({ mtime: 0n }),
      () => at.parent!.chown(1, 1),
      () => at.parent!.lookup('file')!.open(OpenFlag.RDWR),
      () => at.parent!.lookup('file')!.open(OpenFlag.TRUNC),
      () => at.parent!.lookup('file')!.chmod(0o777),
    ];
    for (const change of changes) expect(change).toThrow(LinuxError);
    for (const change of changes)
      try {
        change();
      } catch (error) {
        expect(errnoName(errnoOf(error))).toBe('EROFS');
      }
    at.close();
    expect(readdirSync(join(home, 'other'))).toEqual(['file']);
  });

  it("keeps the sandbox's own folders when the root is mounted over", () => {
    for (const name of ['dev', 'tmp', 'proc', 'lib']) {
      mkdirSync(join(home, 'root', name), { recursive: true });
      writeFileSync(join(home, 'root', name, 'of-host'), 'host');
    }
    mkdirSync(join(home, 'root', 'lib', 'deep'));
    const over = (readOnly: boolean): void => {
      const { root } = new MemoryFs({ limit: 1 << 20, uid: 0, gid: 0, now: () => 0n });
      for (const name of ['dev', 'proc', 'tmp']) {
        root.makeDirectory(name, 0o755);
        const folder = root.lookup(name);
        if (folder !== undefined && isDirectory(folder)) folder.makeDirectory('own', 0o755);
      }
      space = new Namespace(root);
      space.mount(join(home, 'root'), '/', readOnly);
    };
    over(true);
    expect(['/dev', '/proc', '/tmp', '/lib', '/lib/deep/../../dev', '/'].map((path) => look(path))).toEqual([
      'own',
      'own',
      'own',
      'deep of-host',
      'own',
      'dev lib proc tmp',
    ]);
    expect(look('/dev/of-host')).toBe('nothing');
    space.close();
    over(false);
    expect(['/dev', '/tmp'].map((path) => look(path))).toEqual(['own', 'of-host']);
    space.close();
  });

  it('keeps times to the nanosecond for as long as the host has what it made of them', () => {
    mkdirSync(join(home, 'times'));
    writeFileSync(join(home, 'times', 'file'), 'x');
    space = makeSpace(['times', '/t']);
    const times = (): readonly bigint[] => {
      const found = space.resolve({ names: [] }, '/t/file', { follow: true }),
        { atime, mtime } = found.node!.stat();
      found.close();
      return [atime, mtime];
    };
    const found = space.resolve({ names: [] }, '/t/file', { follow: true });
    found.node!.utimes({ atime: 1_234_567_890_123_456_789n, mtime: 1_600_000_000_987_654_321n });
    found.close();
    expect(times()).toEqual([1_234_567_890_123_456_789n, 1_600_000_000_987_654_321n]);
    utimesSync(join(home, 'times', 'file'), 5, 6);
    expect(times()).toEqual([5_000_000_000n, 6_000_000_000n]);
    space.close();
  });

  it('writes where it is said to, in a file that is open for appending too: a page of a mapping has its place', () => {
    mkdirSync(join(home, 'append'));
    writeFileSync(join(home, 'append', 'file'), '0123456789');
    space = makeSpace(['append', '/a']);
    const before = descriptors(),
      found = space.resolve({ names: [] }, '/a/file', { follow: true }),
      file = found.node!.open(OpenFlag.RDWR | OpenFlag.APPEND);
    file.write(Buffer.from('x'), 4, false);
    file.write(Buffer.from('end'), 0, true);
    file.write(Buffer.from('y'), 0, false);
    file.close();
    found.close();
    expect([readFileSync(join(home, 'append', 'file'), 'latin1'), descriptors()]).toEqual(['y123x56789end', before]);
    space.close();
  });

  it('refuses procfs, devices and FIFOs of the host', () => {
    expect(() => space.mount('/proc', '/p', true)).toThrow(expect.objectContaining({ code: 'SANDBOX_MOUNT' }));
    const whole = new Namespace(new MemoryFs({ limit: 0, uid: 0, gid: 0, now: () => 0n }).root);
    whole.mount('/', '/host', true);
    const before = space;
    space = whole;
    try {
      expect(look('/host/proc')).toBe('EACCES');
      expect(look('/host/proc/self/environ')).toBe('EACCES');
      expect(look('/host/dev/null')).toBe('EACCES');
    } finally {
      whole.close();
      space = before;
    }
  });

  it('says what is wrong with a mount', () => {
    for (const [path, why] of [
      ['missing', 'there is no such folder'],
      ['secret', 'it is not a folder'],
    ]) {
      expect(() => space.mount(join(home, path), '/x', true)).toThrow(
        `The folder ${join(home, path)} cannot be mounted: ${why}.`,
      );
    }
  });
});

/** Names that mean something, and some that do not. */
const component = fc.constantFrom(
  '.',
  '..',
  '',
  'box',
  'inner',
  'deep',
  'file',
  'outside',
  'secret',
  'l0',
  'l1',
  'l2',
  'l3',
  'other',
  'etc',
  'proc',
  'self',
  'root',
  'fd',
  '3',
  'x'.repeat(256),
  '\u00ff',
);
const path = fc
  .tuple(fc.boolean(), fc.array(component, { maxLength: 10 }))
  .map(([absolute, parts]) => `${absolute ? '/' : ''}${parts.join('/')}`);

describe('attacks', () => {
  it('no path and no links read what is outside', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.constantFrom('box', 'box/inner', 'box/inner/deep'), path), { maxLength: 4 }),
        fc.array(path, { minLength: 1, maxLength: 8 }),
        (links, paths) => {
          const made = links.map(([folder, target], i) => {
            const at = join(home, folder, `l${i}`);
            if (target !== '') symlinkSync(i % 2 === 0 ? target : target.replace(/^\//, `${home}/`), at);
            return at;
          });
          const before = descriptors();
          try {
            for (const each of paths) expect(look(each)).not.toContain('SECRET');
            expect(descriptors()).toBe(before);
          } finally {
            for (const at of made) rmSync(at, { force: true });
          }
        },
      ),
      { numRuns: 400 },
    );
  });

  it('nothing is made, changed or removed outside', () => {
    const outsideNow = (): string =>
      ['outside', '.'].map((folder) => readdirSync(join(home, folder)).join()).join('|') +
      readFileSync(join(home, 'secret')) +
      readFileSync(join(home, 'outside/secret')) +
      statSync(join(home, 'secret')).mode;
    const before = outsideNow();
    const change = fc.constantFrom(
      'create',
      'mkdir',
      'unlink',
      'rmdir',
      'symlink',
      'rename',
      'link',
      'chmod',
      'write',
      'utimes',
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(change, path, path), { maxLength: 12 }), (steps) => {
        for (const [what, first, second] of steps) attempt(what, first, second);
        expect(outsideNow()).toBe(before);
        rmSync(join(home, 'box'), { recursive: true, force: true });
        mkdirSync(join(home, 'box/inner/deep'), { recursive: true });
        space.close();
        space = makeSpace(['box', '/box'], ['other', '/deep/other', true]);
      }),
      { numRuns: 300 },
    );
    expect(readFileSync(join(home, 'other/file'), 'utf8')).toBe('other file');
  });

  it('a folder that turns into a link to the outside while it is walked', async () => {
    // Another process swaps box/swap between a folder and a link to the outside, as fast as it can
    mkdirSync(join(home, 'box/swap'));
    writeFileSync(join(home, 'box/swap/secret'), 'harmless');
    const script = `
      const fs = require('fs'), at = process.argv[1] + '/box/';
      fs.mkdirSync(at + 'real'); fs.writeFileSync(at + 'real/secret', 'harmless');
      fs.symlinkSync('../outside', at + 'evil'); fs.symlinkSync(process.argv[1] + '/outside', at + 'evil2');
      const swap = (from) => { try { fs.renameSync(at + 'swap', at + 'kept'); fs.renameSync(at + from, at + 'swap'); fs.renameSync(at + 'swap', at + from); fs.renameSync(at + 'kept', at + 'swap'); } catch {} };
      const end = Date.now() + 1500;
      process.stdout.write('ready');
      while (Date.now() < end) { swap('evil'); swap('real'); swap('evil2'); }`;
    const attacker = spawn(process.execPath, ['-e', script, home], { stdio: ['ignore', 'pipe', 'inherit'] });
    const ended = new Promise((resolve) => attacker.on('exit', resolve));
    await new Promise((resolve) => attacker.stdout.once('data', resolve));
    const seen = new Map<string, number>();
    for (let running = true; running; ) {
      for (let i = 0; i < 200; i++) {
        const what = look('/box/swap/secret');
        expect(what).not.toContain('SECRET');
        seen.set(what, (seen.get(what) ?? 0) + 1);
        attempt('create', '/box/swap/planted', '');
        attempt('unlink', '/box/swap/planted', '');
      }
      await new Promise((resolve) => setImmediate(resolve));
      running = attacker.exitCode === null;
    }
    await ended;
    expect(seen.size).toBeGreaterThan(1); // it did change under us
    expect(existsSync(join(home, 'outside/planted'))).toBe(false);
    expect(readdirSync(join(home, 'outside'))).toEqual(['secret']);
    expect(realpathSync(home)).toBeTruthy();
  });
});

/** Tries a change; what it meets as an error of Linux is of no interest. */
function attempt(what: string, first: string, second: string): void {
  const opened: Resolved[] = [];
  try {
    const [one, two] = [first, second].map((path) => {
      const found = space.resolve({ names: [] }, path === '' ? '/' : path, { follow: what === 'write' });
      opened.push(found);
      return found;
    });
    switch (what) {
      case 'create':
        one.parent?.create(one.name, 0o644, OpenFlag.RDWR).close();
        break;
      case 'mkdir':
        one.parent?.makeDirectory(one.name, 0o755);
        break;
      case 'unlink':
        one.parent?.unlink(one.name);
        break;
      case 'rmdir':
        one.parent?.removeDirectory(one.name);
        break;
      case 'symlink':
        one.parent?.makeSymlink(one.name, second || 'x');
        break;
      case 'rename':
        if (two.parent !== undefined) one.parent?.rename(one.name, two.parent, two.name);
        break;
      case 'link':
        if (two.parent !== undefined) one.parent?.link(one.name, two.parent, two.name);
        break;
      case 'chmod':
        one.node?.chmod(0o700);
        break;
      case 'utimes':
        one.node?.utimes({ mtime: 0n });
        break;
      case 'write': {
        const handle = one.node?.open(OpenFlag.RDWR | OpenFlag.TRUNC);
        handle?.write(Buffer.from('changed'), 0, false);
        handle?.close();
      }
    }
  } catch (error) {
    if (errnoOf(error) === 0) throw error;
  } finally {
    for (const found of opened) found.close();
  }
}
