/** Reading, writing, positions; and files that pages of memory show. */
import { FilePages, type OpenFile } from '@visorkit/linux-abi';
import { beforeEach, expect, it } from 'vitest';
import { Errno, TestSandbox } from './testing.js';

let sandbox: TestSandbox;
const O = { RDONLY: 0, WRONLY: 1, RDWR: 2, CREAT: 0o100, TRUNC: 0o1000, APPEND: 0o2000 };
const open = (path: string, flags: number, mode = 0o600): number => sandbox.call('open', path, flags, mode);
beforeEach(() => {
  sandbox = new TestSandbox();
});

it('positions go on with reads and writes, and pread leaves them', () => {
  const file = open('/tmp/a', O.RDWR | O.CREAT);
  expect(sandbox.write(file, 'hello world')).toBe(11);
  expect(sandbox.call('lseek', file, 6, 0)).toBe(6);
  expect(sandbox.read(file, 3)).toBe('wor');
  const at = sandbox.memory.room(5);
  expect(sandbox.call('pread64', file, at, 5, 0)).toBe(5);
  expect(sandbox.memory.text(at, 5)).toBe('hello');
  expect(sandbox.read(file)).toBe('ld');
  expect(sandbox.read(file)).toBe('');
});

it('refuses what the way of opening does not allow, and what cannot be', () => {
  const reader = (open('/tmp/a', O.WRONLY | O.CREAT), open('/tmp/a', O.RDONLY)),
    writer = open('/tmp/a', O.WRONLY);
  expect(sandbox.write(reader, 'x')).toBe(-Errno.EBADF);
  expect(sandbox.read(writer)).toBe(-Errno.EBADF);
  expect(sandbox.read(99)).toBe(-Errno.EBADF);
  expect(sandbox.call('lseek', reader, -1, 0)).toBe(-Errno.EINVAL);
  expect(sandbox.call('pread64', reader, 0, 1, -1)).toBe(-Errno.EINVAL);
  expect(sandbox.call('write', writer, 4, 8)).toBe(-Errno.EFAULT);
});

it('appends wherever the position is', () => {
  const file = open('/tmp/a', O.WRONLY | O.CREAT | O.APPEND);
  sandbox.write(file, 'one');
  sandbox.call('lseek', file, 0, 0);
  sandbox.write(file, 'two');
  expect(sandbox.read(open('/tmp/a', O.RDONLY))).toBe('onetwo');
});

it('gathers and scatters', () => {
  const file = open('/tmp/a', O.RDWR | O.CREAT),
    { memory } = sandbox,
    parts = memory.room(32),
    first = memory.put(Buffer.from('abc')),
    second = memory.put(Buffer.from('defg'));
  memory.writeU64(parts, first);
  memory.writeU64(parts + 8, 3);
  memory.writeU64(parts + 16, second);
  memory.writeU64(parts + 24, 4);
  expect(sandbox.call('writev', file, parts, 2)).toBe(7);
  sandbox.call('lseek', file, 1, 0);
  expect(sandbox.call('readv', file, parts, 2)).toBe(6);
  expect([memory.text(first, 3), memory.text(second, 4)]).toEqual(['bcd', 'efgg']);
  expect(sandbox.call('readv', file, parts, -1)).toBe(-Errno.EINVAL);
});

it('pages in memory are read and written with the file, and end with it', () => {
  const file = open('/tmp/a', O.RDWR | O.CREAT);
  sandbox.write(file, '0123456789');
  const log: string[] = [];
  const stat = (sandbox.process.files.get(file) as OpenFile).stat();
  sandbox.process.options.pages.set(FilePages.key(stat), {
    read: (target, position) => target.set(Buffer.from('XY').subarray(0, target.length), position === 0 ? 2 : 0),
    write: (bytes, position) => log.push(`${Buffer.from(bytes).toString()} at ${position}`),
    truncate: (size) => log.push(`ends at ${size}`),
  });
  sandbox.call('lseek', file, 0, 0);
  expect(sandbox.read(file, 6)).toBe('01XY45');
  sandbox.write(file, 'new');
  const other = open('/tmp/a', O.WRONLY | O.APPEND);
  sandbox.write(other, 'end');
  sandbox.call('ftruncate', file, 5);
  sandbox.call('truncate', '/tmp/a', 3);
  open('/tmp/a', O.WRONLY | O.TRUNC);
  expect(log).toEqual(['new at 6', 'end at 10', 'ends at 5', 'ends at 3', 'ends at 0']);
  sandbox.process.options.pages.delete(FilePages.key(stat));
  sandbox.write(file, 'x');
  expect(log).toHaveLength(5);
});

it('sendfile and copy_file_range copy, with offsets of their own', () => {
  const from = open('/tmp/a', O.RDWR | O.CREAT),
    to = open('/tmp/b', O.RDWR | O.CREAT),
    { memory } = sandbox,
    offset = memory.room(8);
  sandbox.write(from, 'abcdef');
  memory.writeU64(offset, 2);
  expect(sandbox.call('sendfile', to, from, offset, 3)).toBe(3);
  expect(memory.readU64(offset)).toBe(5);
  expect(sandbox.call('copy_file_range', from, offset, to, 0, 10, 0)).toBe(1);
  sandbox.call('lseek', to, 0, 0);
  expect(sandbox.read(to)).toBe('cdef');
});

it('sendfile and copy_file_range refuse ends, and what lies over itself', () => {
  const from = open('/tmp/a', O.RDWR | O.CREAT),
    end = open('/tmp/b', O.WRONLY | O.CREAT | O.APPEND),
    { memory } = sandbox,
    at = (value: number): number => {
      const address = memory.room(8);
      memory.writeU64(address, value);
      return address;
    };
  sandbox.write(from, 'abcdef');
  expect([
    sandbox.call('sendfile', end, from, at(0), 3),
    sandbox.call('copy_file_range', from, at(0), end, 0, 3, 0),
    sandbox.call('copy_file_range', from, at(0), from, at(2), 3, 0),
  ]).toEqual([-Errno.EINVAL, -Errno.EBADF, -Errno.EINVAL]);
  expect(sandbox.call('copy_file_range', from, at(0), from, at(3), 3, 0)).toBe(3);
  sandbox.call('lseek', from, 2, 0);
  expect([sandbox.call('sendfile', from, from, 0, 9), sandbox.call('lseek', from, 0, 1)]).toEqual([4, 6]);
  expect(sandbox.call('fallocate', from, 0, 0, 0)).toBe(-Errno.EINVAL);
});
