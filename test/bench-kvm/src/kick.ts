/** How long a vCPU takes to come back when another thread kicks it. */
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { kvm } from '@visorkit/backend-kvm';
import type { KvmVcpu } from '@visorkit/backend-kvm';
import { GuestMemoryToken, definePlugin } from '@visorkit/core';
import { compose } from '@visorkit/machine';
import { summarise } from './figures.js';
import type { Summary } from './figures.js';
import { monotonic } from './kicker.js';
import type { KickerData } from './kicker.js';

const CODE = 0x1000,
  MEMORY = 1 << 20,
  DELAY_MS = 3,
  DEADLINE_NS = 2e9;
/** What the median should not exceed, ms. */
const BOUND = 5;

export interface KickResult {
  readonly name: string;
  readonly unit: 'ms';
  readonly delay: Summary;
  readonly bound: number;
}

/** Kicks a guest that spins, `turns` times; each delay is from the kick to the return of `run`. */
export async function measureKick(turns: number): Promise<KickResult> {
  const backend = kvm();
  await using vmm = compose({
    backend,
    memory: MEMORY,
    plugins: [
      definePlugin({
        name: 'spin',
        uses: { memory: GuestMemoryToken },
        apply: ({ hooks, vcpus }, { memory }) => {
          hooks.load.tap(() => {
            memory.write(CODE, Uint8Array.of(0xeb, 0xfe)); // JMP to itself
            vcpus[0].setInitialState({ mode: 'real16', rip: BigInt(CODE) });
          });
        },
      }),
    ],
  });
  await vmm.load();
  const vcpu = vmm.vcpus[0] as KvmVcpu;
  const data: KickerData = {
    target: backend.kickTarget,
    turn: new Int32Array(new SharedArrayBuffer(4)),
    kicked: new Float64Array(new SharedArrayBuffer(8)),
    delay: DELAY_MS,
  };
  const worker = new Worker(join(import.meta.dirname, 'kicker.js'), { workerData: data });
  await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
  const delays: number[] = [];
  for (let turn = 1; turn <= turns; turn++) {
    Atomics.store(data.turn, 0, turn);
    Atomics.notify(data.turn, 0);
    vcpu.setDeadline(backend.clock.now() + DEADLINE_NS);
    vcpu.run();
    delays.push(monotonic() - data.kicked[0]);
  }
  Atomics.store(data.turn, 0, -1);
  Atomics.notify(data.turn, 0);
  await worker.terminate();
  return { name: 'kick from another thread', unit: 'ms', delay: summarise(delays), bound: BOUND };
}
