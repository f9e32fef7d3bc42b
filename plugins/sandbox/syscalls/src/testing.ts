/** What tests of system calls need: processes, memory and a clock, without a guest. A call is made as the guest kernel makes it. */
import {
  BLOCKED,
  FilePages,
  FilesInFlight,
  PagesNeeded,
  Process,
  Processes,
  SystemCallTable,
  systemCallNumber,
} from '@visorkit/linux-abi';
import type { NewProgram, SignalDetails, SystemCall, Timer, UserMemory } from '@visorkit/linux-abi';
import { Errno, MemoryFs, Namespace, errorResult, raise } from '@visorkit/sandbox-fs';
import type { ErrnoName } from '@visorkit/sandbox-fs';
import { linuxSystemCalls } from './index.js';
import { addSpecialFiles } from './proc-files.js';

/** Where the program's memory begins, and how much there is. */
const BASE = 0x10_0000;
const SIZE = 1 << 20;

/** Flat memory; outside of it every access needs pages. */
export class TestMemory implements UserMemory {
  readonly bytes = new Uint8Array(SIZE);
  readonly #view = new DataView(this.bytes.buffer);
  #next = BASE;

  /** Puts bytes, or text with a NUL, somewhere, and tells where. */
  put(data: Uint8Array | string): number {
    const bytes = typeof data === 'string' ? Buffer.from(`${data}\0`, 'latin1') : data;
    const at = this.room(bytes.length);
    this.write(at, bytes);
    return at;
  }

  /** Room for so many bytes. */
  room(length: number): number {
    const at = this.#next;
    this.#next += Math.ceil(length / 16) * 16;
    return at;
  }

  text(address: number, length: number): string {
    return Buffer.from(this.read(address, length)).toString('latin1');
  }

  prepare(address: number, length: number, write: boolean): void {
    if (length === 0 || (address >= BASE && address + length <= BASE + SIZE)) return;
    throw Object.assign(new PagesNeeded(), { address, length, write });
  }
  read(address: number, length: number): Uint8Array {
    this.prepare(address, length, false);
    return this.bytes.slice(address - BASE, address - BASE + length);
  }
  readInto(address: number, target: Uint8Array): void {
    target.set(this.read(address, target.length));
  }
  write(address: number, bytes: Uint8Array): void {
    this.prepare(address, bytes.length, true);
    this.bytes.set(bytes, address - BASE);
  }
  #at(address: number, length: number): number {
    this.prepare(address, length, false);
    return address - BASE;
  }
  readU8(address: number): number {
    return this.#view.getUint8(this.#at(address, 1));
  }
  readU16(address: number): number {
    return this.#view.getUint16(this.#at(address, 2), true);
  }
  readU32(address: number): number {
    return this.#view.getUint32(this.#at(address, 4), true);
  }
  readI32(address: number): number {
    return this.#view.getInt32(this.#at(address, 4), true);
  }
  readU64(address: number): number {
    return Number(this.#view.getBigUint64(this.#at(address, 8), true));
  }
  readI64(address: number): number {
    return Number(this.#view.getBigInt64(this.#at(address, 8), true));
  }
  writeU32(address: number, value: number): void {
    this.#view.setUint32(this.#at(address, 4), value, true);
  }
  writeU64(address: number, value: number | bigint): void {
    this.#view.setBigUint64(this.#at(address, 8), BigInt.asUintN(64, BigInt(value)), true);
  }
  readString(address: number, most = 4096, tooLong: ErrnoName = 'ENAMETOOLONG'): string {
    let text = '';
    for (let at = address; at < address + most; at++) {
      const byte = this.readU8(at);
      if (byte === 0) return text;
      text += String.fromCharCode(byte);
    }
    return raise(tooLong);
  }
}

/** A call with its arguments, as it is made and made again. */
class TestCall implements SystemCall {
  interrupted = false;
  state: unknown;
  deadline = Infinity;
  readonly tid = 2;

  constructor(
    readonly number: number,
    readonly process: Process,
    readonly memory: TestMemory,
    private readonly args: readonly bigint[],
    private readonly signals: (set: bigint) => Uint8Array | undefined,
  ) {}

  big(index: number): bigint {
    return BigInt.asUintN(64, this.args[index] ?? 0n);
  }
  u64(index: number): number {
    return Number(this.big(index));
  }
  i64(index: number): number {
    return Number(BigInt.asIntN(64, this.big(index)));
  }
  u32(index: number): number {
    return Number(BigInt.asUintN(32, this.big(index)));
  }
  i32(index: number): number {
    return this.u32(index) | 0;
  }
  takeSignal(set: bigint): Uint8Array | undefined {
    return this.signals(set);
  }
}

/** A signal that the host sent. */
export interface SentSignal extends SignalDetails {
  readonly pid: number;
  readonly signal: number;
}

class TestClock {
  #now = 0;
  readonly #timers = new Set<{ deadline: number; fire: () => void }>();
  now(): number {
    return this.#now;
  }
  schedule(deadline: number, fire: () => void): Timer {
    const entry = { deadline, fire };
    this.#timers.add(entry);
    return {
      get deadline() {
        return entry.deadline;
      },
      cancel: () => void this.#timers.delete(entry),
      reschedule: (next) => {
        entry.deadline = next;
        this.#timers.add(entry);
      },
    };
  }
  /** Lets so many ns go by. */
  advance(ns: number): void {
    const end = this.#now + ns;
    for (;;) {
      const next = [...this.#timers].sort((a, b) => a.deadline - b.deadline)[0];
      if (next === undefined || next.deadline > end) break;
      this.#now = Math.max(this.#now, next.deadline);
      next.deadline = Infinity;
      next.fire();
    }
    this.#now = end;
  }
}

/** Real time at clock 0: 2023-11-14. */
export const EPOCH = 1_700_000_000_000_000_000n;

export class TestSandbox {
  readonly memory = new TestMemory();
  readonly clock = new TestClock();
  readonly processes: Processes;
  readonly table = new SystemCallTable();
  readonly signals: SentSignal[] = [];
  /** siginfo of signals that wait, for signalfd. */
  readonly waiting: Uint8Array[] = [];
  /** Programs that execve was to start. */
  readonly started: NewProgram[] = [];
  pendingSignals = 0n;
  /** CPU time in ns. */
  readonly cpu = { thread: 0, process: 0, children: 0 };
  wakes = 0;
  #last: TestCall | undefined;

  constructor({ uid = 1000, gid = 100 }: { readonly uid?: number; readonly gid?: number } = {}) {
    const fs = new MemoryFs({ limit: 1 << 20, uid, gid, now: () => EPOCH + BigInt(this.clock.now()) });
    const process: Process = new Process({
      identity: { uid, gid },
      space: new Namespace(fs.root),
      fs,
      memory: 64 << 20,
      epoch: EPOCH,
      timers: { clock: this.clock, schedule: (deadline, fire) => this.clock.schedule(deadline, fire) },
      wake: () => void this.wakes++,
      signal: (pid, signal, details) => void this.signals.push({ pid, signal, ...details }),
      fillRandom: (bytes) => void bytes.fill(4),
      cpuTime: (whose) => this.cpu[whose],
      hostname: 'test',
      pages: new FilePages(),
      inFlight: new FilesInFlight(),
      foreground: { group: 2 },
      pendingSignals: () => this.pendingSignals,
      exec: (_process, program) => this.started.push(program) - 1,
    });
    this.processes = new Processes(process);
    process.starts({ execName: '/bin/program', args: ['program', 'one'], env: ['A=b'] });
    addSpecialFiles(fs, this.processes, process.options.fillRandom);
    for (const plugin of linuxSystemCalls())
      plugin.apply?.({ onDispose() {} } as never, { table: this.table } as never);
  }

  get process(): Process {
    return this.processes.current;
  }

  /** Makes a call: numbers and bigints as they are, text and bytes by address. A negative error number, BLOCKED, or the result. */
  call(name: string, ...args: readonly (number | bigint | string | Uint8Array)[]): number {
    const words = args.map((arg) =>
      typeof arg === 'number' || typeof arg === 'bigint' ? BigInt(arg) : BigInt(this.memory.put(arg)),
    );
    this.#last = new TestCall(systemCallNumber(name), this.process, this.memory, words, (set) => this.#signal(set));
    return this.again();
  }

  /** Makes the last call again, as after a wake-up; `interrupted`: a signal waits. */
  again(interrupted = false): number {
    const call = this.#last!;
    call.interrupted = interrupted;
    call.deadline = Infinity;
    try {
      return this.table.get(call.number)!.serve!(call);
    } catch (error) {
      if (error instanceof PagesNeeded) return -Errno.EFAULT;
      return errorResult(error);
    }
  }

  /** When the last call wants to be made again, in ns of the clock. */
  get deadline(): number {
    return this.#last!.deadline;
  }

  #signal(set: bigint): Uint8Array | undefined {
    const at = this.waiting.findIndex((info) => (set & (1n << BigInt(info[0] - 1))) !== 0n);
    return at < 0 ? undefined : this.waiting.splice(at, 1)[0];
  }

  /** Two descriptors that a call writes at an address. */
  pair(name: string, ...before: readonly number[]): [number, number] {
    const at = this.memory.room(8),
      result = this.call(name, ...before, at);
    if (result !== 0) throw new Error(`${name}: ${result}`);
    return [this.memory.readU32(at), this.memory.readU32(at + 4)];
  }

  /** Reads up to so many bytes of a descriptor; a number when it is no success. */
  read(descriptor: number, most = 100): string | number {
    const at = this.memory.room(most),
      count = this.call('read', descriptor, at, most);
    return count < 0 ? count : this.memory.text(at, count);
  }

  write(descriptor: number, text: string): number {
    return this.call('write', descriptor, Buffer.from(text, 'latin1'), text.length);
  }

  /** A process like the current one becomes the current one. */
  fork(pid: number): Process {
    const child = this.process.fork(pid, false);
    this.processes.add(child);
    this.processes.current = child;
    return child;
  }
}

export { BLOCKED, Errno };
