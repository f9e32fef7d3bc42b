/** Every device of a PC programmed with random values, by a guest and straight on the buses. */
import { InterruptSourceToken, TimersToken } from '@visorkit/core';
import type { Vmm } from '@visorkit/core';
import {
  FLAT_GDT_SIZE,
  DeviceListToken,
  InterruptLinesToken,
  MmioBusToken,
  PortBusToken,
  flatSegments,
  writeFlatGdt,
} from '@visorkit/machine';
import { pcTestdev, pciTestdev } from '@visorkit/pc-testdev';
import { describe, expect, it } from 'vitest';
import { hostileMachine, survive } from './machine.js';
import { Random } from './random.js';

const SIZES = [1, 2, 4] as const;
const testDevices = () => [pcTestdev(), pciTestdev()];
const [first, runs] = (process.env.VISORKIT_FUZZ ?? '1,12').split(',').map(Number);

interface Targets {
  readonly ports: readonly { first: number; count: number; owner: string }[];
  readonly mmio: readonly { gpa: number; length: number; owner: string }[];
}

function targetsOf(vmm: Vmm): Targets {
  return { ports: vmm.services.get(PortBusToken).claims(), mmio: vmm.services.get(MmioBusToken).ranges() };
}

/** What is claimed does not depend on the machine. */
async function allTargets(): Promise<Targets> {
  await using vmm = hostileMachine(() => ({ mode: 'real16', rip: 0x1000n }), { plugins: testDevices() });
  await vmm.create();
  return targetsOf(vmm);
}

/** Values that mean something to some device, and any others. */
function value(random: Random): number {
  return Number(random.hostile() & 0xffffffffn);
}

describe('devices under random programming', () => {
  it('are all there', async () => {
    const { ports, mmio } = await allTargets();
    const owners = new Set([...ports, ...mmio].map(({ owner }) => owner));
    expect(owners.size).toBeGreaterThan(12);
    expect(mmio.length).toBeGreaterThan(2);
  });

  it('straight on the buses, with time, interrupts, resets, and states saved and restored in between', async () => {
    for (let seed = first; seed < first + runs; seed++) {
      const random = new Random(seed);
      await using vmm = hostileMachine(() => ({ mode: 'real16', rip: 0x1000n }), { plugins: testDevices() });
      await vmm.load();
      const { ports, mmio } = targetsOf(vmm);
      const { services, backend } = vmm;
      const portBus = services.get(PortBusToken),
        mmioBus = services.get(MmioBusToken),
        timers = services.get(TimersToken);
      const devices = [...services.get(DeviceListToken)],
        source = services.get(InterruptSourceToken),
        lines = services.get(InterruptLinesToken);
      const line = lines.line(random.below(24));
      for (let step = 0; step < 6000; step++) {
        try {
          const size = random.pick(SIZES);
          switch (random.below(16)) {
            case 0:
            case 1:
            case 2:
            case 3:
            case 4: {
              const { first: port, count } = random.pick(ports);
              portBus.write((port + random.below(count)) & 0xffff, size, value(random));
              break;
            }
            case 5:
            case 6:
            case 7: {
              const { first: port, count } = random.pick(ports);
              const read = portBus.read((port + random.below(count)) & 0xffff, size);
              expect(read >= 0 && read < 2 ** (8 * size) && Number.isInteger(read)).toBe(true);
              break;
            }
            case 8:
            case 9:
            case 10: {
              const { gpa, length } = random.pick(mmio);
              mmioBus.write(gpa + random.below(Math.min(length, 0x2000)), size, value(random));
              break;
            }
            case 11:
            case 12: {
              const { gpa, length } = random.pick(mmio);
              const read = mmioBus.read(gpa + random.below(Math.min(length, 0x2000)), size);
              expect(read >= 0 && read < 2 ** (8 * size) && Number.isInteger(read)).toBe(true);
              break;
            }
            case 13: {
              backend.clock.skipTo(backend.clock.now() + random.pick([1, 1000, 1e6, 1e9, 1e11]));
              for (let fired = 0; fired < 100 && timers.nextDeadline() <= backend.clock.now(); fired++) timers.runDue();
              expect(Number.isNaN(timers.nextDeadline())).toBe(false);
              break;
            }
            case 14: {
              line.set(random.oneIn(2));
              const cpu = source.forVcpu?.(0) ?? source;
              if (cpu.pending()) expect(cpu.acknowledge()).toBeLessThan(256);
              cpu.takeNmi?.();
              cpu.takeInit?.();
              break;
            }
            default: {
              const device = random.pick(devices);
              if (random.oneIn(8)) device.reset();
              else device.restore(structuredClone(device.save()));
            }
          }
        } catch (error) {
          throw new Error(`seed ${seed}, step ${step}`, { cause: error });
        }
      }
    }
  }, 600_000);

  it('by a guest with interrupts on', async () => {
    const targets = await allTargets();
    const reasons = new Set<string>();
    for (let seed = first; seed < first + runs * 2; seed++) {
      const random = new Random(seed);
      // Half of the guests do not stumble on the switches that end the run
      const gentle = random.oneIn(2);
      const report = await survive(
        `seed ${seed}`,
        ({ memory }) => {
          const code: number[] = [0xfb];
          const imm32 = (number: number): number[] =>
            [number, number >>> 8, number >>> 16, number >>> 24].map((byte) => byte & 0xff);
          const ports = targets.ports.filter(
            ({ owner }) => !gentle || !/reset|shutdown|exit|acpi|i8042|keyboard|test/i.test(owner),
          );
          for (let count = 0; count < 1500; count++) {
            code.push(0xb8, ...imm32(value(random))); // mov eax, value
            if (random.oneIn(3)) {
              const { gpa, length } = random.pick(targets.mmio);
              const at = imm32(gpa + random.below(Math.min(length, 0x1000)));
              const opcodes = [
                [0xa3],
                [0x66, 0xa3],
                [0xa2],
                [0xa1],
                [0x87, 0x05],
                [0xf0, 0x0f, 0xc1, 0x05],
                [0x0f, 0x11, 0x05],
              ];
              code.push(...random.pick(opcodes), ...at);
            } else {
              const { first: port, count: width } = random.pick(ports);
              code.push(0x66, 0xba, ...imm32(port + random.below(width)).slice(0, 2)); // mov dx, port
              code.push(...random.pick([[0xee], [0xef], [0x66, 0xef], [0xee], [0xec], [0xed], [0x66, 0xed]]));
            }
          }
          code.push(0xe9, ...imm32(-(code.length + 5))); // and again
          memory.write(0x20000, Uint8Array.from(code));
          writeFlatGdt(memory, 0x2000, 32);
          // handlers: add esp, 4 where there is an error code; end of interrupt at the local APIC and both 8259s; iret
          const end = [
            0xc7, 0x05, 0xb0, 0, 0xe0, 0xfe, 0, 0, 0, 0, 0x50, 0xb0, 0x20, 0xe6, 0xa0, 0xe6, 0x20, 0x58, 0xcf,
          ];
          memory.write(0x5000, Uint8Array.of(0x83, 0xc4, 4, ...end));
          for (let vector = 0; vector < 256; vector++) {
            const withError = [8, 10, 11, 12, 13, 14, 17].includes(vector);
            memory.writeU32(0x3000 + vector * 8, 0x100000 | (withError ? 0x5000 : 0x5003));
            memory.writeU32(0x3004 + vector * 8, 0x8e00);
          }
          return {
            mode: 'protected32',
            rip: 0x20000n,
            rsp: 0x1f000n,
            segments: flatSegments(32),
            cr0: 0x31n,
            cr4: 0x600n,
            gdtr: { base: 0x2000n, limit: FLAT_GDT_SIZE - 1 },
            idtr: { base: 0x3000n, limit: 0x7ff },
          };
        },
        { maxInstructions: 12_000 },
        { plugins: testDevices() },
      );
      reasons.add(report.reason);
    }
    expect(reasons).toContain('max-instructions');
  }, 600_000);
});
