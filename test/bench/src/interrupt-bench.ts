/** What an interrupt and a page fault cost in the guest alone: no exit, and no handler of ours. */
import { VmxBackend } from '@visorkit/backend-vmx';
import { bootFlat } from '@visorkit/boot-flat';
import { definePlugin } from '@visorkit/core';
import { exits } from '@visorkit/exits';
import { PortBusToken, compose } from '@visorkit/machine';
import { interruptImage } from './guest.js';

export interface InterruptCost {
  readonly name: string;
  /** CPU time of one round. */
  readonly nanoseconds: number;
}

/** As guest/interrupts.S has them; each loop runs twice. */
const ROUNDS = 1_000_000,
  STEP = 0xe0,
  LOOPS = ['interrupt to ring 0 and back', 'page fault, map, iret, invlpg'];

/** Of this process, ms. */
function cpuTime(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

export async function interruptBench(): Promise<InterruptCost[]> {
  const times: number[] = [];
  const steps = definePlugin({
    name: 'interrupt-bench',
    uses: { ports: PortBusToken },
    apply(_host, { ports }) {
      ports.register(STEP, 1, { readPort: () => 0, writePort: () => void times.push(cpuTime()) }, 'interrupt-bench');
    },
  });
  await using vmm = compose({
    backend: new VmxBackend(),
    memory: '16M',
    time: 'real',
    plugins: [...exits(), bootFlat(), steps],
    boot: { image: interruptImage(), loader: 'flat', options: { address: 0x10_0000, mode: 'long64' } },
  });
  const report = await vmm.run();
  if (times.length !== 4 * LOOPS.length)
    throw new Error(`The guest of the benchmark of interrupts stopped early: ${report.why}`);
  return LOOPS.map((name, index) => {
    const [from, to] = times.slice(4 * index + 2);
    return { name, nanoseconds: ((to! - from!) * 1e6) / ROUNDS };
  });
}
