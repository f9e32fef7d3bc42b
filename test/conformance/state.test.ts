/** A guest is stopped in the middle, its state goes to another machine, and it ends as if nothing had been. */
import { describe, expect, it } from 'vitest';
import { Stage } from '@visorkit/core';
import { BACKENDS } from './backends.js';
import type { ConformingBackend } from './backends.js';
import { AX, CX, DI, code } from './code.js';
import { createMachine, runOn } from './machine.js';
import type { Guest, Outcome } from './machine.js';

/** Twenty turns of integer, x87 and SSE arithmetic; each writes a partial result to a port. */
const GUEST: Guest = {
  mode: 'long64',
  state: { cr4: 0x620n, cr0: 0x8000_0033n },
  code: code()
    .raw(0xdb, 0xe3, 0xd9, 0xe8) // FNINIT; FLD1
    .mov(CX, 20)
    .mov(AX, 1)
    .mov(DI, 0x6000)
    .raw(0x66, 0x0f, 0x6e, 0xc9) // MOVD XMM1, ECX
    .label('again')
    .raw(0x69, 0xc0, 0x0d, 0x66, 0x19, 0x00, 0x05, 0x5f, 0xf3, 0x6e, 0x3c) // IMUL EAX, EAX, 19660DH; ADD EAX, 3C6EF35FH
    .raw(0x66, 0x0f, 0x6e, 0xc0, 0x66, 0x0f, 0xfe, 0xc8) // MOVD XMM0, EAX; PADDD XMM1, XMM0
    .raw(0xd8, 0xc0) // FADD ST, ST
    .raw(0x89, 0x04, 0x8f) // MOV [RDI + RCX * 4], EAX
    .outWide(0x10)
    .dec(CX)
    .jnz('again')
    .raw(0x66, 0x0f, 0x7e, 0xca, 0xdb, 0x3f)
    .end(), // MOVD EDX, XMM1; FSTP TBYTE [RDI]
  shows: { results: [0x6000, 84] },
};

/** Runs until the guest has written `writes` times, and gives its state and memory. */
async function interrupted(
  backend: ConformingBackend,
  writes: number,
): Promise<{ state: unknown; memory: Uint8Array; events: string[] }> {
  const machine = await createMachine(backend, {
    ...GUEST,
    apply: ({ hooks }) =>
      hooks.exit.for('io').tap({ name: 'pause', stage: Stage.Observe }, () => {
        if (--writes === 0) void machine.vmm.pause();
        return undefined;
      }),
  });
  expect((await machine.vmm.run({ timeout: 10 })).reason).toBe('paused');
  const state = structuredClone(machine.vcpu.saveState()),
    memory = machine.vmm.memory.read(0, machine.vmm.memory.size);
  await machine.vmm.dispose();
  return { state, memory, events: machine.events };
}

async function continued(
  backend: ConformingBackend,
  from: { state: unknown; memory: Uint8Array; events: string[] },
): Promise<Outcome> {
  const machine = await createMachine(backend, GUEST);
  await machine.vmm.load();
  machine.vmm.memory.write(0, from.memory);
  machine.vcpu.restoreState(from.state);
  machine.events.push(...from.events);
  const { reason, why } = await machine.vmm.run({ timeout: 10 });
  const outcome = machine.outcome(reason, why);
  await machine.vmm.dispose();
  return outcome;
}

describe.each(BACKENDS)('save and restore on $name', (backend) => {
  it('in the middle changes nothing', async () => {
    const whole = await runOn(backend, GUEST);
    expect(whole.reason).toBe('halted');
    expect(whole.events).toHaveLength(21);
    for (const writes of [1, 7, 20])
      expect(await continued(backend, await interrupted(backend, writes))).toEqual(whole);
  });

  it('goes from machine to machine several times', async () => {
    const whole = await runOn(backend, GUEST);
    let from = await interrupted(backend, 3);
    for (let turn = 0; turn < 2; turn++) {
      const machine = await createMachine(backend, {
        ...GUEST,
        apply: ({ hooks }) =>
          hooks.exit.for('io').tap({ name: 'pause', stage: Stage.Observe }, () => {
            void machine.vmm.pause();
            return undefined;
          }),
      });
      await machine.vmm.load();
      machine.vmm.memory.write(0, from.memory);
      machine.vcpu.restoreState(from.state);
      await machine.vmm.run({ timeout: 10 });
      from = {
        state: structuredClone(machine.vcpu.saveState()),
        memory: machine.vmm.memory.read(0, machine.vmm.memory.size),
        events: [...from.events, ...machine.events],
      };
      await machine.vmm.dispose();
    }
    expect(await continued(backend, from)).toEqual(whole);
  });
});

it('memory that a machine has not, or that comes twice, is refused', async () => {
  const [backend] = BACKENDS; // the kernel looks at it, whatever the backend
  const machine = await createMachine(backend, GUEST);
  await machine.vmm.load();
  const { state, memory } = machine.vmm.save();
  await machine.vmm.dispose();
  const [first] = memory;
  for (const [pieces, said] of [
    [[...memory, first], /has the memory at 0x[0-9a-f]+ twice/],
    [[{ ...first, gpa: machine.vmm.memory.size }], /which are not whole pages of this one's memory/],
    [[{ ...first, gpa: first.gpa + 1 }], /which are not whole pages/],
  ] as const) {
    const other = await createMachine(backend, GUEST);
    await expect(other.vmm.restore({ state, memory: pieces })).rejects.toThrow(said);
    await other.vmm.dispose();
  }
});

it.skipIf(BACKENDS.length < 2)('what the guest computes is the same on all backends', async () => {
  const [first, ...others] = await Promise.all(BACKENDS.map((backend) => runOn(backend, GUEST)));
  for (const other of others) expect(other).toEqual(first);
});
