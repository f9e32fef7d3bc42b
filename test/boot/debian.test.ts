/**
 * Unmodified Debian kernels, on virtual time. One boot of each kernel serves several claims; where no Debian package can be had the
 * tests are skipped, and say why.
 */
import { existsSync, readFileSync } from 'node:fs';
import { CaptureOutput, PushInput } from '@visorkit/machine';
import { extractVmlinux } from '@visorkit/formats';
import { GUEST_READY, fetchDebianPackage, guestParameters, parseChecks, prepareDebianGuest } from '@visorkit/guests';
import type { DebianGuest, GuestMode } from '@visorkit/guests';
import type { StopReport } from '@visorkit/core';
import { assemble } from 'visorkit';
import { describe, expect, it } from 'vitest';
import { join } from 'node:path';

const MINUTES = 60_000;
const MEMORY = 256 << 20;

/** The guest, or why there is none. */
async function guestOf(arch: 'amd64' | 'i386'): Promise<DebianGuest | string> {
  try {
    return await prepareDebianGuest({ arch });
  } catch (error) {
    return (error as Error).message;
  }
}
const amd64 = await guestOf('amd64');
const i386 = await guestOf('i386');
const firmware = await fetchDebianPackage('seabios').then((found) => join(found.root, 'usr/share/seabios/bios-256k.bin'), (error: Error) => error);

/** Says out loud why a group of tests is skipped. */
function available<T>(what: string, found: T | string | Error): found is T {
  if (typeof found === 'string' && !existsSync(found)) console.warn(`skipped: ${what}: ${found}`);
  else if (found instanceof Error) console.warn(`skipped: ${what}: ${found.message}`);
  else return true;
  return false;
}

interface Boot {
  readonly report: StopReport;
  readonly output: string;
}

interface BootOf {
  readonly image: Uint8Array;
  readonly mode?: GuestMode;
  readonly initramfs?: string;
  readonly append?: string;
  readonly maxInstructions?: number;
  /** Lines typed as soon as the prompt is there. */
  readonly typed?: readonly string[];
}

async function boot({ image, mode = 'off', initramfs, append = '', maxInstructions = 20e9, typed = [] }: BootOf): Promise<Boot> {
  const output = new CaptureOutput();
  const input = new PushInput();
  const lines = [...typed];
  let tail = '';
  // A person types when the prompt shows; the guest's output is the only clock here
  const watching = {
    write(byte: number): void {
      output.write(byte);
      tail = (tail + String.fromCharCode(byte)).slice(-4);
      if (tail.endsWith('# ') && lines.length > 0) input.push(Buffer.from(`${lines.shift()}\n`));
    },
  };
  await using vmm = await assemble({
    backend: 'vmx', memory: MEMORY, cpus: 1, time: 'virtual', debugExit: false, plugins: [], console: { output: watching, input },
    boot: {
      image, commandLine: `console=ttyS0 ${append} ${guestParameters({ mode })}`,
      modules: initramfs === undefined ? [] : [{ name: 'initramfs', data: readFileSync(initramfs) }],
    },
  });
  const report = await vmm.run({ maxInstructions });
  return { report, output: output.text };
}

const poweredOff = { reason: 'power-off', exitStatus: 0 };

describe.skipIf(!available('Debian amd64', amd64))('Debian amd64 cloud kernel', () => {
  const guest = amd64 as DebianGuest;

  it('boots its bzImage with KASLR; programs give the known answers; power-off ends it', async () => {
    const { report, output } = await boot({ image: readFileSync(guest.kernel), mode: 'programs', initramfs: guest.initramfs });
    expect(report).toMatchObject(poweredOff);
    expect(output).toContain('Linux version');
    expect(output).not.toContain('KASLR disabled');
    expect(output).not.toMatch(/Oops|BUG:|Call Trace|Kernel panic/);
    const checks = parseChecks(output);
    for (const name of ['sha256sum-file', 'gzip-round-trip', 'awk-pi', 'bc-pi', 'dc-power', 'md5sum-file']) {
      expect(checks.find((check) => check.name === name), name).toMatchObject({ ok: true });
    }
    expect(checks.filter(({ ok }) => !ok)).toEqual([]);
    expect(output).toMatch(/^CHECKS ok/m);
  }, 5 * MINUTES);

  it('gives a shell on the serial console that runs what is typed', async () => {
    const { report, output } = await boot({
      image: readFileSync(guest.kernel), mode: 'shell', initramfs: guest.initramfs, append: 'quiet',
      typed: ['echo $((6*7))-answer', 'uname -m', 'poweroff'],
    });
    expect(report).toMatchObject(poweredOff);
    expect(output).toContain('42-answer');
    expect(output).toMatch(/^x86_64\r?$/m);
  }, 3 * MINUTES);

  it('boots its vmlinux through PVH', async () => {
    const { report, output } = await boot({ image: extractVmlinux(readFileSync(guest.kernel)), initramfs: guest.initramfs });
    expect(report).toMatchObject(poweredOff);
    expect(output).toContain(GUEST_READY);
  }, 3 * MINUTES);

  it('is the same run twice on virtual time, to the instruction and the byte', async () => {
    // far enough to have interrupts, timers and device accesses behind it
    const start = { image: readFileSync(guest.kernel), initramfs: guest.initramfs, maxInstructions: 500e6 };
    const first = await boot(start), second = await boot(start);
    expect(first.report.reason).toBe('max-instructions');
    expect(first.report.guestInstructions).toBe(500e6);
    expect(second.output).toBe(first.output);
    expect(second.report.exits).toEqual(first.report.exits);
    expect(second.report.guestNanoseconds).toBe(first.report.guestNanoseconds);
    expect(first.output.length).toBeGreaterThan(1000);
  }, 3 * MINUTES);
});

describe.skipIf(!available('Debian i386', i386))('Debian i386 kernel', () => {
  const guest = i386 as DebianGuest;

  it('boots to i386 busybox, whose checks pass, and powers off', async () => {
    const { report, output } = await boot({ image: readFileSync(guest.kernel), mode: 'check', initramfs: guest.initramfs, append: 'quiet' });
    expect(report).toMatchObject(poweredOff);
    expect(output).toMatch(/i686/);
    expect(output).toMatch(/^CHECKS ok/m);
  }, 6 * MINUTES);
});

describe.skipIf(!available('SeaBIOS', firmware))('SeaBIOS', () => {
  it('starts at the reset vector and reaches its boot menu text', async () => {
    const { output } = await boot({ image: readFileSync(firmware as string), maxInstructions: 50e6 });
    expect(output).toContain('SeaBIOS');
    expect(output).toContain('Press ESC for boot menu');
  }, MINUTES);
});
