/** A guest suspends the PC and is woken. */
import { describe, expect, it } from 'vitest';
import { FirmwareTablesToken, GuestMemoryToken, PortBusToken, compose } from '@visorkit/machine';
import type { GuestMemory } from '@visorkit/machine';
import type { Plugin } from '@visorkit/core';
import { hlt, io } from '@visorkit/exits';
import { fakeBackend, outExit } from '@visorkit/testkit';
import type { ScriptedExit } from '@visorkit/testkit';
import { pcPlatform } from './pc-platform.js';

const cmos = (index: number, value: number): ScriptedExit[] => [outExit(0x70, index), outExit(0x71, value)];

/** Follows RSDP, RSDT and FADT to the FACS. */
function facs(memory: GuestMemory, rsdp: number): number {
  const rsdt = memory.readU32(rsdp + 16);
  for (let at = rsdt + 36; at < rsdt + memory.readU32(rsdt + 4); at += 4) {
    const table = memory.readU32(at);
    if (Buffer.from(memory.read(table, 4)).toString() === 'FACP') return memory.readU32(table + 36);
  }
  return 0;
}

describe('suspend to RAM (ACPI 6.4, 16.1.3)', () => {
  it('halts at the write to PM1 control, and wakes at the FACS vector when the alarm rings', async () => {
    // Alarm on any second, its event enabled, then S3 (SLP_TYP 1, SLP_EN); what follows must run only after the alarm.
    const backend = fakeBackend([
      ...cmos(1, 0xff),
      ...cmos(3, 0xff),
      ...cmos(5, 0xff),
      ...cmos(0x0b, 0x22),
      outExit(0x21, 0x5a),
      outExit(0x602, 0x400, 2),
      outExit(0x604, 0x2400, 2),
      outExit(0xf4, 3),
    ]);
    const seen: { selector: number; time: number; mask: number }[] = [];
    const guest: Plugin = {
      name: 'guest',
      requires: { services: [FirmwareTablesToken, PortBusToken] },
      apply({ hooks, services }) {
        hooks.loaded.tap('guest', () => {
          const memory = services.get(GuestMemoryToken);
          memory.writeU32(facs(memory, services.get(FirmwareTablesToken).rsdp) + 12, 0x1230);
        });
        hooks.exit.for('io').tap('guest', (exit, vcpu) => {
          if (exit.io.port === 0xf4)
            seen.push({
              selector: vcpu.getSegment(1).selector,
              time: backend.clock.now(),
              mask: services.get(PortBusToken).read(0x21, 1),
            });
        });
      },
    };
    const vmm = compose({
      backend,
      memory: '4M',
      cpus: 1,
      time: 'virtual',
      plugins: [io(), hlt(), ...pcPlatform({ debugExit: true }), guest],
    });
    const report = await vmm.run();
    expect(report.reason).toBe('exit');
    expect(report.exitStatus).toBe(7);
    expect(seen).toHaveLength(1);
    expect(seen[0].time).toBeGreaterThanOrEqual(1e9);
    expect(seen[0].selector).toBe(0x123);
    expect(seen[0].mask).toBe(0); // the 8259s lost their state
    await vmm.dispose();
  });

  it('ignores the request without a vector, and powers off for S5', async () => {
    const backend = fakeBackend([outExit(0x604, 0x2400, 2), outExit(0x604, 0x2000, 2)]);
    const vmm = compose({ backend, memory: '4M', cpus: 1, time: 'virtual', plugins: [io(), hlt(), ...pcPlatform()] });
    const report = await vmm.run();
    expect(report.reason).toBe('power-off');
    expect(report.why).toMatch(/S5/);
    await vmm.dispose();
  });
});
