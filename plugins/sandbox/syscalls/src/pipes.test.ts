/** Pipes, eventfd, and what splice and tee move between them. */
import { beforeEach, describe, expect, it } from 'vitest';
import { budgetOf } from './byte-queue.js';
import { BLOCKED, Errno, TestSandbox } from './testing.js';

const NONBLOCK = 0o4000,
  CLOEXEC = 0o2000000;
const PIPE = 13;
let sandbox: TestSandbox;
const pipe = (flags = NONBLOCK): [number, number] => {
  const at = sandbox.memory.room(8);
  expect(sandbox.call('pipe2', at, flags)).toBe(0);
  return [sandbox.memory.readU32(at), sandbox.memory.readU32(at + 4)];
};
beforeEach(() => {
  sandbox = new TestSandbox();
});

describe('a pipe', () => {
  it('gives what was put in, in order, and waits or says EAGAIN when empty', () => {
    const [reader, writer] = pipe();
    expect(sandbox.read(reader)).toBe(-Errno.EAGAIN);
    sandbox.write(writer, 'one');
    sandbox.write(writer, 'two');
    expect(sandbox.read(reader, 4)).toBe('onet');
    expect(sandbox.read(reader)).toBe('wo');
    const [waits] = pipe(0);
    expect(sandbox.read(waits)).toBe(BLOCKED);
  });

  it('ends when its writer is closed, and breaks when its reader is', () => {
    const [reader, writer] = pipe();
    sandbox.write(writer, 'last');
    sandbox.call('close', writer);
    expect([sandbox.read(reader), sandbox.read(reader)]).toEqual(['last', '']);
    const [gone, broken] = pipe();
    sandbox.call('close', gone);
    expect(sandbox.write(broken, 'x')).toBe(-Errno.EPIPE);
    expect(sandbox.signals).toEqual([{ pid: 2, signal: PIPE }]);
  });

  it('stays open for as long as any process has the end', () => {
    const [reader, writer] = pipe(),
      parent = sandbox.process;
    sandbox.fork(3);
    sandbox.processes.current = parent;
    sandbox.call('close', writer);
    expect(sandbox.read(reader)).toBe(-Errno.EAGAIN);
    sandbox.processes.end(sandbox.processes.get(3)!);
    expect(sandbox.read(reader)).toBe('');
  });

  it('holds sixteen pages; short writes are not divided, long ones go on when there is a page', () => {
    const [reader, writer] = pipe(0);
    expect(sandbox.write(writer, 'x'.repeat(65_000))).toBe(65_000);
    expect(sandbox.write(writer, 'y'.repeat(4096))).toBe(BLOCKED); // the sixteenth page has 3560 bytes
    sandbox.read(reader, 4095);
    expect(sandbox.write(writer, 'y'.repeat(4096))).toBe(BLOCKED);
    sandbox.read(reader, 1);
    expect(sandbox.write(writer, 'y'.repeat(4096))).toBe(4096);
    sandbox.read(reader, 4096);
    expect(sandbox.write(writer, 'z'.repeat(10_000))).toBe(BLOCKED);
    sandbox.call('fcntl', reader, 4, NONBLOCK);
    let rest = '';
    for (let part: string | number; typeof (part = sandbox.read(reader, 65_536)) === 'string' && part !== ''; )
      rest += part;
    expect(rest).toHaveLength(65_000 - 8192 + 4096 + 4096);
  });

  it('fills up its last page with what does not make whole pages, and is full when every page has something', () => {
    const [reader, writer] = pipe();
    const poll = (descriptor: number): number => sandbox.process.files.get(descriptor).poll();
    sandbox.write(writer, 'x');
    expect(sandbox.write(writer, 'y'.repeat(65_536))).toBe(61_440); // nothing goes to the first page
    expect([poll(writer), sandbox.write(writer, 'z')]).toEqual([0, -Errno.EAGAIN]);
    sandbox.read(reader, 1);
    expect([poll(writer), sandbox.write(writer, 'z'), sandbox.write(writer, 'z'.repeat(4095))]).toEqual([4, 1, 4095]);
    expect([poll(writer), sandbox.write(writer, 'z')]).toEqual([0, -Errno.EAGAIN]);
    expect(sandbox.read(reader, 65_536)).toHaveLength(65_536);
  });

  it('has pages of their own for what was spliced', () => {
    const [, first] = pipe(),
      [reader, writer] = pipe();
    for (let i = 0; i < 16; i++) {
      sandbox.write(writer, 'x');
      expect(sandbox.call('splice', reader, 0, first, 0, 1, 2)).toBe(1);
    }
    sandbox.write(writer, 'x');
    expect([sandbox.call('splice', reader, 0, first, 0, 1, 2), sandbox.write(first, 'y')]).toEqual([
      -Errno.EAGAIN,
      -Errno.EAGAIN,
    ]);
  });

  it('wakes who waits', () => {
    const [, writer] = pipe();
    const before = sandbox.wakes;
    sandbox.write(writer, 'x');
    expect(sandbox.wakes).toBe(before + 1);
  });

  it('is refused with flags that do not exist, and takes nothing when descriptors run out', () => {
    expect(sandbox.call('pipe2', sandbox.memory.room(8), 1)).toBe(-Errno.EINVAL);
    expect(sandbox.call('pipe2', 4, 0)).toBe(-Errno.EFAULT);
    for (const limit of [0, 1]) {
      sandbox.process.files.limit = limit;
      expect(sandbox.call('pipe2', sandbox.memory.room(8), 0)).toBe(-Errno.EMFILE);
      expect(sandbox.process.files.list()).toEqual([]);
      expect(budgetOf(sandbox.process.options).used).toBe(0);
    }
  });

  it('is not inherited by a program with O_CLOEXEC', () => {
    const [reader, writer] = pipe(CLOEXEC);
    const kept = sandbox.call('dup', reader);
    sandbox.process.files = sandbox.process.files.afterExec();
    expect(sandbox.process.files.list()).toEqual([kept]);
    expect(sandbox.write(writer, 'x')).toBe(-Errno.EBADF);
  });
});

it('a pipe is made larger and smaller, to a power of two that holds what is in it', () => {
  const [reader, writer] = pipe();
  const resize = (size: number): number => sandbox.call('fcntl', writer, 1031, size);
  expect([resize(5000), sandbox.call('fcntl', reader, 1032), resize(0)]).toEqual([8192, 8192, 4096]);
  expect([sandbox.write(writer, 'x'.repeat(4096)), sandbox.write(writer, 'x')]).toEqual([4096, -Errno.EAGAIN]);
  expect([resize(1 << 20), sandbox.write(writer, 'x'), resize(4096), resize((1 << 20) + 1)]).toEqual([
    1 << 20,
    1,
    -Errno.EBUSY,
    -Errno.EPERM,
  ]);
});

describe('an eventfd', () => {
  const add = (descriptor: number, value: bigint): number => {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, value, true);
    return sandbox.call('write', descriptor, bytes, 8);
  };
  const take = (descriptor: number): bigint | number => {
    const at = sandbox.memory.room(8),
      count = sandbox.call('read', descriptor, at, 8);
    return count === 8 ? BigInt(sandbox.memory.readU64(at)) : count;
  };

  it('counts, and is empty after a read', () => {
    const file = sandbox.call('eventfd2', 3, NONBLOCK);
    add(file, 4n);
    expect([take(file), take(file)]).toEqual([7n, -Errno.EAGAIN]);
    expect(sandbox.call('read', file, sandbox.memory.room(4), 4)).toBe(-Errno.EINVAL);
  });

  it('gives one at a time as a semaphore', () => {
    const file = sandbox.call('eventfd2', 2, NONBLOCK | 1);
    expect([take(file), take(file), take(file)]).toEqual([1n, 1n, -Errno.EAGAIN]);
  });

  it('takes no more than 2^64 - 2', () => {
    const file = sandbox.call('eventfd2', 1, NONBLOCK);
    expect(add(file, (1n << 64n) - 1n)).toBe(-Errno.EINVAL);
    expect(add(file, (1n << 64n) - 2n)).toBe(-Errno.EAGAIN);
    expect(add(file, (1n << 64n) - 3n)).toBe(8);
  });
});

describe('splice and tee', () => {
  it('move and copy between pipes', () => {
    const [from, put] = pipe(),
      [out, to] = pipe();
    sandbox.write(put, 'content');
    expect(sandbox.call('tee', from, to, 3, 0)).toBe(3);
    expect(sandbox.call('splice', from, 0, to, 0, 100, 0)).toBe(7);
    expect(sandbox.read(out)).toBe('concontent');
    expect(sandbox.call('splice', from, 0, to, 0, 100, 0)).toBe(-Errno.EAGAIN);
    sandbox.call('close', put);
    expect(sandbox.call('splice', from, 0, to, 0, 100, 0)).toBe(0);
  });

  it('move between a pipe and a file, at an offset', () => {
    const [from, put] = pipe(),
      file = sandbox.call('open', '/tmp/f', 0o102, 0o600),
      offset = sandbox.memory.room(8);
    sandbox.write(put, 'abc');
    sandbox.memory.writeU64(offset, 2);
    expect(sandbox.call('splice', from, 0, file, offset, 9, 0)).toBe(3);
    expect(sandbox.memory.readU64(offset)).toBe(5);
    expect(sandbox.call('splice', file, 0, put, 0, 100, 0)).toBe(5);
    expect(sandbox.read(from)).toBe('\0\0abc');
  });

  it('refuse two files, one pipe, and offsets of pipes', () => {
    const [from, put] = pipe(),
      file = sandbox.call('open', '/tmp/f', 0o102, 0o600),
      offset = sandbox.memory.room(8);
    expect(sandbox.call('splice', file, 0, file, 0, 1, 0)).toBe(-Errno.EINVAL);
    expect(sandbox.call('splice', from, 0, put, 0, 1, 0)).toBe(-Errno.EINVAL);
    expect(sandbox.call('splice', from, offset, file, 0, 1, 0)).toBe(-Errno.ESPIPE);
    expect(sandbox.call('tee', from, put, 1, 0)).toBe(-Errno.EINVAL);
    expect(sandbox.call('tee', file, put, 1, 0)).toBe(-Errno.EINVAL);
  });
});
