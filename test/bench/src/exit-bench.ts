/**
 * What a VM exit costs from end to end: guest, processor, kernel, handler or device, and back. A program of its own, because the
 * heap's growth is only seen while nothing is collected:
 * `node --min-semi-space-size=64 --max-semi-space-size=64 --expose-gc dist/exit-bench.js`. Prints JSON.
 */
import { PerformanceObserver } from 'node:perf_hooks';
import { VmxBackend } from '@visorkit/backend-vmx';
import { bootFlat } from '@visorkit/boot-flat';
import { RESUME, RETRY, definePlugin } from '@visorkit/core';
import { exits } from '@visorkit/exits';
import { compose, MemoryViewsToken, MmioBusToken, PageRights, PortBusToken } from '@visorkit/machine';

export interface ExitCost {
  readonly name: string;
  readonly exits: number;
  /** CPU time of one exit, less the loop around it. */
  readonly nanoseconds: number;
  /** Of the JavaScript heap, over all the exits. */
  readonly heapGrowthBytes: number;
  readonly collections: number;
}

const EXITS = 1_000_000;
const STEP = 0xe0,
  PORT = 0xe1,
  DEVICE = 0xd000_0000,
  WATCHED = 0x18_0000;

const LOOPS: readonly { readonly name: string; readonly body: readonly number[] }[] = [
  { name: 'empty loop', body: [] },
  { name: 'cpuid', body: [0x31, 0xc0, 0x0f, 0xa2] }, // xor eax, eax; cpuid
  { name: 'port write', body: [0xe6, PORT] }, // out PORT, al
  { name: 'port read', body: [0xe4, PORT] }, // in al, PORT
  { name: 'mmio write', body: [0xa3, 0, 0, 0, 0xd0] }, // mov [DEVICE], eax
  { name: 'mmio read', body: [0xa1, 0, 0, 0, 0xd0] }, // mov eax, [DEVICE]
  { name: 'rdmsr', body: [0xb9, 0x8b, 0, 0, 0, 0x0f, 0x32] }, // mov ecx, IA32_BIOS_SIGN_ID; rdmsr
  { name: 'wrmsr', body: [0xb9, 0x8b, 0, 0, 0, 0x31, 0xc0, 0x31, 0xd2, 0x0f, 0x30] }, // the same with wrmsr
  { name: 'vmcall', body: [0x0f, 0x01, 0xc1] },
  { name: 'invd', body: [0x0f, 0x08] },
  { name: 'watched write, let through', body: [0xa3, 0, 0, 0x18, 0] }, // mov [WATCHED], eax
];

/** out STEP, al; mov esi, EXITS; 1: body; dec esi; jnz 1b; out STEP, al. */
function loopOf(body: readonly number[]): number[] {
  return [
    0xe6,
    STEP,
    0xbe,
    EXITS & 0xff,
    (EXITS >> 8) & 0xff,
    (EXITS >> 16) & 0xff,
    EXITS >> 24,
    ...body,
    0x4e,
    0x75,
    (0x100 - (body.length + 3)) & 0xff,
    0xe6,
    STEP,
  ];
}

/** Each loop twice; the first time is the warm-up. */
const GUEST = Uint8Array.from([...[...LOOPS, ...LOOPS].flatMap(({ body }) => loopOf(body)), 0xf4]);

/** Of this process, ms. */
function cpuTime(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

interface Reading {
  time: number;
  heap: number;
  collections: number;
}

export async function exitBench(): Promise<ExitCost[]> {
  const readings: Reading[] = [];
  let collections = 0,
    value = 0;
  const observer = new PerformanceObserver((list) => {
    collections += list.getEntries().length;
  });
  observer.observe({ entryTypes: ['gc'] });
  const collect = (globalThis as { gc?: () => void }).gc;
  const devices = definePlugin({
    name: 'exit-bench',
    capabilities: ['emulation'],
    uses: { ports: PortBusToken, mmio: MmioBusToken, views: MemoryViewsToken },
    apply({ hooks }, { ports, mmio, views }) {
      hooks.started.tap(() => views.base.protect(WATCHED, PageRights.RX));
      hooks.exit.for('vmcall').tap(() => RESUME);
      hooks.exit.for('ept-violation').tap(({ gpa }, { emulation }) => {
        if (gpa !== WATCHED) return undefined;
        emulation!.allow();
        return RETRY;
      });
      const writePort = (port: number, _size: number, written: number): void => {
        if (port !== STEP) {
          value = written;
          return;
        }
        const before = readings.length % 2 === 0,
          end = before ? 0 : cpuTime();
        if (before) collect?.();
        const heap = process.memoryUsage().heapUsed;
        readings.push({ time: before ? cpuTime() : end, heap, collections });
      };
      ports.register(STEP, 2, { readPort: () => value, writePort }, 'exit-bench');
      mmio.register(
        DEVICE,
        4096,
        {
          readMmio: () => value,
          writeMmio: (_offset, _size, written) => {
            value = written;
          },
        },
        'exit-bench',
      );
    },
  });
  await using vmm = compose({
    backend: new VmxBackend(),
    memory: '2M',
    time: 'real',
    plugins: [...exits(), bootFlat(), devices],
    boot: { image: GUEST, loader: 'flat', options: { address: 0x100000, mode: 'protected32' } },
  });
  const report = await vmm.run();
  observer.disconnect();
  if (readings.length !== 4 * LOOPS.length)
    throw new Error(`The guest of the exit benchmark stopped early: ${report.why}`);
  const measured = LOOPS.map(
    (_, index) => [readings[2 * (LOOPS.length + index)], readings[2 * (LOOPS.length + index) + 1]] as const,
  );
  const empty = measured[0][1].time - measured[0][0].time;
  return LOOPS.map(({ name }, index) => {
    const [from, to] = measured[index];
    return {
      name,
      exits: index === 0 ? 0 : EXITS,
      nanoseconds: ((to.time - from.time - (index === 0 ? 0 : empty)) * 1e6) / EXITS,
      heapGrowthBytes: to.heap - from.heap,
      collections: to.collections - from.collections,
    };
  });
}

if (process.argv[1] === import.meta.filename) process.stdout.write(`${JSON.stringify(await exitBench())}\n`);
