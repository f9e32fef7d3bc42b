/** Pairs of terminals: how they are made, who controls them, how they end. The lines themselves are line-discipline.test.ts. */
import { Poll, Signal } from '@visorkit/linux-abi';
import { beforeEach, describe, expect, it } from 'vitest';
import { TIO } from './terminal-requests.js';
import { BLOCKED, Errno, TestSandbox } from './testing.js';

const RDWR = 2,
  NOCTTY = 0o400,
  NONBLOCK = 0o4000;
let sandbox: TestSandbox;
beforeEach(() => {
  sandbox = new TestSandbox();
});

const number = (): number => sandbox.memory.room(8);
const ask = (descriptor: number, request: number, value = 0): number => {
  const at = number();
  sandbox.memory.writeU32(at, value);
  const result = sandbox.call('ioctl', descriptor, request, at);
  return result < 0 ? result : sandbox.memory.readU32(at);
};
const master = (flags = NONBLOCK): number => sandbox.call('open', '/dev/ptmx', RDWR | flags, 0);
/** As grantpt, unlockpt and ptsname do it. */
const slave = (of: number, flags = NONBLOCK | NOCTTY): number => {
  ask(of, TIO.TIOCSPTLCK, 0);
  return sandbox.call('open', `/dev/pts/${ask(of, TIO.TIOCGPTN)}`, RDWR | flags, 0);
};
const poll = (descriptor: number): number => sandbox.process.files.get(descriptor).poll();
const link = (descriptor: number): string => {
  const at = sandbox.memory.room(64),
    count = sandbox.call('readlink', `/proc/self/fd/${descriptor}`, at, 64);
  return sandbox.memory.text(at, count);
};

describe('a pair', () => {
  it('has a name for its slave, which is locked at first', () => {
    const end = master();
    expect([ask(end, TIO.TIOCGPTN), ask(end, TIO.TIOCGPTLCK)]).toEqual([0, 1]);
    expect(sandbox.call('open', '/dev/pts/0', RDWR, 0)).toBe(-Errno.EIO);
    const other = slave(end);
    expect([other > 0, link(other), link(end)]).toEqual([true, '/dev/pts/0', '/dev/ptmx']);
    const second = sandbox.call('open', '/dev/pts/ptmx', RDWR, 0);
    expect(ask(second, TIO.TIOCGPTN)).toBe(1);
    sandbox.call('close', end);
    expect(sandbox.call('open', '/dev/pts/0', RDWR, 0)).toBe(-Errno.ENOENT);
    expect(ask(master(), TIO.TIOCGPTN)).toBe(0);
  });

  it('gives its slave by the master alone', () => {
    const end = master(),
      other = sandbox.call('ioctl', end, TIO.TIOCGPTPEER, RDWR | NOCTTY);
    expect(link(other)).toBe('/dev/pts/0');
  });

  it('passes on what is typed and what is written', () => {
    const end = master(),
      other = slave(end);
    expect([sandbox.read(other), sandbox.read(end)]).toEqual([-Errno.EAGAIN, -Errno.EAGAIN]);
    sandbox.write(end, 'typed');
    expect([poll(other), sandbox.read(other), sandbox.read(end)]).toEqual([Poll.OUT, -Errno.EAGAIN, 'typed']);
    sandbox.write(end, '\n');
    expect([poll(other), ask(other, TIO.FIONREAD), sandbox.read(other)]).toEqual([Poll.IN | Poll.OUT, 6, 'typed\n']);
    sandbox.write(other, 'written\n');
    expect([poll(end), ask(end, TIO.FIONREAD), sandbox.read(end)]).toEqual([Poll.IN | Poll.OUT, 11, '\r\nwritten\r\n']);
  });

  it('holds so much output, and lets the writer wait', () => {
    const end = master(),
      other = slave(end, NOCTTY);
    sandbox.write(other, 'x'.repeat(16_384));
    expect([sandbox.write(other, 'y'), poll(other)]).toEqual([BLOCKED, 0]);
    sandbox.read(end, 10);
    expect(sandbox.write(other, 'y')).toBe(1);
    sandbox.write(end, '\x13'); // ^S
    expect(sandbox.write(other, 'y')).toBe(BLOCKED);
    sandbox.write(end, '\x11');
    expect(sandbox.write(other, 'y')).toBe(1);
  });

  it('keeps one size and one set of settings for both ends', () => {
    const end = master(),
      other = slave(end),
      size = sandbox.memory.put(Uint8Array.of(24, 0, 80, 0, 0, 0, 0, 0));
    expect(sandbox.call('ioctl', end, TIO.TIOCSWINSZ, size)).toBe(0);
    const at = number();
    sandbox.call('ioctl', other, TIO.TIOCGWINSZ, at);
    expect(sandbox.memory.read(at, 4)).toEqual(Uint8Array.of(24, 0, 80, 0));
    const settings = sandbox.memory.room(48);
    expect(sandbox.call('ioctl', other, TIO.TCGETS, settings)).toBe(0);
    sandbox.memory.writeU32(settings + 12, 0); // no echo, no lines
    expect(sandbox.call('ioctl', end, TIO.TCSETS, settings)).toBe(0);
    sandbox.write(end, 'raw');
    expect([sandbox.read(other), sandbox.read(end)]).toEqual(['raw', -Errno.EAGAIN]);
    const second = sandbox.memory.room(48);
    expect(sandbox.call('ioctl', other, TIO.TCGETS2, second)).toBe(0);
    expect([sandbox.memory.readU32(second + 12), sandbox.memory.readU32(second + 40)]).toEqual([0, 38_400]);
  });

  it('has a read with VTIME that ends when its time is over', () => {
    const other = slave(master(), NOCTTY),
      settings = sandbox.memory.room(48);
    sandbox.call('ioctl', other, TIO.TCGETS, settings);
    sandbox.memory.writeU32(settings + 12, 0);
    sandbox.memory.write(settings + 17 + 5, Uint8Array.of(3, 0)); // VTIME, VMIN
    sandbox.call('ioctl', other, TIO.TCSETS, settings);
    expect([sandbox.read(other), sandbox.deadline]).toEqual([BLOCKED, 3e8]);
    sandbox.clock.advance(3e8);
    expect(sandbox.again()).toBe(0);
  });

  it('gives who does not wait what there is, however little', () => {
    const end = master(),
      other = slave(end),
      settings = sandbox.memory.room(48);
    sandbox.call('ioctl', other, TIO.TCGETS, settings);
    sandbox.memory.writeU32(settings + 12, 0);
    sandbox.memory.write(settings + 17 + 6, Uint8Array.of(5)); // VMIN
    sandbox.call('ioctl', other, TIO.TCSETS, settings);
    sandbox.write(end, 'ab');
    expect([poll(other), sandbox.read(other), sandbox.read(other)]).toEqual([Poll.OUT, 'ab', -Errno.EAGAIN]);
  });

  it('ends for the master with the last slave, and goes on with the next', () => {
    const end = master();
    expect([poll(end), sandbox.read(end)]).toEqual([Poll.OUT, -Errno.EAGAIN]);
    const other = slave(end);
    sandbox.write(other, 'last');
    sandbox.call('close', other);
    expect([poll(end), sandbox.read(end), sandbox.read(end)]).toEqual([
      Poll.IN | Poll.OUT | Poll.HUP,
      'last',
      -Errno.EIO,
    ]);
    slave(end);
    expect([poll(end), sandbox.read(end)]).toEqual([Poll.OUT, -Errno.EAGAIN]);
  });

  it('ends for the slave with the master', () => {
    const end = master(),
      other = slave(end);
    sandbox.write(end, 'typed\n');
    sandbox.call('close', end);
    expect([poll(other), sandbox.read(other), sandbox.write(other, 'x'), ask(other, TIO.FIONREAD)]).toEqual([
      Poll.IN | Poll.OUT | Poll.ERR | Poll.HUP,
      '',
      -Errno.EIO,
      -Errno.EIO,
    ]);
  });

  it('holds so much echo that nobody reads', () => {
    const end = master(),
      other = slave(end);
    for (let i = 0; i < 50; i++) {
      sandbox.write(end, `${'x'.repeat(4000)}\n`);
      sandbox.read(other, 4096);
    }
    expect(ask(end, TIO.FIONREAD)).toBe(8 * 16_384);
  });

  it('is one of 64 at most', () => {
    const ends = Array.from({ length: 65 }, () => master());
    expect([ends.at(-2)! > 0, ends.at(-1)]).toEqual([true, -Errno.ENOSPC]);
  });
});

describe('a controlling terminal', () => {
  /** A session of its own, as setsid makes it. */
  const session = (pid: number): void => {
    const child = sandbox.fork(pid);
    child.session = child.group = pid;
  };

  it('is had by opening it, by a session’s leader that has none', () => {
    const end = master();
    expect(sandbox.call('open', '/dev/tty', RDWR, 0)).toBe(-Errno.ENXIO);
    slave(end, NOCTTY);
    expect(sandbox.call('open', '/dev/tty', RDWR, 0)).toBe(-Errno.ENXIO);
    const other = slave(end, 0);
    expect([ask(other, TIO.TIOCGSID), ask(other, TIO.TIOCGPGRP), ask(end, TIO.TIOCGPGRP)]).toEqual([2, 2, 2]);
    expect(link(sandbox.call('open', '/dev/tty', RDWR, 0))).toBe('/dev/pts/0');
    const second = slave(master(), 0);
    expect(ask(second, TIO.TIOCGPGRP)).toBe(-Errno.ENOTTY);
    expect(sandbox.call('ioctl', second, TIO.TIOCSCTTY, 0)).toBe(-Errno.EPERM);
  });

  it('is another session’s affair', () => {
    const other = slave(master(), 0);
    session(3);
    expect(ask(other, TIO.TIOCGPGRP)).toBe(-Errno.ENOTTY);
    expect(sandbox.call('ioctl', other, TIO.TIOCSCTTY, 0)).toBe(-Errno.EPERM);
    const own = slave(master(), NOCTTY);
    expect(sandbox.call('ioctl', own, TIO.TIOCSCTTY, 0)).toBe(0);
    expect(ask(own, TIO.TIOCGSID)).toBe(3);
  });

  it('sends keys and changes of size to the group in front', () => {
    const end = master(),
      other = slave(end, 0);
    expect(ask(other, TIO.TIOCSPGRP, 7)).toBe(7);
    sandbox.write(end, '\x03');
    sandbox.call('ioctl', end, TIO.TIOCSWINSZ, sandbox.memory.put(Uint8Array.of(24, 0, 80, 0, 0, 0, 0, 0)));
    expect(sandbox.signals).toEqual([
      { pid: -7, signal: Signal.INT },
      { pid: -7, signal: Signal.WINCH },
    ]);
  });

  it('is not read from behind: the group is stopped', () => {
    const end = master(),
      other = slave(end, 0);
    ask(other, TIO.TIOCSPGRP, 7);
    sandbox.write(end, 'line\n');
    expect([sandbox.read(other), sandbox.signals]).toEqual([BLOCKED, [{ pid: -2, signal: Signal.TTIN }]]);
    expect(sandbox.again()).toBe(BLOCKED);
    expect(sandbox.signals).toHaveLength(1);
    ask(other, TIO.TIOCSPGRP, 2);
    expect(sandbox.read(other)).toBe('line\n');
  });

  it('is left by who asks for it, and lost with the master: the session hears of it', () => {
    const end = master();
    slave(end, 0);
    sandbox.call('close', end);
    expect(sandbox.signals).toEqual([
      { pid: 2, signal: Signal.HUP },
      { pid: -2, signal: Signal.HUP },
      { pid: -2, signal: Signal.CONT },
    ]);
    expect(sandbox.call('open', '/dev/tty', RDWR, 0)).toBe(-Errno.ENXIO);
    const next = slave(master(), 0);
    expect(sandbox.call('ioctl', next, TIO.TIOCNOTTY, 0)).toBe(0);
    expect(ask(next, TIO.TIOCGPGRP)).toBe(-Errno.ENOTTY);
  });

  it('is given up at the end of the session’s leader', () => {
    const end = master(),
      parent = sandbox.process;
    session(3);
    slave(end, 0);
    sandbox.write(end, 'x');
    expect(ask(end, TIO.TIOCGSID)).toBe(3);
    sandbox.processes.end(sandbox.process);
    sandbox.processes.current = parent;
    expect(sandbox.signals.map(({ pid, signal }) => [pid, signal])).toEqual([
      [-3, Signal.HUP],
      [-3, Signal.CONT],
    ]);
    expect([ask(end, TIO.TIOCGSID), sandbox.read(end), sandbox.read(end)]).toEqual([-Errno.ENOTTY, 'x', -Errno.EIO]);
  });
});
