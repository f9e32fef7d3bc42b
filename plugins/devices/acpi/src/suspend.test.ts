/** What suspend to RAM keeps; how a guest sleeps and wakes is tested with a whole PC in `@visorkit/pc`. */
import { expect, it } from 'vitest';
import type { PluginHost } from '@visorkit/core';
import { ArrayGuestMemory, DeviceList, PortBus } from '@visorkit/machine';
import { DeviceBench, refusals } from '@visorkit/machine/testing';
import { PmRegisters } from './pm-registers.js';
import { SuspendToRam } from './suspend.js';
import { FACS_WAKING_VECTOR } from './tables.js';

const FACS = 0x1000;

function make(inits: number[]): SuspendToRam {
  const hook = { tap: () => () => {} };
  const log = { info() {}, warn() {} };
  const host = { hooks: { exit: { for: () => hook }, vcpuState: hook }, logger: log } as unknown as PluginHost;
  const bench = new DeviceBench();
  const memory = new ArrayGuestMemory(0x10000);
  memory.write(FACS, Buffer.from('FACS'));
  memory.writeU32(FACS + FACS_WAKING_VECTOR, 0x1230);
  const apics = { sendInit: (index: number) => void inits.push(index) };
  const pm = new PmRegisters(bench.lines, bench.clock, bench.timers);
  return new SuspendToRam(host, pm, memory, new DeviceList(), new PortBus(), apics as never);
}

it('a machine that was saved asleep wakes where it was restored', () => {
  const [before, after]: number[][] = [[], []];
  const saved = make(before);
  saved.facs = FACS;
  saved.sleep();
  const restored = make(after);
  restored.restore(JSON.parse(JSON.stringify(saved.save())));
  expect(restored.save()).toEqual({ asleep: true, waking: false, facs: FACS });
  expect([restored.wake(), restored.wake(), before, after]).toEqual([true, false, [], [0]]);
  expect(restored.save()).toEqual({ asleep: false, waking: true, facs: FACS });
  restored.reset();
  expect(restored.save()).toEqual({ asleep: false, waking: false, facs: FACS });
});

it('refuses a malformed state', () => {
  for (const said of refusals(make([])).values()) {
    expect(said).toMatch('The state of device "acpi-suspend" cannot be restored: ');
  }
});
