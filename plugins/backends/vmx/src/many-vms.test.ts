/**
 * VMs one after another in one process, each with translated code of its own: nothing of those that are over stays. VISORKIT_CASES says how many; the
 * 1,000 of every run take some fifteen seconds.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { GuestMemoryToken, definePlugin } from '@visorkit/core';
import { exits } from '@visorkit/exits';
import { compose } from '@visorkit/machine';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { vmx } from './index.js';

const VMS = Number(process.env['VISORKIT_CASES'] ?? 1000);
const CODE = 0x1000;
/** MOV ECX, 200; ADD EAX, ECX; DEC ECX; JNZ; CLI; HLT. */
const GUEST = [0xb9, 200, 0, 0, 0, 0x01, 0xc8, 0x49, 0x75, 0xfb, 0xfa, 0xf4];
const MIB = 2 ** 20;
/** Second halves of 1,000 VMs have grown by 2 MiB of resident memory and 0.4 MiB of heap; a VM that stayed would have 4 and some 0.1. */
const MOST_RESIDENT = 48 * MIB;
const MOST_HEAP = 4 * MIB;
/** The last VM may still be on a stack. */
const MOST_ALIVE = 2;

const KINDS = ['Module', 'Instance', 'Memory'] as const;
type Kind = (typeof KINDS)[number];
const api = WebAssembly as unknown as Record<Kind, new (...parameters: unknown[]) => object>;
const originals = KINDS.map((kind) => [kind, api[kind]] as const);
const made: Record<Kind, number> = { Module: 0, Instance: 0, Memory: 0 };
const collected: Record<Kind, number> = { Module: 0, Instance: 0, Memory: 0 };
const registry = new FinalizationRegistry<Kind>((kind) => collected[kind]++);

beforeAll(() => {
  for (const [kind, original] of originals)
    api[kind] = new Proxy(original, {
      construct(target, parameters) {
        const object = Reflect.construct(target, parameters) as object;
        made[kind]++;
        registry.register(object, kind);
        return object;
      },
    });
});
afterAll(() => {
  for (const [kind, original] of originals) api[kind] = original;
});

setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc') as () => void;

/** What is kept when all that can go has gone. Finalizers run between tasks. */
async function kept(): Promise<{ alive: Record<Kind, number>; resident: number; heap: number }> {
  for (let round = 0; round < 5; round++) {
    gc();
    await new Promise((resolve) => setImmediate(resolve));
  }
  const alive = Object.fromEntries(KINDS.map((kind) => [kind, made[kind] - collected[kind]])) as Record<Kind, number>;
  const { rss: resident, heapUsed: heap } = process.memoryUsage();
  return { alive, resident, heap };
}

/** Runs a VM to its end; returns how many regions it has translated. */
async function play(): Promise<number> {
  const guest = definePlugin({
    name: 'guest',
    uses: { memory: GuestMemoryToken },
    apply({ hooks, vcpus }, { memory }) {
      hooks.load.tap('guest', () => {
        memory.write(CODE, Uint8Array.from(GUEST));
        vcpus[0].setInitialState({ mode: 'protected32', rip: BigInt(CODE), rsp: 0x8000n });
      });
    },
  });
  await using vmm = compose({
    backend: vmx({ translate: 1 }),
    memory: MIB,
    time: 'virtual',
    plugins: [guest, ...exits()],
  });
  const { reason, statistics } = await vmm.run();
  expect(reason).toBe('halted');
  return statistics!['regions translated'];
}

it(`${VMS} VMs leave nothing behind`, { timeout: 600_000 }, async () => {
  const half = Math.floor(VMS / 2);
  let regions = 0;
  const after: Awaited<ReturnType<typeof kept>>[] = [];
  for (let n = 1; n <= VMS; n++) {
    regions += await play();
    if (n === half || n === VMS) after.push(await kept());
  }
  expect(regions).toBeGreaterThanOrEqual(VMS);
  expect(made.Memory).toBe(VMS);
  // each has the processor's instance, and a module or more with the instances of these
  expect(made.Module).toBeGreaterThanOrEqual(VMS);
  expect(made.Instance).toBe(VMS + made.Module);
  const perVm = { Module: made.Module / VMS, Instance: made.Instance / VMS, Memory: 1 };
  for (const { alive } of after)
    for (const kind of KINDS) expect(alive[kind], kind).toBeLessThanOrEqual(MOST_ALIVE * perVm[kind]);
  const [middle, end] = after;
  expect(end.resident - middle.resident).toBeLessThan(MOST_RESIDENT);
  expect(end.heap - middle.heap).toBeLessThan(MOST_HEAP);
  if (process.env['VISORKIT_CASES'] !== undefined) console.log(JSON.stringify({ made, regions, after }));
});
