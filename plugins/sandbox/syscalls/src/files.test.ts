/** Opening, descriptors, status, directories, attributes. */
import { beforeEach, describe, expect, it } from 'vitest';
import { Errno, TestSandbox } from './testing.js';

const O = {
  WRONLY: 1,
  RDWR: 2,
  CREAT: 0o100,
  EXCL: 0o200,
  DIRECTORY: 0o200000,
  NOFOLLOW: 0o400000,
  CLOEXEC: 0o2000000,
  PATH: 0o10000000,
};
const AT_FDCWD = -100;
let sandbox: TestSandbox;
const open = (path: string, flags = 0, mode = 0o644): number => sandbox.call('open', path, flags, mode);
const stat = (path: string) => {
  const at = sandbox.memory.room(144),
    result = sandbox.call('stat', path, at),
    { memory } = sandbox;
  return result < 0
    ? result
    : {
        mode: memory.readU32(at + 24),
        size: memory.readI64(at + 48),
        links: memory.readU64(at + 16),
        modified: [memory.readI64(at + 88), memory.readI64(at + 96)],
      };
};
beforeEach(() => {
  sandbox = new TestSandbox();
});

describe('opening', () => {
  it('makes files with the mode that the mask leaves', () => {
    sandbox.call('umask', 0o027);
    open('/tmp/a', O.WRONLY | O.CREAT, 0o666);
    expect(stat('/tmp/a')).toMatchObject({ mode: 0o100640, size: 0 });
    expect(open('/tmp/a', O.CREAT | O.EXCL)).toBe(-Errno.EEXIST);
  });

  it('says what is wrong with a path', () => {
    open('/tmp/a', O.CREAT);
    sandbox.call('symlink', '/tmp/loop', '/tmp/loop');
    expect(open('/missing')).toBe(-Errno.ENOENT);
    expect(open('/tmp/a/b')).toBe(-Errno.ENOTDIR);
    expect(open('/tmp', O.WRONLY)).toBe(-Errno.EISDIR);
    expect(open('/tmp/a', O.DIRECTORY)).toBe(-Errno.ENOTDIR);
    expect(open('/tmp/loop')).toBe(-Errno.ELOOP);
    expect(open('')).toBe(-Errno.ENOENT);
    expect(open('x'.repeat(300))).toBe(-Errno.ENAMETOOLONG);
  });

  it('gives the lowest free descriptor, up to the limit', () => {
    expect([open('/tmp'), open('/tmp'), open('/tmp')]).toEqual([0, 1, 2]);
    sandbox.call('close', 1);
    expect(open('/tmp')).toBe(1);
    sandbox.process.files.limit = 3;
    expect(open('/tmp')).toBe(-Errno.EMFILE);
  });

  it('of a descriptor in /proc opens a file anew', () => {
    const file = open('/tmp/a', O.RDWR | O.CREAT);
    sandbox.write(file, 'text');
    const again = open(`/proc/self/fd/${file}`, 0);
    expect(sandbox.read(again)).toBe('text');
    expect(sandbox.write(again, 'x')).toBe(-Errno.EBADF);
  });
});

it('owners are unsigned numbers, and -1 leaves one as it is', () => {
  const file = open('/tmp/a', O.RDWR | O.CREAT),
    at = sandbox.memory.room(144);
  const owners = (uid: number, gid: number): number[] => {
    expect([sandbox.call('fchown', file, uid, gid), sandbox.call('fstat', file, at)]).toEqual([0, 0]);
    return [sandbox.memory.readU32(at + 28), sandbox.memory.readU32(at + 32)];
  };
  expect([owners(2 ** 31, 5), owners(-1, 2 ** 32 - 2)]).toEqual([
    [2 ** 31, 5],
    [2 ** 31, 2 ** 32 - 2],
  ]);
});

describe('descriptors', () => {
  it('are copied, and share their position', () => {
    const file = open('/tmp/a', O.RDWR | O.CREAT),
      copy = sandbox.call('dup', file);
    sandbox.write(file, 'abc');
    sandbox.call('lseek', copy, 1, 0);
    expect(sandbox.read(file)).toBe('bc');
    expect(sandbox.call('dup2', file, 9)).toBe(9);
    expect(sandbox.call('dup3', file, file, 0)).toBe(-Errno.EINVAL);
    expect(sandbox.call('fcntl', file, 0, 5)).toBe(5);
  });

  it("are a child's own, but their positions are not", () => {
    const file = open('/tmp/a', O.RDWR | O.CREAT),
      parent = sandbox.process;
    sandbox.write(file, 'abcdef');
    sandbox.fork(3);
    sandbox.call('lseek', file, 2, 0);
    sandbox.call('close', file);
    sandbox.processes.current = parent;
    expect(sandbox.read(file)).toBe('cdef');
  });

  it('that are marked are closed for a new program', () => {
    const kept = open('/tmp'),
      gone = open('/tmp', O.CLOEXEC);
    sandbox.call('fcntl', sandbox.call('dup', kept), 2, 1);
    sandbox.process.files = sandbox.process.files.afterExec();
    expect(sandbox.process.files.list()).toEqual([kept]);
    expect(gone).toBe(1);
  });

  it('of one table for two processes are separate after execve', () => {
    const file = open('/tmp'),
      child = sandbox.process.fork(3, true);
    expect(child.files).toBe(sandbox.process.files);
    child.files = child.files.afterExec();
    child.files.close(file);
    expect(sandbox.process.files.find(file)).toBeDefined();
  });

  it('close in ranges', () => {
    for (let i = 0; i < 5; i++) open('/tmp');
    expect(sandbox.call('close_range', 1, 3, 0)).toBe(0);
    expect(sandbox.process.files.list()).toEqual([0, 4]);
    expect(sandbox.call('close_range', 4, 1, 0)).toBe(-Errno.EINVAL);
  });
});

describe('names', () => {
  it('come, move, link and go', () => {
    sandbox.call('mkdir', '/tmp/d', 0o755);
    const file = open('/tmp/d/a', O.WRONLY | O.CREAT);
    sandbox.write(file, 'xyz');
    expect(sandbox.call('rename', '/tmp/d/a', '/tmp/b')).toBe(0);
    expect(sandbox.call('link', '/tmp/b', '/tmp/c')).toBe(0);
    expect(stat('/tmp/c')).toMatchObject({ size: 3, links: 2 });
    expect(sandbox.call('unlink', '/tmp/b')).toBe(0);
    expect(stat('/tmp/b')).toBe(-Errno.ENOENT);
    expect(sandbox.call('rmdir', '/tmp/d')).toBe(0);
    expect(sandbox.call('rmdir', '/tmp/c')).toBe(-Errno.ENOTDIR);
  });

  it('are found from a descriptor and from the working directory', () => {
    sandbox.call('mkdir', '/tmp/d', 0o755);
    const folder = open('/tmp/d', O.DIRECTORY);
    expect(sandbox.call('openat', folder, 'a', O.CREAT, 0o600)).toBeGreaterThan(0);
    sandbox.call('chdir', '/tmp/d');
    expect(sandbox.call('faccessat', AT_FDCWD, 'a', 0)).toBe(0);
    const at = sandbox.memory.room(64);
    expect(sandbox.call('getcwd', at, 64)).toBe(7);
    expect(sandbox.memory.readString(at)).toBe('/tmp/d');
  });
});

it('times are kept to the nanosecond', () => {
  open('/tmp/a', O.CREAT);
  const times = sandbox.memory.room(32);
  sandbox.memory.writeU64(times + 8, 0x3fff_fffe); // UTIME_OMIT
  sandbox.memory.writeU64(times + 16, 1_600_000_000);
  sandbox.memory.writeU64(times + 24, 987_654_321);
  expect(sandbox.call('utimensat', AT_FDCWD, '/tmp/a', times, 0)).toBe(0);
  expect(stat('/tmp/a')).toMatchObject({ modified: [1_600_000_000, 987_654_321] });
  sandbox.memory.writeU64(times + 24, 1_000_000_000);
  expect(sandbox.call('utimensat', AT_FDCWD, '/tmp/a', times, 0)).toBe(-Errno.EINVAL);
});

it('access asks for owner, group and rest', () => {
  open('/tmp/a', O.CREAT, 0o540);
  expect([4, 1, 2].map((mode) => sandbox.call('access', '/tmp/a', mode))).toEqual([0, 0, -Errno.EACCES]);
});
