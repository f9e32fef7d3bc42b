/** Signals from the host: they wait here until the guest kernel has taken those in its page. */
import type { GuestMemory } from '@visorkit/core';
import { SignalCode } from '@visorkit/linux-abi';
import type { SignalDetails } from '@visorkit/linux-abi';
import { Bell, HostSignal } from './abi.js';

interface Waiting {
  readonly pid: number;
  readonly signal: number;
  readonly details: SignalDetails;
}

export class HostSignals {
  #waiting: Waiting[] = [];

  constructor(private readonly ram: GuestMemory) {}

  send(pid: number, signal: number, details: SignalDetails): void {
    // A signal that nothing tells from one that waits already is the same one
    const plain = details.values === undefined && details.thread === undefined;
    if (
      plain &&
      this.#waiting.some((other) => other.pid === pid && other.signal === signal && other.details.values === undefined)
    )
      return;
    this.#waiting.push({ pid, signal, details });
  }

  /** To all processes of a group. */
  sendGroup(group: number, signal: number): void {
    this.send(0, signal, { thread: group });
  }

  /** Puts as many into the page at `bell` as it has room for. */
  flush(bell: number): void {
    if (this.#waiting.length === 0) return;
    let count = this.ram.readU32(bell + Bell.HOST_SIGNAL_COUNT);
    while (count < HostSignal.MOST && this.#waiting.length > 0) {
      const { pid, signal, details } = this.#waiting.shift()!;
      const at = bell + Bell.HOST_SIGNALS + count * HostSignal.SIZE,
        [first, second] = details.values ?? [0n, 0n];
      this.ram.writeU32(at + HostSignal.PID, pid);
      this.ram.writeU32(at + HostSignal.TID, details.thread ?? 0);
      this.ram.writeU32(at + HostSignal.SIGNAL, signal);
      this.ram.writeU32(at + HostSignal.CODE, details.code ?? SignalCode.KERNEL);
      this.ram.writeU64(at + HostSignal.VALUES, first);
      this.ram.writeU64(at + HostSignal.VALUES + 8, second);
      this.ram.writeU32(bell + Bell.HOST_SIGNAL_COUNT, ++count);
    }
  }
}
