/** The other thread of the kick's measurement: kicks once for every message, some time later, and notes when. */
import { parentPort, workerData } from 'node:worker_threads';
import { kick } from '@visorkit/backend-kvm';
import type { KickTarget } from '@visorkit/backend-kvm';

/** `turn[0]` counts the kicks; `kicked[0]` is the time of the last one, in ms of {@link monotonic}. */
export interface KickerData {
  readonly target: KickTarget;
  readonly turn: Int32Array;
  readonly kicked: Float64Array;
  /** How long the guest is left running before each, in ms. */
  readonly delay: number;
}

/** CLOCK_MONOTONIC in ms: the same clock in every thread. */
export const monotonic = (): number => Number(process.hrtime.bigint()) / 1e6;

if (parentPort !== null) {
  const { target, turn, kicked, delay } = workerData as KickerData,
    cell = new Int32Array(new SharedArrayBuffer(4));
  parentPort.postMessage('ready');
  // The measuring thread does not come to its event loop while its guest runs, so it asks through memory
  for (let done = 0; ; done++) {
    Atomics.wait(turn, 0, done);
    if (turn[0] < 0) break;
    Atomics.wait(cell, 0, 0, delay);
    kicked[0] = monotonic();
    kick(target);
  }
}
