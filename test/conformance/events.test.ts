/** Events of introspection on every backend: those that it has are told, the others are refused by name. */
import { definePlugin } from '@visorkit/core';
import type { Capability } from '@visorkit/core';
import { VmiEventsToken, introspectionEvents } from '@visorkit/vmi';
import type { VmiEvents } from '@visorkit/vmi';
import { describe, expect, it } from 'vitest';
import { BACKENDS } from './backends.js';
import { code } from './code.js';
import { createMachine } from './machine.js';

const HANDLER = 0x4000;

describe.each(BACKENDS)('events on $name', (backend) => {
  it('are those of ports and of INT3, which goes to the guest', async () => {
    const seen: string[] = [];
    const subscriber = definePlugin({
      name: 'subscriber',
      uses: { events: VmiEventsToken },
      apply(_host, { events }) {
        events.io(
          { ports: 0x10, direction: 'out' },
          ({ port, size, value }) => void seen.push(`out ${port} ${size} ${value}`),
        );
        events.io({ ports: 0x12, direction: 'in' }, () => ({ value: 0x77 }));
        events.breakpoint({}, ({ rip }) => void seen.push(`int3 ${rip}`));
      },
    });
    const machine = await createMachine(backend, {
      mode: 'protected32',
      // MOV AL, 5; OUT 10H, AL; INT3; IN AL, 12H; HLT. The handler moves AL into BL
      code: code().raw(0xb0, 5, 0xe6, 0x10, 0xcc, 0xe4, 0x12).hlt(),
      data: { [HANDLER]: Uint8Array.of(0x88, 0xc3, 0xcf) },
      handlers: { 3: HANDLER },
      plugins: () => [introspectionEvents(), subscriber],
    });
    try {
      expect(await machine.vmm.run({ timeout: 20 })).toMatchObject({ reason: 'halted' });
      expect(seen).toEqual(['out 16 1 5', `int3 ${0x1004}`]);
      expect([machine.vcpu.rax & 0xffn, machine.vcpu.rbx & 0xffn]).toEqual([0x77n, 5n]);
      expect(machine.events.filter((event) => event.startsWith('in'))).toEqual([]);
    } finally {
      await machine.vmm.dispose();
    }
  });

  it('are refused where the backend lacks what they need', async () => {
    const none = (): void => {};
    const asked: readonly (readonly [Capability, (events: VmiEvents) => () => void])[] = [
      ['ept.views', (events) => events.memory({ gpa: 0, access: 'w' }, none)],
      ['ept.execute-only', (events) => events.breakpointAt({ gpa: 0 }, none)],
      ['exit.cpuid', (events) => events.cpuid({}, none)],
      ['exit.control-register', (events) => events.register({ register: 'cr3' }, none)],
      ['exit.vmcall', (events) => events.guestRequest({}, none)],
      ['exit.gdtr-idtr', (events) => events.descriptor({}, none)],
    ];
    const machine = await createMachine(backend, {
      mode: 'protected32',
      code: code().hlt(),
      plugins: () => [introspectionEvents()],
    });
    try {
      const { services, backend: made } = machine.vmm;
      for (const [capability, subscribe] of asked) {
        const events = services.get(VmiEventsToken);
        if (made.capabilities.has(capability)) subscribe(events)();
        else expect(() => subscribe(events)).toThrow(`Backend ${made.name} lacks`);
      }
    } finally {
      await machine.vmm.dispose();
    }
  });
});
