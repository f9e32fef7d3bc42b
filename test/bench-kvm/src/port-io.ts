/** Round trips of a port-I/O exit: visorkit on kvm beside a minimal C program, in turn. */
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { kvm } from '@visorkit/backend-kvm';
import { GuestMemoryToken, definePlugin } from '@visorkit/core';
import type { Vmm } from '@visorkit/core';
import { io } from '@visorkit/exits';
import { PortBusToken, compose } from '@visorkit/machine';
import { summarise } from './figures.js';
import type { Summary } from './figures.js';

const PORT = 0x10,
  CODE = 0x1000,
  MEMORY = 1 << 20;
/** What the ratio should not exceed. */
const BOUND = 1.15;
const root = join(import.meta.dirname, '../../..');

/** Nanoseconds of one round trip: on the wall's clock, and of processor time, which a busy host does not stretch. */
interface Sample {
  readonly wall: number;
  readonly processor: number;
}

/** The C program, asked batch by batch. */
class Native {
  readonly #process: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;

  constructor() {
    const folder = join(root, '.cache/bench-kvm'),
      program = join(folder, 'port-io');
    mkdirSync(folder, { recursive: true });
    const { status, stderr, error } = spawnSync(
      'gcc',
      ['-O2', '-o', program, join(root, 'test/bench-kvm/native/port-io.c')],
      { encoding: 'utf8' },
    );
    if (status !== 0) throw new Error(`gcc cannot build the program to compare with: ${error?.message ?? stderr}`);
    this.#process = spawn(program, { stdio: ['pipe', 'pipe', 'inherit'] }) as unknown as ChildProcessWithoutNullStreams;
    this.#lines = createInterface({ input: this.#process.stdout })[Symbol.asyncIterator]();
  }

  async measure(turns: number): Promise<Sample> {
    this.#process.stdin.write(`${turns}\n`);
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error('The C program ended early.');
    const [wall, processor] = value.split(' ').map(Number);
    return { wall, processor };
  }

  end(): void {
    this.#process.stdin.end();
  }
}

/** The machine, paused after each batch. */
class Machine {
  readonly vmm: Vmm;
  #left = 0;
  #warm = 0;
  #turns = 0;
  #began = 0;
  #value = 0;
  #processor = 0;
  #sample: Sample = { wall: 0, processor: 0 };

  constructor() {
    this.vmm = compose({
      backend: kvm(),
      memory: MEMORY,
      plugins: [
        io(),
        definePlugin({
          name: 'bench',
          uses: { ports: PortBusToken, memory: GuestMemoryToken },
          apply: ({ hooks, vcpus }, { ports, memory }) => {
            ports.register(
              PORT,
              1,
              { readPort: () => 0, writePort: (_port, _size, value) => this.#write(value) },
              'bench',
            );
            hooks.load.tap(() => {
              memory.write(CODE, Uint8Array.of(0xe6, PORT, 0xeb, 0xfc)); // again: OUT 10H, AL; JMP again
              vcpus[0].setInitialState({ mode: 'real16', rip: BigInt(CODE) });
            });
          },
        }),
      ],
    });
  }

  async measure(turns: number): Promise<Sample> {
    this.#left = this.#turns = turns;
    this.#warm = turns >> 2;
    this.#began = 0;
    const report = await this.vmm.run({ timeout: 60 });
    if (report.reason !== 'paused') throw new Error(`The guest ended: ${report.why}`);
    return this.#sample;
  }

  #write(value: number): void {
    this.#value = value;
    if (this.#warm > 0) this.#warm--;
    else if (this.#began === 0) {
      this.#began = performance.now();
      this.#processor = processorTime();
    } else if (--this.#left === 0) {
      this.#sample = {
        wall: ((performance.now() - this.#began) * 1e6) / this.#turns,
        processor: (processorTime() - this.#processor) / this.#turns,
      };
      void this.vmm.pause();
    }
  }
}

/** Of all threads of this process, ns. */
function processorTime(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) * 1000;
}

interface Clocks {
  readonly wall: Summary;
  readonly processor: Summary;
}

export interface PortIoResult {
  readonly name: string;
  readonly unit: 'ns';
  readonly rounds: number;
  readonly turns: number;
  readonly native: Clocks;
  readonly visorkit: Clocks;
  readonly ratio: number;
  readonly processorRatio: number;
  readonly bound: number;
}

/** Measures `rounds` batches of `turns` round trips each, the two in turn. */
export async function measurePortIo(rounds: number, turns: number): Promise<PortIoResult> {
  const native = new Native(),
    machine = new Machine();
  const samples = { native: [] as Sample[], visorkit: [] as Sample[] };
  await native.measure(turns);
  await machine.measure(turns);
  for (let round = 0; round < rounds; round++) {
    samples.native.push(await native.measure(turns));
    samples.visorkit.push(await machine.measure(turns));
  }
  native.end();
  await machine.vmm.dispose();
  const clocks = (list: readonly Sample[]): Clocks => ({
    wall: summarise(list.map(({ wall }) => wall)),
    processor: summarise(list.map(({ processor }) => processor)),
  });
  // Of each round, and then the median of these: a host that is now slow and now fast is so to both batches of a round
  const ratioOf = (clock: keyof Sample): number =>
    Number(
      summarise(samples.visorkit.map((sample, round) => sample[clock] / samples.native[round][clock])).median.toFixed(
        3,
      ),
    );
  const peer = clocks(samples.native),
    own = clocks(samples.visorkit);
  return {
    name: 'port-io round trip',
    unit: 'ns',
    rounds,
    turns,
    native: peer,
    visorkit: own,
    ratio: ratioOf('wall'),
    processorRatio: ratioOf('processor'),
    bound: BOUND,
  };
}
