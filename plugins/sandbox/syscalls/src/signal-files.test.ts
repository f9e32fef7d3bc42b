/** Signals read from a file. */
import { beforeEach, expect, it } from 'vitest';
import { signalRecord } from './signal-files.js';
import { BLOCKED, Errno, TestSandbox } from './testing.js';

const USR1 = 10,
  CHLD = 17;
let sandbox: TestSandbox;
beforeEach(() => {
  sandbox = new TestSandbox();
});

/** A `siginfo_t`. */
function info(signal: number, code: number, ...values: readonly number[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(128));
  view.setInt32(0, signal, true);
  view.setInt32(8, code, true);
  values.forEach((value, i) => view.setInt32(16 + 4 * i, value, true));
  return new Uint8Array(view.buffer);
}
const fields = (record: Uint8Array): { [name: string]: number } => {
  const view = new DataView(record.buffer, record.byteOffset);
  return {
    signal: view.getUint32(0, true),
    code: view.getInt32(8, true),
    pid: view.getUint32(12, true),
    uid: view.getUint32(16, true),
    timer: view.getUint32(24, true),
    overrun: view.getUint32(32, true),
    status: view.getInt32(40, true),
    int: view.getInt32(44, true),
  };
};
const set = (...signals: readonly number[]): number => {
  const at = sandbox.memory.room(8);
  sandbox.memory.writeU64(
    at,
    signals.reduce((bits, signal) => bits | (1n << BigInt(signal - 1)), 0n),
  );
  return at;
};

it('gives those of its set that wait, as many as fit', () => {
  const file = sandbox.call('signalfd4', -1, set(USR1, CHLD), 8, 0o4000),
    at = sandbox.memory.room(512);
  expect(sandbox.call('read', file, at, 512)).toBe(-Errno.EAGAIN);
  sandbox.waiting.push(info(USR1, 0, 5, 1000), info(12, 0), info(CHLD, 1, 7, 1000, 3));
  expect(sandbox.call('read', file, at, 512)).toBe(256);
  expect(fields(sandbox.memory.read(at, 128))).toMatchObject({ signal: USR1, pid: 5, uid: 1000 });
  expect(fields(sandbox.memory.read(at + 128, 128))).toMatchObject({ signal: CHLD, code: 1, pid: 7, status: 3 });
  expect(sandbox.waiting).toHaveLength(1);
  expect(sandbox.call('read', file, at, 100)).toBe(-Errno.EINVAL);
});

it('waits, and is ready when one waits for who asks', () => {
  const file = sandbox.call('signalfd', -1, set(USR1), 8);
  expect(sandbox.read(file, 128)).toBe(BLOCKED);
  const open = sandbox.process.files.get(file);
  expect(open.poll()).toBe(0);
  sandbox.pendingSignals = 1n << BigInt(USR1 - 1);
  expect(open.poll()).toBe(1);
});

it('changes its set, and never has SIGKILL', () => {
  const file = sandbox.call('signalfd', -1, set(USR1), 8);
  expect(sandbox.call('signalfd', file, set(9, 12), 8)).toBe(file);
  expect((sandbox.process.files.get(file) as unknown as { set: bigint }).set).toBe(1n << 11n);
  expect(sandbox.call('signalfd', sandbox.call('eventfd', 0), set(USR1), 8)).toBe(-Errno.EINVAL);
  expect(sandbox.call('signalfd', -1, set(USR1), 4)).toBe(-Errno.EINVAL);
});

it('records tell what the kind of signal tells', () => {
  expect(fields(signalRecord(info(40, -1, 5, 1000, 77)))).toMatchObject({ pid: 5, int: 77 });
  expect(fields(signalRecord(info(40, -2, 3, 6, 77)))).toMatchObject({ pid: 0, timer: 3, overrun: 6, int: 77 });
  expect(fields(signalRecord(info(USR1, 0x80, 9)))).toMatchObject({ pid: 0 });
});
