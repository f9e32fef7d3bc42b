/** Pairs of local sockets: streams, datagrams, packets. */
import { beforeEach, describe, expect, it } from 'vitest';
import { BLOCKED, Errno, TestSandbox } from './testing.js';

const STREAM = 1,
  DGRAM = 2,
  SEQPACKET = 5,
  NONBLOCK = 0o4000;
const PEEK = 2,
  TRUNC = 0x20,
  DONTWAIT = 0x40,
  NOSIGNAL = 0x4000;
let sandbox: TestSandbox;
const pair = (type: number): [number, number] => sandbox.pair('socketpair', 1, type, 0);
const receive = (descriptor: number, most: number, flags: number): string | number => {
  const at = sandbox.memory.room(most),
    count = sandbox.call('recvfrom', descriptor, at, most, flags, 0, 0);
  return count < 0 ? count : sandbox.memory.text(at, Math.min(count, most));
};
beforeEach(() => {
  sandbox = new TestSandbox();
});

describe('a stream', () => {
  it('goes both ways, without borders', () => {
    const [a, b] = pair(STREAM | NONBLOCK);
    sandbox.write(a, 'one');
    sandbox.write(a, 'two');
    sandbox.write(b, 'back');
    expect([sandbox.read(b, 4), sandbox.read(b), sandbox.read(b), sandbox.read(a)]).toEqual([
      'onet',
      'wo',
      -Errno.EAGAIN,
      'back',
    ]);
  });

  it('can be looked at, and waits or not', () => {
    const [a, b] = pair(STREAM);
    expect(sandbox.read(b)).toBe(BLOCKED);
    expect(receive(b, 9, DONTWAIT)).toBe(-Errno.EAGAIN);
    sandbox.write(a, 'look');
    expect([receive(b, 9, PEEK), receive(b, 9, 0)]).toEqual(['look', 'look']);
  });

  it('ends when the other end is closed, or shut for writing', () => {
    const [a, b] = pair(STREAM | NONBLOCK);
    sandbox.write(a, 'last');
    expect(sandbox.call('shutdown', a, 1)).toBe(0);
    expect([sandbox.read(b), sandbox.read(b)]).toEqual(['last', '']);
    expect(sandbox.write(a, 'x')).toBe(-Errno.EPIPE);
    sandbox.write(b, 'still');
    expect(sandbox.read(a)).toBe('still');
    sandbox.call('close', a);
    expect(sandbox.write(b, 'x')).toBe(-Errno.EPIPE);
    expect(sandbox.signals.map(({ signal }) => signal)).toEqual([13, 13]);
    const at = sandbox.memory.put(Buffer.from('x'));
    expect(sandbox.call('sendto', b, at, 1, NOSIGNAL, 0, 0)).toBe(-Errno.EPIPE);
    expect(sandbox.signals).toHaveLength(2);
  });
});

describe.each([
  ['datagrams', DGRAM],
  ['packets', SEQPACKET],
])('%s', (_name, type) => {
  it('keep their borders; what does not fit is cut off', () => {
    const [a, b] = pair(type | NONBLOCK);
    for (const text of ['first', 'second', '']) sandbox.write(a, text);
    expect([receive(b, 3, 0), receive(b, 9, 0), receive(b, 9, 0), receive(b, 9, 0)]).toEqual([
      'fir',
      'second',
      '',
      -Errno.EAGAIN,
    ]);
    sandbox.write(a, 'longer');
    expect(sandbox.call('recvfrom', b, sandbox.memory.room(3), 3, TRUNC, 0, 0)).toBe(6);
  });

  it('that are too long are refused', () => {
    const [a] = pair(type | NONBLOCK);
    expect(sandbox.write(a, 'x'.repeat(70_000))).toBe(-Errno.EMSGSIZE);
  });
});

it('a message says what was cut off', () => {
  const [a, b] = pair(DGRAM | NONBLOCK),
    { memory } = sandbox,
    header = memory.room(64),
    parts = memory.room(16),
    text = memory.room(4);
  memory.writeU64(header + 16, parts);
  memory.writeU64(header + 24, 1);
  memory.writeU64(parts, text);
  memory.writeU64(parts + 8, 4);
  sandbox.write(a, 'message');
  expect(sandbox.call('recvmsg', b, header, 0)).toBe(4);
  expect([memory.text(text, 4), memory.readU32(header + 48)]).toEqual(['mess', TRUNC]);
  expect(sandbox.call('sendmsg', b, header, 0)).toBe(4);
  expect(sandbox.read(a)).toBe('mess');
});

it('calls that are for other sockets, or for none', () => {
  const [a] = pair(STREAM),
    file = sandbox.call('open', '/tmp/f', 0o102, 0o600);
  expect(sandbox.call('socket', 2, STREAM, 0)).toBe(-Errno.EAFNOSUPPORT);
  expect(sandbox.call('socketpair', 2, STREAM, 0, sandbox.memory.room(8))).toBe(-Errno.EAFNOSUPPORT);
  expect(sandbox.call('socketpair', 1, 3, 0, sandbox.memory.room(8))).toBe(-Errno.ESOCKTNOSUPPORT);
  expect(sandbox.call('socketpair', 1, STREAM, 7, sandbox.memory.room(8))).toBe(-Errno.EPROTONOSUPPORT);
  for (const name of ['listen', 'shutdown', 'getsockname', 'recvfrom', 'sendto'])
    expect(sandbox.call(name, file, 0, 0, 0, 0, 0)).toBe(-Errno.ENOTSOCK);
  expect(sandbox.call('connect', a, 0, 0)).toBe(-Errno.EISCONN);
  const value = sandbox.memory.room(4),
    length = sandbox.memory.room(4);
  sandbox.memory.writeU32(length, 4);
  expect(sandbox.call('getsockopt', a, 1, 3, value, length)).toBe(0);
  expect(sandbox.memory.readU32(value)).toBe(STREAM);
});
