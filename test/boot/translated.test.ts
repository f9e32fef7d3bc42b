/** Guests run translated as they run interpreted: the same output, exits and instructions, wherever the run ends. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { definePlugin } from '@visorkit/core';
import { fetchDebianPackage } from '@visorkit/guests';
import { osLinux } from '@visorkit/os-linux';
import { CodeProfileToken, codeProfile } from '@visorkit/trace';
import type { CodeProfile } from '@visorkit/trace';
import { introspection } from '@visorkit/vmi';
import { describe, expect, it } from 'vitest';
import { BOOT_TIMEOUT, QUICK, boot, find, findDebianGuest, titled } from './boots.js';
import type { Boot, BootOf } from './boots.js';

const amd64 = await findDebianGuest('amd64'),
  i386 = await findDebianGuest('i386'),
  seabios = await find(() => fetchDebianPackage('seabios'));
/** The first part of a boot, in which its kernel is unpacked. */
const PART = 250e6;
/** To the boot menu of SeaBIOS. */
const SEABIOS = 50e6;
const SHARE = 'instructions run translated';

/** What must be the same: all of the report but how long it took, and what the translator did. */
function seen({ report, output }: Boot): unknown {
  const { guestInstructions, guestNanoseconds, exits, reason, exitStatus, why } = report;
  return { guestInstructions, guestNanoseconds, exits, reason, exitStatus, why, output };
}

async function expectTheSame(of: BootOf, thresholds: readonly number[], most?: number): Promise<void> {
  const plain = await boot({ ...of, translate: false }, most);
  for (const translate of thresholds) {
    const translated = await boot({ ...of, translate }, most);
    expect(seen(translated)).toEqual(seen(plain));
    expect(translated.report.statistics?.[SHARE]).toBeGreaterThan(plain.report.guestInstructions / 2);
  }
}

describe.skipIf(amd64.missing !== '')(titled('Debian amd64, translated', amd64), () => {
  const of = (): BootOf => ({
    image: readFileSync(amd64.value.kernel),
    initramfs: amd64.value.initramfs,
    mode: 'off',
    append: QUICK,
  });

  it('boots as it does interpreted', { timeout: BOOT_TIMEOUT }, () => expectTheSame(of(), [200, 5000]));
  it('is the same in the middle', { timeout: BOOT_TIMEOUT }, () => expectTheSame(of(), [50, 1000], PART));

  it('boots as it does with a profile, which names functions and processes', { timeout: BOOT_TIMEOUT }, async () => {
    let profile: CodeProfile | undefined;
    const reader = definePlugin({
      name: 'reader',
      uses: { profile: CodeProfileToken },
      apply: (_host, used) => void ({ profile } = used),
    });
    const what = { ...of(), mode: 'check', translate: true } as const;
    const plain = await boot(what);
    const profiled = await boot({ ...what, plugins: [introspection(), osLinux(), codeProfile(), reader] });
    expect(seen(profiled)).toEqual(seen(plain));
    const { code, samples, translated, instructions, every, statistics } = profile!.result!;
    expect(samples).toBe(Math.floor(instructions / every));
    // all that is not named ran before the kernel: it was unpacked
    const named = code.filter(({ of, place }) => of === 'kernel' && !place.startsWith('0x'));
    expect(named.reduce((sum, one) => sum + one.samples, 0)).toBeGreaterThan(samples / 2);
    expect(named.slice(0, 10).map(({ state }) => state)).toContain('translated');
    expect(code.some(({ of }) => !['kernel', 'user', 'nested'].includes(of))).toBe(true);
    // what is sampled agrees with what is counted
    expect(Math.abs(translated / samples - statistics[SHARE]! / instructions)).toBeLessThan(0.02);
  });
});

describe.skipIf(i386.missing !== '')(titled('Debian i386, translated', i386), () => {
  it('boots as it does interpreted', { timeout: BOOT_TIMEOUT }, () =>
    expectTheSame(
      { image: readFileSync(i386.value.kernel), initramfs: i386.value.initramfs, mode: 'off', append: QUICK },
      [50, 1000],
      2 * PART,
    ),
  );
});

describe.skipIf(seabios.missing !== '')(titled('SeaBIOS, translated', seabios), () => {
  // real and 16-bit protected mode, with 32-bit code between them
  it('starts as it does interpreted', { timeout: BOOT_TIMEOUT }, () =>
    expectTheSame(
      { image: readFileSync(join(seabios.value.root, 'usr/share/seabios/bios-256k.bin')) },
      [1, 50, 5000],
      SEABIOS,
    ),
  );
});
