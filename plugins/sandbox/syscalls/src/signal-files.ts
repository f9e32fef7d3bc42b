/** Signals that are read from a file: signalfd(2). They wait in the guest kernel, which is asked for them one by one. */
import { BLOCKED, OpenFile, Poll, Signal, SignalCode, formats, readBig } from '@visorkit/linux-abi';
import type { SystemCall, SystemCallDefinition } from '@visorkit/linux-abi';
import { Errno, OpenFlag, raise } from '@visorkit/sandbox-fs';
import type { FileStat } from '@visorkit/sandbox-fs';
import { anonymousStat } from './anonymous.js';
import { group } from './group.js';

const { descriptor, flags, pointer, size } = formats;

const RECORD = 128;
/** SIGKILL and SIGSTOP cannot be read either. */
const NEVER = (1n << BigInt(Signal.KILL - 1)) | (1n << BigInt(Signal.STOP - 1));

/** `struct signalfd_siginfo` of a `siginfo_t`. */
export function signalRecord(info: Uint8Array): Uint8Array {
  const from = new DataView(info.buffer, info.byteOffset, info.byteLength),
    to = new DataView(new ArrayBuffer(RECORD));
  const signal = from.getInt32(0, true),
    code = from.getInt32(8, true);
  const copy32 = (at: number, source: number): void => to.setUint32(at, from.getUint32(source, true), true);
  to.setUint32(0, signal, true);
  copy32(4, 4);
  to.setInt32(8, code, true);
  if (code === SignalCode.TIMER) {
    copy32(24, 16); // ssi_tid
    copy32(32, 20); // ssi_overrun
  } else if (code !== SignalCode.KERNEL) {
    copy32(12, 16); // ssi_pid
    copy32(16, 20); // ssi_uid
  }
  if (code === SignalCode.TIMER || code === SignalCode.QUEUE) {
    copy32(44, 24); // ssi_int
    to.setBigUint64(48, from.getBigUint64(24, true), true); // ssi_ptr
  } else if (signal === Signal.CHLD && code > 0) copy32(40, 24); // ssi_status
  return new Uint8Array(to.buffer);
}

class SignalFile extends OpenFile {
  readonly name = 'anon_inode:[signalfd]';
  /** Taken for a call that is made again before it ends. */
  readonly #taken: Uint8Array[] = [];

  /** `pending`: signals that wait for whoever asks. */
  constructor(
    private readonly pending: () => bigint,
    public set: bigint,
    flags: number,
  ) {
    super(flags);
  }

  stat(): FileStat {
    return anonymousStat(1, 0o600);
  }

  override read(target: Uint8Array, call: SystemCall): number {
    const most = Math.floor(target.length / RECORD);
    if (most === 0) return -Errno.EINVAL;
    while (this.#taken.length < most) {
      const info = call.takeSignal(this.set);
      if (info === undefined) break;
      this.#taken.push(info);
    }
    if (this.#taken.length === 0) return this.nonblocking ? -Errno.EAGAIN : BLOCKED;
    const records = this.#taken.splice(0);
    for (const [i, info] of records.entries()) target.set(signalRecord(info), i * RECORD);
    return records.length * RECORD;
  }

  override poll(): number {
    return (this.pending() & this.set) !== 0n ? Poll.IN : 0;
  }
}

function signalfd(call: SystemCall, how: number): number {
  const { process, memory } = call;
  if ((how & ~(OpenFlag.CLOEXEC | OpenFlag.NONBLOCK)) !== 0 || call.u64(2) !== 8) return -Errno.EINVAL;
  const at = call.u64(1),
    set = readBig(memory, at) & ~NEVER;
  if (call.i32(0) === -1)
    return process.files.add(
      new SignalFile(process.options.pendingSignals, set, OpenFlag.RDWR | (how & OpenFlag.NONBLOCK)),
      (how & OpenFlag.CLOEXEC) !== 0,
    );
  const file = process.files.get(call.i32(0));
  if (!(file instanceof SignalFile)) raise('EINVAL');
  file.set = set;
  process.wake();
  return call.i32(0);
}

const signalFlags = flags({ SFD_CLOEXEC: OpenFlag.CLOEXEC, SFD_NONBLOCK: OpenFlag.NONBLOCK });

const definitions: SystemCallDefinition[] = [
  { name: 'signalfd', args: [descriptor, pointer, size], serve: (call) => signalfd(call, 0) },
  {
    name: 'signalfd4',
    args: [descriptor, pointer, size, signalFlags],
    serve: (call) => signalfd(call, call.u32(3)),
  },
];

export const signalFiles = () => group('signal-files', definitions);
