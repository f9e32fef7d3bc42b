/** Locks on files: flock(2), and fcntl(2) for processes and for open files. */
import { beforeEach, describe, expect, it } from 'vitest';
import { BLOCKED, Errno, TestSandbox } from './testing.js';

const SH = 1,
  EX = 2,
  NB = 4,
  UN = 8;
const RDONLY = 0,
  RDWR = 2,
  CREAT = 0o100;
const READ = 0,
  WRITE = 1,
  UNLOCK = 2;
const SETLK = 6,
  SETLKW = 7,
  GETLK = 5,
  OFD_SETLK = 37;
let sandbox: TestSandbox;
beforeEach(() => {
  sandbox = new TestSandbox();
});
const open = (flags = RDWR): number => sandbox.call('open', '/tmp/f', flags | CREAT, 0o600);
const flock = (file: number, how: number): number => sandbox.call('flock', file, how);
/** `struct flock`, from the beginning of the file. */
function describeLock(type: number, start: number, length: number): number {
  const at = sandbox.memory.room(32);
  sandbox.memory.write(at, Uint8Array.of(type));
  sandbox.memory.writeU64(at + 8, start);
  sandbox.memory.writeU64(at + 16, length);
  return at;
}
const lock = (file: number, how: number, type: number, start: number, length: number): number =>
  sandbox.call('fcntl', file, how, describeLock(type, start, length));
/** Type, start, length and process of the lock in the way of one for writing. */
function inTheWay(file: number, start: number, length: number): number[] {
  const at = describeLock(WRITE, start, length),
    { memory } = sandbox;
  expect(sandbox.call('fcntl', file, GETLK, at)).toBe(0);
  return [memory.readU16(at), memory.readU64(at + 8), memory.readU64(at + 16), memory.readI32(at + 24)];
}
const become = (pid: number): void => {
  sandbox.processes.current = sandbox.processes.get(pid)!;
};

describe('flock', () => {
  it('is of the open file, whichever descriptor leads to it', () => {
    const [a, b] = [open(), open()],
      copy = sandbox.call('dup', a);
    expect([flock(a, EX), flock(b, SH | NB), flock(copy, UN), flock(b, SH | NB)]).toEqual([0, -Errno.EAGAIN, 0, 0]);
    expect([flock(a, SH | NB), flock(a, EX | NB), flock(b, EX | NB)]).toEqual([0, -Errno.EAGAIN, 0]); // a has lost its own
    sandbox.call('close', b);
    expect(flock(a, EX | NB)).toBe(0);
  });

  it('waits, until a signal comes', () => {
    const [a, b] = [open(), open()];
    flock(a, EX);
    expect(flock(b, EX)).toBe(BLOCKED);
    expect(sandbox.again(true)).toBe(-Errno.EINTR);
    expect(flock(b, EX)).toBe(BLOCKED);
    const { wakes } = sandbox;
    const file = sandbox.process.files;
    file.close(a);
    expect(sandbox.wakes).toBeGreaterThan(wakes);
    expect(sandbox.again()).toBe(0);
  });

  it('has nothing to do with locks of fcntl', () => {
    const [a, b] = [open(), open()];
    flock(a, EX);
    expect(lock(b, OFD_SETLK, WRITE, 0, 0)).toBe(0);
  });
});

describe('locks of processes', () => {
  it('join, split and change', () => {
    const file = open();
    lock(file, SETLK, WRITE, 0, 10);
    lock(file, SETLK, WRITE, 10, 10);
    lock(file, SETLK, READ, 5, 2);
    lock(file, SETLK, UNLOCK, 15, 1);
    sandbox.fork(7);
    expect([0, 5, 7, 16].map((at) => inTheWay(file, at, 1))).toEqual([
      [WRITE, 0, 5, 2],
      [READ, 5, 2, 2],
      [WRITE, 7, 8, 2],
      [WRITE, 16, 4, 2],
    ]);
    expect([inTheWay(file, 15, 1)[0], inTheWay(file, 20, 0)[0]]).toEqual([UNLOCK, UNLOCK]);
    expect([lock(file, SETLK, READ, 6, 1), lock(file, SETLK, READ, 0, 0)]).toEqual([0, -Errno.EAGAIN]);
  });

  it('go when the process closes any descriptor of the file, or ends', () => {
    const file = open(),
      other = open(RDONLY);
    lock(file, SETLK, WRITE, 0, 0);
    const child = sandbox.fork(7);
    expect(lock(file, SETLK, WRITE, 0, 0)).toBe(-Errno.EAGAIN);
    become(2);
    sandbox.call('close', other);
    become(7);
    expect(lock(file, SETLK, WRITE, 0, 0)).toBe(0);
    become(2);
    expect(lock(file, SETLK, WRITE, 0, 0)).toBe(-Errno.EAGAIN);
    sandbox.processes.end(child);
    expect(lock(file, SETLK, WRITE, 0, 0)).toBe(0);
  });

  it('are not waited for in a circle', () => {
    const file = open();
    lock(file, SETLK, WRITE, 0, 1);
    sandbox.fork(7);
    lock(file, SETLK, WRITE, 1, 1);
    expect(lock(file, SETLKW, WRITE, 0, 1)).toBe(BLOCKED);
    become(2);
    expect(lock(file, SETLKW, WRITE, 1, 1)).toBe(-Errno.EDEADLK);
    expect(lock(file, SETLK, WRITE, 1, 1)).toBe(-Errno.EAGAIN);
  });

  it('ask for a file that is open for it, and for bytes that there can be', () => {
    const file = open(RDONLY);
    expect([lock(file, SETLK, WRITE, 0, 1), lock(file, SETLK, 9, 0, 1), lock(file, SETLK, READ, -1, 1)]).toEqual([
      -Errno.EBADF,
      -Errno.EINVAL,
      -Errno.EINVAL,
    ]);
  });
});

it('locks of open files are shared by descriptors and processes, and a process is told "a file"', () => {
  const [a, b] = [open(), open()];
  expect(lock(a, OFD_SETLK, WRITE, 0, 5)).toBe(0);
  expect(lock(b, OFD_SETLK, WRITE, 4, 5)).toBe(-Errno.EAGAIN);
  expect(inTheWay(b, 0, 0)).toEqual([WRITE, 0, 5, -1]);
  sandbox.fork(7);
  sandbox.call('close', a);
  expect(lock(b, OFD_SETLK, WRITE, 4, 5)).toBe(-Errno.EAGAIN);
  become(2);
  sandbox.call('close', a);
  expect(lock(b, OFD_SETLK, WRITE, 4, 5)).toBe(0);
});
