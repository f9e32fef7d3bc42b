/**
 * A guest stops at each of its exits in turn, which nobody carries out, and goes on: where it is, and on another machine, from what was saved.
 * Its devices see each access once, and its outcome is that of a guest that never stopped.
 */
import { RETRY, definePlugin, stop } from '@visorkit/core';
import type { SavedVm } from '@visorkit/core';
import { MsrBusToken } from '@visorkit/machine';
import { describe, expect, it } from 'vitest';
import { BACKENDS } from './backends.js';
import type { ConformingBackend } from './backends.js';
import { AX, CX, DI, DX, SI, code } from './code.js';
import { DEVICE, createMachine } from './machine.js';
import type { Guest, Machine, Noted, Outcome } from './machine.js';

const MSR = 0x4b56_0200;
const address = [0x00, 0x60, 0x00, 0x00];

/** Ports and memory of devices in each way that an instruction can use them; MSRs. Results go to 6000H and on. */
const GUEST: Guest = {
  mode: 'protected32',
  state: { cr0: 0x31n, cr4: 0x200n, rsp: BigInt(DEVICE + 0x208) },
  code: code()
    .raw(0xfc) // CLD
    .mov(AX, 0x1122_3344)
    .in(0x10)
    .raw(0xa3, ...address) // MOV [6000H], EAX
    .outWide(0x14)
    .inWide(0x18)
    .raw(0x50, 0x58) // PUSH EAX and POP EAX, on a stack in the device
    .mov(DX, 0x12)
    .mov(DI, 0x6010)
    .mov(CX, 3)
    .raw(0xf3, 0x6c) // REP INSB
    .mov(SI, 0x6010)
    .mov(CX, 3)
    .raw(0xf3, 0x6e) // REP OUTSB
    .mov(DI, DEVICE)
    .load(4)
    .store(0x101)
    .raw(0x01, 0x47, 0x08) // ADD [EDI + 8], EAX
    .raw(0x86, 0x47, 0x0c) // XCHG [EDI + 12], AL
    .raw(0xf3, 0x0f, 0x6f, 0x47, 0x10) // MOVDQU XMM0, [EDI + 10H]
    .raw(0xf3, 0x0f, 0x7f, 0x47, 0x20) // MOVDQU [EDI + 20H], XMM0
    .raw(0xf3, 0x0f, 0x7f, 0x05, 0x20, 0x60, 0, 0) // MOVDQU [6020H], XMM0
    .mov(SI, DEVICE + 0x41)
    .mov(DI, 0x6030)
    .mov(CX, 2)
    .raw(0xf3, 0xa5) // REP MOVSD out of the device
    .mov(SI, DEVICE + 0x50)
    .mov(DI, DEVICE + 0x60)
    .mov(CX, 2)
    .raw(0xf3, 0xa4) // REP MOVSB within it
    .mov(SI, DEVICE + 0x70)
    .mov(DI, DEVICE + 0x80)
    .raw(0xa6) // CMPSB
    .mov(CX, MSR)
    .mov(AX, 7)
    .mov(DX, 8)
    .wrmsr()
    .rdmsr()
    .end(),
  shows: { results: [0x6000, 0x40] },
  plugins: () => [
    definePlugin({
      name: 'msr',
      uses: { msrs: MsrBusToken },
      apply(_host, { msrs }) {
        let reads = 0x1234_5678_9abcn;
        msrs.register(MSR, 1, { readMsr: () => reads++, writeMsr: () => true }, 'msr');
      },
    }),
  ],
};

/** How an exit is left open. */
type Way = 'a handler throws' | 'a handler stops the guest at it';

/** A machine that leaves one of its exits open, the one before which `openAt` others are offered. */
async function machineOf(backend: ConformingBackend, way: Way, openAt: number, before?: Noted): Promise<Machine> {
  let exit = 0;
  let left = openAt === Infinity ? 0 : 1;
  const machine = await createMachine(backend, GUEST, before);
  for (const name of ['io', 'ept-violation', 'rdmsr', 'wrmsr'] as const)
    machine.vmm.hooks.exit
      .for(name)
      .tap({ before: `exits/${name === 'io' || name === 'ept-violation' ? name : 'msr'}` }, () => {
        if (left === 0 || exit++ < openAt) return undefined;
        left--;
        if (way === 'a handler throws') throw new Error('left open');
        return stop('left open', { reason: 'left-open', answer: RETRY });
      });
  return machine;
}

/** Goes on to the end. An exit of an MSR is noted each time that it is offered, and counts once. */
async function outcomeOf(machine: Machine): Promise<Outcome> {
  const { reason, why } = await machine.vmm.run({ timeout: 20 });
  const outcome = machine.outcome(reason, why);
  const events = outcome.events.filter((event, at, all) => !event.includes('msr') || event !== all[at - 1]);
  return { ...outcome, events };
}

describe.each(BACKENDS)('a guest on $name that stops at an exit', (backend) => {
  it.each<Way>(['a handler throws', 'a handler stops the guest at it'])(
    'which nobody carries out (%s)',
    { timeout: 120_000 },
    async (way) => {
      const unbroken = await machineOf(backend, way, Infinity);
      const whole = await outcomeOf(unbroken);
      await unbroken.vmm.dispose();
      expect(whole.reason).toBe('halted');
      let stops = 0;
      for (;;) {
        const machine = await machineOf(backend, way, stops);
        const { reason } = await machine.vmm.run({ timeout: 20 });
        if (reason === 'halted') {
          await machine.vmm.dispose();
          break;
        }
        expect(reason).toBe(way === 'a handler throws' ? 'plugin-error' : 'left-open');
        const { output, events } = machine.noted;
        const before = { output, events: [...events] };
        const saved: SavedVm = structuredClone(machine.vmm.save());
        const here = await outcomeOf(machine);
        await machine.vmm.dispose();
        const other = await machineOf(backend, way, Infinity, before);
        await other.vmm.restore(saved);
        const there = await outcomeOf(other);
        await other.vmm.dispose();
        expect([stops, here, there]).toEqual([stops, whole, whole]);
        stops++;
      }
      expect(stops).toBeGreaterThan(25);
    },
  );

  it('each time, on a machine of its own each time', { timeout: 120_000 }, async () => {
    const way = 'a handler stops the guest at it';
    const unbroken = await machineOf(backend, way, Infinity);
    const whole = await outcomeOf(unbroken);
    await unbroken.vmm.dispose();
    let machine = await machineOf(backend, way, 0);
    for (let stops = 0; ; stops++) {
      const outcome = await outcomeOf(machine);
      if (outcome.reason !== 'left-open') {
        expect(outcome).toEqual(whole);
        expect(stops).toBeGreaterThan(25);
        break;
      }
      const saved: SavedVm = structuredClone(machine.vmm.save());
      const { output, events } = machine.noted;
      await machine.vmm.dispose();
      // The exit that it stopped at is carried out, and the next one is left open
      machine = await machineOf(backend, way, 1, { output, events: [...events] });
      await machine.vmm.restore(saved);
    }
    await machine.vmm.dispose();
  });
});
