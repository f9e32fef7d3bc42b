/** The kernel's interrupt controllers and doorbells. */
import { describe, expect, it } from 'vitest';
import { Stage, definePlugin, stop } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { InterruptLinesToken, PortBusToken } from '@visorkit/machine';
import { pic } from '@visorkit/devices-pc';
import type { InterruptLine } from '@visorkit/machine';
import { EventDescriptor, attachDoorbell, attachLine, kvmIrqchip } from './index.js';
import { HLT, kvmUsable, machineOf } from './test-machine.js';

const usable = kvmUsable();

/** Initialises the master 8259 with vectors from 20H and unmasks IRQ 4 alone, then ends at port 10H once BX counted an interrupt. */
const PROGRAM = [
  0xb0,
  0x11,
  0xe6,
  0x20,
  0xb0,
  0x20,
  0xe6,
  0x21,
  0xb0,
  0x04,
  0xe6,
  0x21,
  0xb0,
  0x01,
  0xe6,
  0x21,
  0xb0,
  0xef,
  0xe6,
  0x21, // ICW1-4, mask
  0x31,
  0xdb,
  0xe6,
  0x11,
  0xfb, // XOR BX, BX; OUT 11H; STI
  HLT,
  0x85,
  0xdb,
  0x74,
  0xfb, // again: HLT; TEST BX, BX; JZ again
  0xe6,
  0x10,
  HLT,
];
/** INC BX; OUT 20H with EOI; IRET. */
const HANDLER = Uint8Array.of(0x43, 0xb0, 0x20, 0xe6, 0x20, 0xcf);
const data = { [0x24 * 4]: Uint8Array.of(0x00, 0x40, 0, 0), 0x4000: HANDLER };

/** Calls `ready` when the guest writes to port 11H, and ends the run when it writes to port 10H. */
function ports(ready: (line: InterruptLine) => void): Plugin {
  return definePlugin({
    name: 'guest',
    uses: { ports: PortBusToken, lines: InterruptLinesToken },
    apply({ hooks }, { ports, lines }) {
      const line = lines.line(4);
      const device = {
        readPort: () => 0,
        writePort: (port: number) => {
          if (port === 0x11) ready(line);
        },
      };
      ports.register(0x10, 2, device, 'guest');
      hooks.exit
        .for('io')
        .tap({ name: 'end', stage: Stage.Observe }, (exit) => (exit.io.port === 0x10 ? stop('done') : undefined));
    },
  });
}

describe.skipIf(!usable)('interrupt controllers of the kernel', () => {
  it("take the machine's lines", async () => {
    const { vmm, vcpu } = await machineOf(PROGRAM, {
      backend: { irqchip: 'kernel' },
      data,
      plugins: [kvmIrqchip()],
      plugin: ports((line) => line.set(true)),
    });
    const report = await vmm.run({ timeout: 5 });
    expect([report.why, vcpu.rbx & 0xffffn]).toEqual(['done', 1n]);
    expect(vcpu.saveState().localApic).toHaveLength(1024);
    await vmm.dispose();
  });

  it('take interrupts from event descriptors', async () => {
    const event = new EventDescriptor();
    const { vmm, backend, vcpu } = await machineOf(PROGRAM, {
      backend: { irqchip: 'kernel' },
      data,
      plugin: ports(() => event.add()),
    });
    const detach = attachLine(backend.vmFd, event, 4);
    const report = await vmm.run({ timeout: 5 });
    expect([report.why, vcpu.rbx & 0xffffn]).toEqual(['done', 1n]);
    detach();
    await vmm.dispose();
    event.close();
  });

  it("are the local APIC alone, with the framework's 8259s before it", async () => {
    const { vmm, vcpu, backend } = await machineOf(PROGRAM, {
      backend: { irqchip: 'split' },
      data,
      plugins: [pic()],
      plugin: ports((line) => line.set(true)),
    });
    const report = await vmm.run({ timeout: 5 });
    expect([report.why, vcpu.rbx & 0xffffn, backend.irqchip?.mode]).toEqual(['done', 1n, 'split']);
    await vmm.dispose();
  });

  it('leave one vCPU, and say so', async () => {
    await expect(machineOf([HLT], { backend: { irqchip: 'kernel' }, cpus: 2 })).rejects.toMatchObject({
      code: 'KVM_CPUS',
    });
  });
});

describe.skipIf(!usable)('doorbells', () => {
  it('ring without an exit', async () => {
    const event = new EventDescriptor(),
      wide = new EventDescriptor();
    // OUT 60H, AL three times; MOV AL, 7; OUT 61H, AL; MOV AL, 8; OUT 61H, AL
    const { vmm, backend } = await machineOf([
      0xe6,
      0x60,
      0xe6,
      0x60,
      0xe6,
      0x60,
      0xb0,
      7,
      0xe6,
      0x61,
      0xb0,
      8,
      0xe6,
      0x61,
      HLT,
    ]);
    const detach = [
      attachDoorbell(backend.vmFd, event, { port: 0x60, size: 1 }),
      attachDoorbell(backend.vmFd, wide, { port: 0x61, size: 1, value: 7 }),
    ];
    let heard = 0;
    event.onEvent((count) => {
      heard += count;
    });
    const report = await vmm.run({ timeout: 5 });
    for (let turn = 0; turn < 100 && heard < 3; turn++)
      await new Promise((resolve) => {
        setTimeout(resolve, 5);
      });
    expect([heard, wide.take(), report.exits.io]).toEqual([3, 1, 1]);
    for (const undo of detach) undo();
    event.close();
    wide.close();
    await vmm.dispose();
  });

  it('are at a port or at an address', async () => {
    const { vmm, backend } = await machineOf([HLT]);
    expect(() => attachDoorbell(backend.vmFd, { fd: -1 } as EventDescriptor, { size: 1 })).toThrow(/either a port or/);
    await vmm.dispose();
  });
});
