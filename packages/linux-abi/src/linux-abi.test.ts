/** The table, descriptors, and how calls look in a trace. */
import { Errno, LinuxError, errnoName, errnoOf, errnoText } from '@visorkit/sandbox-fs';
import type { FileStat } from '@visorkit/sandbox-fs';
import { describe, expect, it } from 'vitest';
import {
  FileTable,
  OpenFile,
  PagesNeeded,
  SystemCallTable,
  callText,
  formats,
  readTimespec,
  signalName,
  signalText,
  systemCallName,
  systemCallNumber,
  timespec,
} from './index.js';
import type { SystemCall, SystemCallDefinition, UserMemory } from './index.js';

class TestFile extends OpenFile {
  closed = 0;
  readonly name = 'test';
  stat(): FileStat {
    throw new Error('not asked');
  }
  override close(): void {
    this.closed++;
  }
}

describe('numbers', () => {
  it('are those of x86-64', () => {
    expect(['read', 'mmap', 'execve', 'openat', 'statx', 'clone3'].map(systemCallNumber)).toEqual([
      0, 9, 59, 257, 332, 435,
    ]);
    expect([1, 231, 999].map(systemCallName)).toEqual(['write', 'exit_group', 'syscall_999']);
    expect(() => systemCallNumber('opennat')).toThrow('"opennat" is no system call of x86-64');
  });

  it('errors and signals have names and texts', () => {
    expect([errnoName(2), errnoText(2), errnoText(4000), Errno.ENOSYS]).toEqual([
      'ENOENT',
      'No such file or directory',
      'Unknown error 4000',
      38,
    ]);
    expect([
      errnoOf(new LinuxError(13)),
      errnoOf(Object.assign(new Error(), { errno: -2 })),
      errnoOf(new Error('x')),
    ]).toEqual([13, 2, 0]);
    expect([signalName(11), signalName(34), signalText(11)]).toEqual(['SIGSEGV', 'SIGRT_2', 'Segmentation fault']);
  });
});

describe('the table', () => {
  it('has one server for each call', () => {
    const table = new SystemCallTable();
    const undo = table.define({ name: 'getpid', args: [], serve: () => 1 });
    expect(() => table.define({ name: 'getpid', args: [] })).toThrow(
      expect.objectContaining({ code: 'SYSTEM_CALL_CONFLICT' }),
    );
    undo();
    expect(table.get(39)).toBeUndefined();
    table.miss(39);
    table.miss(39);
    expect(table.missed()).toEqual([{ name: 'getpid', count: 2 }]);
  });
});

describe('descriptors', () => {
  it('are the lowest free ones, and close with the last reference', () => {
    const table = new FileTable(4),
      file = new TestFile(0);
    expect([table.add(file), table.add(file), table.add(file, true)]).toEqual([0, 1, 2]);
    table.close(1);
    expect([table.add(file), table.closeOnExec(2), table.list()]).toEqual([1, true, [0, 1, 2]]);
    table.set(3, file, false);
    const spare = new TestFile(0);
    expect(() => table.add(spare)).toThrow(new LinuxError(Errno.EMFILE));
    expect(spare.closed).toBe(1);
    expect(() => table.set(4, file, false)).toThrow(new LinuxError(Errno.EBADF));
    table.set(3, file, true);
    table.closeAll();
    expect([file.closed, file.references]).toEqual([1, 0]);
    expect(() => table.get(0)).toThrow(new LinuxError(Errno.EBADF));
  });
});

/** A call with arguments, over a memory of texts by address. */
function call(args: readonly (number | bigint)[], memory: { readonly [address: number]: string } = {}): SystemCall {
  const at = (address: number): string => {
    const text = memory[address];
    if (text === undefined) throw new PagesNeeded();
    return text;
  };
  const big = (i: number): bigint => BigInt.asUintN(64, BigInt(args[i] ?? 0));
  return {
    number: 0,
    tid: 1,
    interrupted: false,
    state: undefined,
    deadline: Infinity,
    process: undefined as never,
    big,
    u64: (i) => Number(big(i)),
    i64: (i) => Number(BigInt.asIntN(64, big(i))),
    u32: (i) => Number(big(i) & 0xffff_ffffn),
    i32: (i) => Number(BigInt.asIntN(32, big(i))),
    memory: {
      readString: at,
      read: (address: number, length: number) => Buffer.from(at(address), 'latin1').subarray(0, length),
    } as unknown as UserMemory,
  };
}

describe('traces', () => {
  const { descriptor, directory, flags, input, int, oneOf, output, path, pointer, size } = formats;
  const write: SystemCallDefinition = { name: 'write', args: [descriptor, input(2), size] };
  const openat: SystemCallDefinition = {
    name: 'openat',
    args: [directory, path, flags({ O_WRONLY: 1, O_CREAT: 0o100, O_EXCL: 0o200 }, 'O_RDONLY')],
  };

  it.each<[string, SystemCallDefinition | undefined, SystemCall, number | undefined, string]>([
    ['write', write, call([1, 16, 4], { 16: 'a\n"\0' }), 4, 'write(1, "a\\n\\"\\0", 4) = 4'],
    ['write', write, call([1, 16, 100], { 16: 'x'.repeat(100) }), 100, `write(1, "${'x'.repeat(32)}"..., 100) = 100`],
    ['write', write, call([1, 0x1234, 4]), -Errno.EFAULT, 'write(1, 0x1234, 4) = -1 EFAULT (Bad address)'],
    ['write', write, call([1, 0, 4]), -Errno.EFAULT, 'write(1, NULL, 4) = -1 EFAULT (Bad address)'],
    [
      'openat',
      openat,
      call([-100, 16, 0o101], { 16: '/a/\xc3\xa4' }),
      3,
      'openat(AT_FDCWD, "/a/ä", O_WRONLY|O_CREAT) = 3',
    ],
    [
      'openat',
      openat,
      call([5, 16, 0], { 16: 'x' }),
      -2,
      'openat(5, "x", O_RDONLY) = -1 ENOENT (No such file or directory)',
    ],
    ['openat', openat, call([5, 16, 0x80_0000], { 16: 'x' }), 3, 'openat(5, "x", 0x800000) = 3'],
    [
      'read',
      { name: 'read', args: [int, output, size] },
      call([0, 16, 10], { 16: 'hello' }),
      5,
      'read(0, "hello", 10) = 5',
    ],
    ['brk', { name: 'brk', args: [pointer], result: 'address' }, call([0]), 0x5000, 'brk(NULL) = 0x5000'],
    [
      'lseek',
      { name: 'lseek', args: [int, formats.offset, oneOf({ 2: 'SEEK_END' })] },
      call([3, -5n, 2]),
      7,
      'lseek(3, -5, SEEK_END) = 7',
    ],
    ['exit_group', { name: 'exit_group', args: [int] }, call([3]), undefined, 'exit_group(3) = ?'],
    [
      'syscall_999',
      undefined,
      call([1, -1n]),
      -38,
      'syscall_999(0x1, 0xffffffffffffffff, 0x0, 0x0, 0x0, 0x0) = -1 ENOSYS (Function not implemented)',
    ],
  ])('%s', (name, definition, made, result, expected) =>
    expect(callText(name, definition, made, result)).toBe(expected),
  );
});

it('times are seconds and nanoseconds', () => {
  const view = (bytes: Uint8Array): bigint[] => [...new BigInt64Array(bytes.buffer)];
  expect([view(timespec(1_500_000_000n)), view(timespec(0n)), view(timespec(-1n))]).toEqual([
    [1n, 500_000_000n],
    [0n, 0n],
    [-1n, 999_999_999n],
  ]);
  const read = (seconds: number, nanoseconds: number): number =>
    readTimespec({ readI64: (address) => (address === 0 ? seconds : nanoseconds) }, 0);
  expect([read(1, 5), read(-1, 0), read(0, 1e9), read(0, -1)]).toEqual([1_000_000_005, NaN, NaN, NaN]);
});
