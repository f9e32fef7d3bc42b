/**
 * Whole VMs saved at random points of virtual time, each time restored to a new machine, which goes on: to the same output, the same
 * count of instructions and the same time as the run that nobody looked at. VISORKIT_SAVED_POINTS says how many points.
 */
import { readFileSync } from 'node:fs';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { vmx } from '@visorkit/backend-vmx';
import type { SavedVm, StopReport, Vmm } from '@visorkit/core';
import { guestParameters } from '@visorkit/guests';
import { CaptureOutput } from '@visorkit/machine';
import { readSavedVm, writeSavedVm } from '@visorkit/project';
import { afterAll, describe, expect, it } from 'vitest';
import { assemble } from 'visorkit';
import { BOOT_TIMEOUT, findDebianGuest, titled } from './boots.js';

const found = await findDebianGuest('amd64');
const guest = found.value;
const POINTS = Number(process.env.VISORKIT_SAVED_POINTS ?? 16);

interface Machine {
  readonly vmm: Vmm;
  readonly output: CaptureOutput;
}

async function machineOf(cpus: number): Promise<Machine> {
  const output = new CaptureOutput();
  const vmm = await assemble({
    backend: vmx(),
    memory: 128 << 20,
    cpus,
    time: 'virtual',
    debugExit: false,
    plugins: [],
    console: { output },
    boot: {
      image: readFileSync(guest.kernel),
      commandLine: `console=ttyS0 cryptomgr.notests ${guestParameters({ mode: 'check' })}`,
      modules: [{ name: 'initramfs', data: readFileSync(guest.initramfs) }],
    },
  });
  return { vmm, output };
}

/** Numbers from 0 to 1, the same each time. */
function* random(seed: number): Generator<number, never> {
  for (let state = seed; ; ) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    yield state / 2 ** 32;
  }
}

const result = ({ reason, guestInstructions, guestNanoseconds }: StopReport): unknown => ({
  reason,
  guestInstructions,
  guestNanoseconds,
});

describe.skipIf(found.missing !== '')(titled('Saved VMs', found), () => {
  const folder = mkdtempSync(join(tmpdir(), 'visorkit-saved-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it.each([1, 4])(
    'Debian with %i processors goes on from random points as if nothing had been',
    async (cpus) => {
      const whole = await machineOf(cpus);
      const expected = await whole.vmm.run();
      await whole.vmm.dispose();
      expect(expected.reason).toBe('power-off');

      const total = expected.guestInstructions;
      const numbers = random(cpus);
      const points = Array.from({ length: POINTS / 2 }, () => Math.floor(numbers.next().value * total)).sort(
        (a, b) => a - b,
      );
      let saved: SavedVm | undefined;
      let text = '';
      let report: StopReport | undefined;
      for (const point of [...points, Infinity]) {
        const { vmm, output } = await machineOf(cpus);
        if (saved !== undefined) await vmm.restore(saved);
        const left = point - vmm.instructions;
        report = await vmm.run(left === Infinity ? {} : { maxInstructions: Math.max(left, 1) });
        text += output.text;
        // Through a file now and then: what is written is what was saved
        const file = join(folder, 'vm');
        saved = vmm.save();
        if (points.indexOf(point) % 4 === 0) {
          await writeSavedVm(file, saved);
          saved = await readSavedVm(file);
        }
        await vmm.dispose();
      }
      expect(text).toBe(whole.output.text);
      expect(result(report!)).toEqual(result(expected));
    },
    2 * BOOT_TIMEOUT,
  );
});
