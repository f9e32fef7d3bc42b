/** Files in memory behave as tmpfs does, within their limit. */
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { LinuxError, type MemoryDirectory, MemoryFs, errnoName, errnoOf } from './index.js';
import type { FileHandle } from './index.js';

let fs: MemoryFs, root: MemoryDirectory;
beforeEach(() => {
  let now = 0n;
  fs = new MemoryFs({ limit: 10_000, uid: 7, gid: 8, now: () => ++now });
  ({ root } = fs);
});

const failure = (change: () => unknown): string | undefined => {
  try {
    change();
  } catch (error) {
    return error instanceof LinuxError ? errnoName(errnoOf(error)) : String(error);
  }
  return undefined;
};
const names = (directory: MemoryDirectory): string[] => directory.list().map(({ name }) => name);

describe('directories', () => {
  it('hold what is put in, once', () => {
    root.makeDirectory('a', 0o755);
    root.makeSymlink('l', 'a');
    root.create('f', 0o640);
    expect(names(root)).toEqual(['a', 'l', 'f']);
    expect(failure(() => root.makeDirectory('a', 0o755))).toBe('EEXIST');
    expect(root.lookup('f')!.stat()).toMatchObject({ mode: 0o100640, uid: 7, gid: 8, nlink: 1, size: 0 });
    expect([root.stat().nlink, root.lookup('l')!.readlink(), failure(() => root.lookup('a')!.readlink())]).toEqual([
      3,
      'a',
      'EINVAL',
    ]);
  });

  it('are removed empty, and take nothing afterwards', () => {
    root.makeDirectory('a', 0o755);
    const a = root.lookup('a') as MemoryDirectory;
    a.create('f', 0o644);
    expect([
      failure(() => root.removeDirectory('a')),
      failure(() => root.unlink('a')),
      failure(() => a.removeDirectory('f')),
      failure(() => a.unlink('x')),
    ]).toEqual(['ENOTEMPTY', 'EISDIR', 'ENOTDIR', 'ENOENT']);
    a.unlink('f');
    root.removeDirectory('a');
    expect([names(root), failure(() => a.create('g', 0o644))]).toEqual([[], 'ENOENT']);
  });

  it('are renamed, but not into themselves', () => {
    for (const name of ['a', 'b']) root.makeDirectory(name, 0o755);
    const a = root.lookup('a') as MemoryDirectory,
      b = root.lookup('b') as MemoryDirectory;
    a.makeDirectory('inner', 0o755);
    expect(failure(() => root.rename('a', a.lookup('inner') as MemoryDirectory, 'x'))).toBe('EINVAL');
    root.rename('a', b, 'moved');
    expect([names(root), names(b), root.stat().nlink, b.stat().nlink]).toEqual([['b'], ['moved'], 3, 3]);
    root.create('f', 0o644);
    expect(failure(() => b.rename('moved', root, 'f'))).toBe('ENOTDIR');
    expect(failure(() => root.rename('f', new MemoryFs({ limit: 1, uid: 0, gid: 0, now: () => 0n }).root, 'f'))).toBe(
      'EXDEV',
    );
  });

  it('links count', () => {
    root.create('f', 0o644);
    root.link('f', root, 'g');
    expect(root.lookup('g')!.stat().nlink).toBe(2);
    root.unlink('f');
    expect(root.lookup('g')!.stat().nlink).toBe(1);
    root.makeDirectory('d', 0o755);
    expect(failure(() => root.link('d', root, 'e'))).toBe('EPERM');
  });
});

describe('contents', () => {
  it('take as much room as there is', () => {
    const file = root.create('f', 0o644);
    expect(failure(() => file.write(new Uint8Array(10_001), 0, false))).toBe('ENOSPC');
    file.write(new Uint8Array(10_000), 0, false);
    expect(failure(() => file.write(new Uint8Array(1), 0, true))).toBe('ENOSPC');
    file.truncate(10);
    expect(fs.stat().free).toBe(Math.floor(9_990 / 4096));
    root.unlink('f');
    file.close();
    expect(fs.used).toBe(0);
  });

  it('are what was written last', () => {
    type Step = { at: number; bytes: Uint8Array } | { size: number };
    const step: fc.Arbitrary<Step> = fc.oneof(
      fc.record({ at: fc.nat(300), bytes: fc.uint8Array({ maxLength: 100 }) }),
      fc.record({ size: fc.nat(400) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
        const file: FileHandle = new MemoryFs({ limit: 1 << 20, uid: 0, gid: 0, now: () => 0n }).root.create(
          'f',
          0o644,
        );
        let expected: number[] = [];
        for (const each of steps) {
          if ('size' in each) {
            file.truncate(each.size);
            expected = Array.from({ length: each.size }, (_, i) => expected[i] ?? 0);
          } else {
            file.write(each.bytes, each.at, false);
            if (each.bytes.length === 0) continue; // not even the size changes
            expected = Array.from({ length: Math.max(expected.length, each.at + each.bytes.length) }, (_, i) =>
              i >= each.at && i < each.at + each.bytes.length ? each.bytes[i - each.at] : (expected[i] ?? 0),
            );
          }
          const read = new Uint8Array(1000),
            count = file.read(read, 0);
          expect([...read.subarray(0, count)]).toEqual(expected);
        }
      }),
    );
  });

  it('keep permissions, owners and times', () => {
    root.create('f', 0o644);
    const node = root.lookup('f')!;
    node.chmod(0o4755);
    node.chown(-1, 9);
    node.utimes({ mtime: 77n });
    expect(node.stat()).toMatchObject({ mode: 0o104755, uid: 7, gid: 9, mtime: 77n });
  });
});
