/** Pairs of local sockets: streams, datagrams, packets. */
import { beforeEach, describe, expect, it } from 'vitest';
import { NOBODY } from './ancillary.js';
import type { PairSocket } from './pair-socket.js';
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

  it('gives all that is asked for at once with MSG_WAITALL', () => {
    const [a, b] = pair(STREAM),
      at = sandbox.memory.room(8),
      end = sandbox.process.files.get(a) as PairSocket;
    // Not by a call: `again` makes the last one again
    const put = (text: string): number =>
      end.send(Buffer.from(text), true, { files: [], sender: NOBODY, named: false });
    put('abc');
    expect(sandbox.call('recvfrom', b, at, 8, 0x100, 0, 0)).toBe(BLOCKED);
    put('de');
    expect(sandbox.again()).toBe(BLOCKED);
    put('fghi');
    expect([sandbox.again(), sandbox.memory.text(at, 8), sandbox.read(b)]).toEqual([8, 'abcdefgh', 'i']);
    put('xy');
    expect([sandbox.call('recvfrom', b, at, 8, 0x100, 0, 0), sandbox.again(true)]).toEqual([BLOCKED, 2]);
    put('z');
    sandbox.call('close', a);
    expect(sandbox.call('recvfrom', b, at, 8, 0x100, 0, 0)).toBe(1);
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
    expect(sandbox.write(a, 'x'.repeat(212_961))).toBe(-Errno.EMSGSIZE);
    expect(sandbox.write(a, 'x'.repeat(212_960))).toBe(212_960);
  });
});

describe('an end whose other end is closed', () => {
  const option = (descriptor: number, name: number): number => {
    const value = sandbox.memory.room(4),
      length = sandbox.memory.put(Uint8Array.of(4, 0, 0, 0));
    expect(sandbox.call('getsockopt', descriptor, 1, name, value, length)).toBe(0);
    return sandbox.memory.readU32(value);
  };
  const ERROR = 4;
  const poll = (descriptor: number): number => sandbox.process.files.get(descriptor).poll();

  it('of a stream has the error ECONNRESET once, if something was not read there: after what came before', () => {
    const [a, b] = pair(STREAM | NONBLOCK);
    sandbox.write(a, 'never read');
    sandbox.write(b, 'read');
    sandbox.call('close', b);
    expect(poll(a)).toBe(0x201d); // POLLIN, POLLOUT, POLLERR, POLLHUP, POLLRDHUP
    expect(sandbox.write(a, 'x')).toBe(-Errno.EPIPE);
    expect([sandbox.read(a), sandbox.read(a), sandbox.read(a)]).toEqual(['read', -Errno.ECONNRESET, '']);
    expect(poll(a)).toBe(0x2015);
  });

  it('of packets has it before what came', () => {
    const [a, b] = pair(SEQPACKET | NONBLOCK);
    sandbox.write(a, 'never read');
    sandbox.write(b, 'read');
    sandbox.call('close', b);
    expect([sandbox.read(a), sandbox.read(a), sandbox.read(a)]).toEqual([-Errno.ECONNRESET, 'read', '']);
    const [c, d] = pair(SEQPACKET | NONBLOCK);
    sandbox.write(c, 'never read');
    sandbox.call('close', d);
    expect([sandbox.write(c, 'x'), sandbox.write(c, 'x')]).toEqual([-Errno.ECONNRESET, -Errno.EPIPE]);
  });

  it('gives the error to SO_ERROR', () => {
    const [a, b] = pair(STREAM | NONBLOCK);
    sandbox.write(a, 'never read');
    sandbox.call('close', b);
    expect([option(a, ERROR), option(a, ERROR), sandbox.read(a)]).toEqual([Errno.ECONNRESET, 0, '']);
  });

  it('of datagrams finds out when it sends one: what came is lost then, and there is no other end', () => {
    const [a, b] = pair(DGRAM | NONBLOCK);
    sandbox.write(b, 'came');
    sandbox.call('close', b);
    expect(poll(a)).toBe(5);
    const name = [sandbox.memory.room(16), sandbox.memory.put(Uint8Array.of(16, 0, 0, 0))];
    expect(sandbox.call('getpeername', a, ...name)).toBe(0);
    expect([sandbox.write(a, 'x'), sandbox.write(a, 'x'), sandbox.read(a)]).toEqual([
      -Errno.ECONNREFUSED,
      -Errno.ENOTCONN,
      -Errno.EAGAIN,
    ]);
    expect(sandbox.call('getpeername', a, ...name)).toBe(-Errno.ENOTCONN);
  });
});

it('datagrams that are shut for reading end only for who waits', () => {
  const [a] = pair(DGRAM);
  sandbox.call('shutdown', a, 0);
  expect([sandbox.read(a), receive(a, 9, DONTWAIT)]).toEqual(['', -Errno.EAGAIN]);
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

describe('files along with a message', () => {
  const RIGHTS = 1,
    CREDENTIALS = 2,
    CLOEXEC = 0x40000000,
    CTRUNC = 8;
  /** A `struct msghdr` with one vector for `text`, and room for control messages. */
  function header(text: number, length: number, control: number, room: number): number {
    const { memory } = sandbox,
      at = memory.room(56),
      vector = memory.room(16);
    memory.writeU64(vector, text);
    memory.writeU64(vector + 8, length);
    memory.writeU64(at + 16, vector);
    memory.writeU64(at + 24, 1);
    memory.writeU64(at + 32, control);
    memory.writeU64(at + 40, room);
    return at;
  }
  function send(to: number, text: string, files: readonly number[], type = RIGHTS): number {
    const { memory } = sandbox,
      control = memory.room(16 + 4 * files.length);
    memory.writeU64(control, 16 + 4 * files.length);
    memory.writeU32(control + 8, 1);
    memory.writeU32(control + 12, type);
    files.forEach((file, i) => memory.writeU32(control + 16 + 4 * i, file));
    const bytes = memory.put(Buffer.from(text));
    return sandbox.call('sendmsg', to, header(bytes, text.length, control, 16 + 4 * files.length), 0);
  }
  /** Text, flags, and the control message: its type and the numbers in it. */
  function take(from: number, room = 100, flags = 0) {
    const { memory } = sandbox,
      control = memory.room(room + 16),
      text = memory.room(20),
      at = header(text, 20, control, room),
      count = sandbox.call('recvmsg', from, at, flags),
      used = memory.readU64(at + 40);
    const numbers = used === 0 ? 0 : (memory.readU64(control) - 16) / 4;
    return {
      text: count < 0 ? count : memory.text(text, count),
      flags: memory.readU32(at + 48),
      type: used === 0 ? undefined : memory.readU32(control + 12),
      numbers: Array.from({ length: numbers }, (_, i) => memory.readU32(control + 16 + 4 * i)),
    };
  }
  const pipe = (): [number, number] => sandbox.pair('pipe');

  it('are the same open files, in a process that did not have them', () => {
    const [a, b] = pair(STREAM),
      [reader, writer] = pipe();
    expect(send(a, 'x', [writer])).toBe(1);
    sandbox.call('close', writer);
    expect(sandbox.call('fcntl', reader, 4, 0o4000)).toBe(0);
    expect(sandbox.read(reader)).toBe(-Errno.EAGAIN); // what is on its way is open
    sandbox.fork(7);
    const { text, numbers } = take(b, 100, CLOEXEC);
    expect([text, numbers.length, sandbox.call('fcntl', numbers[0], 1)]).toEqual(['x', 1, 1]);
    sandbox.write(numbers[0], 'through');
    sandbox.processes.current = sandbox.processes.first;
    expect(sandbox.read(reader)).toBe('through');
  });

  it('end a read of a stream', () => {
    const [a, b] = pair(STREAM | NONBLOCK),
      [reader] = pipe();
    sandbox.write(a, 'one');
    send(a, 'two', [reader]);
    sandbox.write(a, 'three');
    expect([take(b, 0).text, take(b).text]).toEqual(['onetwo', 'three']);
  });

  it.each([
    ['there is little room for them', (b: number) => void take(b, 16)],
    ['the message is read without them', (b: number) => void sandbox.read(b)],
    ['nobody receives them', (b: number) => void sandbox.call('close', b)],
  ])('are closed when %s', (_name, lose) => {
    const [a, b] = pair(DGRAM),
      [reader, writer] = pipe();
    send(a, 'x', [writer]);
    sandbox.call('close', writer);
    lose(b);
    expect([sandbox.read(reader), sandbox.process.options.inFlight.size]).toEqual(['', 0]);
  });

  it('that do not fit are told', () => {
    const [a, b] = pair(STREAM),
      [reader, writer] = pipe();
    send(a, 'x', [reader, writer]);
    expect(take(b, 20)).toMatchObject({ flags: CTRUNC, numbers: [expect.any(Number)] });
  });

  it('are collected when sockets are only on their way to one another', () => {
    const [a, b] = pair(STREAM),
      [c, d] = pair(STREAM),
      [reader, writer] = pipe();
    send(a, 'x', [d, writer]); // to b
    send(c, 'x', [b]); // to d
    for (const file of [writer, b, c, d, a]) sandbox.call('close', file);
    sandbox.call('fcntl', reader, 4, 0o4000);
    expect([sandbox.read(reader), sandbox.process.options.inFlight.size]).toEqual(['', 0]);
  });

  it('are refused where there is no such file, or too many are on their way', () => {
    const [a] = pair(DGRAM);
    expect([send(a, 'x', [77]), send(a, 'x', Array(254).fill(a)), send(a, 'x', [a], 9)]).toEqual([
      -Errno.EBADF,
      -Errno.EINVAL,
      -Errno.EINVAL,
    ]);
    sandbox.process.files.limit = 300;
    expect([1, 2, 3].map(() => send(a, 'x', Array(200).fill(a)))).toEqual([1, 1, -Errno.ETOOMANYREFS]);
  });

  it('or the name of the sender, for who asks', () => {
    const [a, b] = pair(SEQPACKET);
    sandbox.write(a, 'before');
    expect(sandbox.call('setsockopt', b, 1, 16, Uint8Array.of(1, 0, 0, 0), 4)).toBe(0);
    sandbox.write(a, 'x');
    expect([take(b).numbers, take(b).numbers]).toEqual([
      [0, 65_534, 65_534],
      [2, 1000, 100],
    ]);
    expect([send(a, 'x', [2, 1000, 100], CREDENTIALS), send(a, 'x', [5, 1000, 100], CREDENTIALS)]).toEqual([
      1,
      -Errno.EPERM,
    ]);
  });
});
