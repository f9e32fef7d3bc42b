/** Guests run translated as they run interpreted: the same output, exits and instructions, wherever the run ends. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { fetchDebianPackage } from '@visorkit/guests';
import { osLinux } from '@visorkit/os-linux';
import { keepTranslations } from '@visorkit/project';
import { CodeProfileToken, codeProfile } from '@visorkit/trace';
import type { CodeProfile } from '@visorkit/trace';
import { introspection } from '@visorkit/vmi';
import { afterAll, describe, expect, it } from 'vitest';
import { BOOT_TIMEOUT, QUICK, boot, find, findDebianGuest, titled } from './boots.js';
import type { Boot, BootOf } from './boots.js';

const amd64 = await findDebianGuest('amd64'),
  i386 = await findDebianGuest('i386'),
  seabios = await find(() => fetchDebianPackage('seabios'));
/** The first part of a boot, in which its kernel is unpacked. */
const PART = 250e6;
/** To the boot menu of SeaBIOS. */
const SEABIOS = 50e6;
const LSTAR = 0xc000_0082;
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

  const folder = mkdtempSync(join(tmpdir(), 'visorkit-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  it('boots as it does with what an earlier boot has translated, at another address', {
    timeout: BOOT_TIMEOUT,
  }, async () => {
    const addresses: bigint[] = []; // of the kernel's system call entry
    const where = definePlugin({
      name: 'where',
      apply: ({ hooks, vcpus }) => hooks.paused.tap(() => void addresses.push(vcpus[0]!.readMsr(LSTAR))),
    });
    const kept = (): readonly Plugin[] => [keepTranslations(join(folder, 'code')), where];
    const first = await boot({ ...of(), translate: true, plugins: kept() });
    // the kernel chooses its address by a clock, which is another behind a longer command line
    const other = { ...of(), append: `${QUICK} audit=0`, translate: true } as const;
    const again = await boot({ ...other, plugins: kept() });
    expect(addresses[0]).toBeGreaterThan(0xffff_ffff_8000_0000n);
    expect(addresses[1]).not.toBe(addresses[0]);
    expect(seen(again)).toEqual(seen(await boot(other)));
    const before = first.report.statistics!,
      after = again.report.statistics!;
    expect(after['regions of earlier runs']).toBeGreaterThan(before['regions translated']! / 2);
    expect(after['instructions translated']).toBeLessThan(before['instructions translated']! / 2);
    expect(again.report.guestInstructions - after[SHARE]!).toBeLessThan(
      (first.report.guestInstructions - before[SHARE]!) * 0.75,
    );
  });

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
