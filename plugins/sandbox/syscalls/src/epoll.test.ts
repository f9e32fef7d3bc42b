/** poll, select and epoll. That EPOLLET agrees with Linux in all orders is run-elf's guest/edges.c; here are the rules one by one. */
import { beforeEach, describe, expect, it } from 'vitest';
import { BLOCKED, Errno, TestSandbox } from './testing.js';

const IN = 1,
  OUT = 4,
  HUP = 16,
  NVAL = 32,
  ET = 0x8000_0000,
  ONESHOT = 0x4000_0000;
const ADD = 1,
  DEL = 2,
  MOD = 3,
  NONBLOCK = 0o4000;
let sandbox: TestSandbox, epoll: number;
const pipe = (): [number, number] => {
  const at = sandbox.memory.room(8);
  sandbox.call('pipe2', at, NONBLOCK);
  return [sandbox.memory.readU32(at), sandbox.memory.readU32(at + 4)];
};
const control = (operation: number, descriptor: number, events: number, on = epoll): number => {
  const at = sandbox.memory.room(16);
  sandbox.memory.writeU32(at, events);
  sandbox.memory.writeU64(at + 4, descriptor);
  return sandbox.call('epoll_ctl', on, operation, descriptor, at);
};
/** Events as `descriptor:events`. */
const look = (most = 8, on = epoll): string[] | number => {
  const at = sandbox.memory.room(12 * most),
    count = sandbox.call('epoll_wait', on, at, most, 0);
  return count < 0
    ? count
    : Array.from(
        { length: count },
        (_, i) => `${sandbox.memory.readU32(at + 12 * i + 4)}:${sandbox.memory.readU32(at + 12 * i)}`,
      );
};
beforeEach(() => {
  sandbox = new TestSandbox();
  epoll = sandbox.call('epoll_create1', 0);
});

describe('epoll', () => {
  it('tells level by level what is ready, until it is read', () => {
    const [reader, writer] = pipe();
    control(ADD, reader, IN);
    expect(look()).toEqual([]);
    sandbox.write(writer, 'xx');
    expect([look(), look()]).toEqual([[`${reader}:1`], [`${reader}:1`]]);
    sandbox.read(reader);
    expect(look()).toEqual([]);
    sandbox.call('close', writer);
    expect(look()).toEqual([`${reader}:${HUP}`]);
  });

  it('tells as many events as there is room for', () => {
    sandbox.process.files.limit = 4096;
    for (let i = 0; i < 1100; i++) control(ADD, sandbox.call('eventfd2', 1, NONBLOCK), IN);
    expect(look(2000)).toHaveLength(1100);
    expect([look(0), look(-1), sandbox.call('epoll_wait', epoll, 0, 0x0aaaaaab, 0)]).toEqual(
      Array(3).fill(-Errno.EINVAL),
    );
  });

  it('tells with EPOLLET once for each arrival', () => {
    const [reader, writer] = pipe();
    control(ADD, reader, IN | ET);
    sandbox.write(writer, 'x');
    expect([look(), look()]).toEqual([[`${reader}:1`], []]);
    sandbox.write(writer, 'y'); // the first is still there
    expect([look(), look()]).toEqual([[`${reader}:1`], []]);
    sandbox.write(writer, 'z');
    sandbox.read(reader); // all gone before the look
    expect(look()).toEqual([]);
    control(MOD, reader, IN | ET);
    expect(look()).toEqual([]);
    sandbox.write(writer, 'w');
    look();
    control(MOD, reader, IN | ET); // asks anew
    expect(look()).toEqual([`${reader}:1`]);
  });

  it('tells once with EPOLLONESHOT, until it is asked again', () => {
    const [reader, writer] = pipe();
    control(ADD, reader, IN | ONESHOT);
    sandbox.write(writer, 'x');
    expect([look(), look()]).toEqual([[`${reader}:1`], []]);
    control(MOD, reader, IN | ONESHOT);
    expect(look()).toEqual([`${reader}:1`]);
  });

  it('tells of errors and ends without being asked, but not once an EPOLLONESHOT is used up', () => {
    const [reader, writer] = pipe();
    control(ADD, reader, 0);
    sandbox.write(writer, 'x');
    expect(look()).toEqual([]);
    sandbox.call('close', writer);
    expect([look(), look()]).toEqual([[`${reader}:${HUP}`], [`${reader}:${HUP}`]]);
    control(MOD, reader, ONESHOT);
    expect([look(), look()]).toEqual([[`${reader}:${HUP}`], []]);
  });

  it('tells who watched last first, when one thing is news for several', () => {
    const file = sandbox.call('eventfd2', 0, NONBLOCK),
      inner = sandbox.call('epoll_create1', 0);
    control(ADD, inner, IN);
    control(ADD, file, IN, inner);
    control(ADD, file, IN);
    sandbox.call('write', file, Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0), 8);
    expect(look(1)).toEqual([`${file}:1`]);
  });

  it('has a write that finds no room as news for the reader', () => {
    const [reader, writer] = pipe();
    control(ADD, reader, IN | ET);
    sandbox.write(writer, 'x'.repeat(65_536));
    look();
    expect(sandbox.write(writer, 'y')).toBe(-Errno.EAGAIN);
    expect([look(), look()]).toEqual([[`${reader}:1`], []]);
  });

  it('takes turns when there are more than fit', () => {
    const pipes = [pipe(), pipe(), pipe()];
    for (const [reader, writer] of pipes) {
      control(ADD, reader, IN);
      sandbox.write(writer, 'x');
    }
    const [a, b, c] = pipes.map(([reader]) => `${reader}:1`);
    expect([look(2), look(2), look(2)]).toEqual([
      [a, b],
      [c, a],
      [b, c],
    ]);
  });

  it('watches the open file, whatever number it has, until the last one is closed', () => {
    const [reader, writer] = pipe();
    control(ADD, reader, IN);
    const copy = sandbox.call('dup', reader);
    sandbox.call('close', reader);
    sandbox.write(writer, 'x');
    expect(look()).toEqual([`${reader}:1`]);
    sandbox.call('close', copy);
    expect(look()).toEqual([]);
  });

  it('nests, but not in a circle', () => {
    const [reader, writer] = pipe(),
      outer = sandbox.call('epoll_create1', 0);
    control(ADD, reader, IN);
    control(ADD, epoll, IN | ET, outer);
    sandbox.write(writer, 'x');
    expect([look(8, outer), look(8, outer)]).toEqual([[`${epoll}:1`], []]);
    expect(control(ADD, outer, IN)).toBe(-Errno.ELOOP);
    expect(control(ADD, epoll, IN)).toBe(-Errno.EINVAL);
  });

  it('refuses what makes no sense', () => {
    const [reader] = pipe(),
      file = sandbox.call('open', '/tmp/f', 0o102, 0o600);
    expect(control(MOD, reader, IN)).toBe(-Errno.ENOENT);
    expect(control(DEL, reader, IN)).toBe(-Errno.ENOENT);
    expect(control(ADD, file, IN)).toBe(-Errno.EPERM);
    expect(control(ADD, reader, IN, reader)).toBe(-Errno.EINVAL);
    control(ADD, reader, IN);
    expect(control(ADD, reader, IN)).toBe(-Errno.EEXIST);
    expect(control(9, reader, IN)).toBe(-Errno.EINVAL);
    expect(sandbox.call('epoll_wait', epoll, 0, 0, 0)).toBe(-Errno.EINVAL);
    expect(sandbox.call('epoll_create', 0)).toBe(-Errno.EINVAL);
  });

  it('waits until its time is over', () => {
    const at = sandbox.memory.room(12);
    expect(sandbox.call('epoll_wait', epoll, at, 1, 5)).toBe(BLOCKED);
    expect(sandbox.deadline).toBe(5e6);
    sandbox.clock.advance(5e6);
    expect(sandbox.again()).toBe(0);
  });
});

it('poll tells of each file, and of none', () => {
  const [reader, writer] = pipe(),
    at = sandbox.memory.room(24);
  [reader, writer, 77].forEach((descriptor, i) => {
    sandbox.memory.writeU32(at + 8 * i, descriptor);
    sandbox.memory.writeU32(at + 8 * i + 4, IN | OUT);
  });
  const found = (): number[] => [0, 1, 2].map((i) => sandbox.memory.readU16(at + 8 * i + 6));
  expect(sandbox.call('poll', at, 3, 0)).toBe(2);
  expect(found()).toEqual([0, OUT, NVAL]);
  sandbox.write(writer, 'x');
  expect(sandbox.call('poll', at, 3, 0)).toBe(3);
  expect(found()).toEqual([IN, OUT, NVAL]);
});

it('select gives back the sets with what is ready', () => {
  const [reader, writer] = pipe(),
    sets = sandbox.memory.room(256);
  const ask = (): number => {
    sandbox.memory.writeU64(sets, 1 << reader);
    sandbox.memory.writeU64(sets + 128, 1 << writer);
    return sandbox.call('select', writer + 1, sets, sets + 128, 0, sandbox.memory.put(new Uint8Array(16)));
  };
  expect([ask(), sandbox.memory.readU64(sets), sandbox.memory.readU64(sets + 128)]).toEqual([1, 0, 1 << writer]);
  sandbox.write(writer, 'x');
  expect([ask(), sandbox.memory.readU64(sets)]).toEqual([2, 1 << reader]);
});
