/**
 * Debian's unmodified amd64 cloud kernel. One boot is looked at from all sides; a second one, paused again and again, must be the
 * same run; a third begins in its middle.
 */
import { readFileSync } from 'node:fs';
import { extractVmlinux } from '@visorkit/formats';
import { GUEST_READY, parseChecks, programsScript } from '@visorkit/guests';
import type { SavedVm, StopReport } from '@visorkit/core';
import { readSavedVm } from '@visorkit/project';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  BOOT_TIMEOUT,
  POWERED_OFF,
  QUICK,
  SHELL,
  boot,
  checkNames,
  complaints,
  findDebianGuest,
  machineOf,
  titled,
} from './boots.js';
import { bootedDebian, bootedOf } from './booted.js';
import type { Boot, BootOf } from './boots.js';

const found = await findDebianGuest('amd64');
const guest = found.value;

describe.skipIf(found.missing !== '')(titled('Debian amd64', found), () => {
  const whole = (): BootOf => ({ image: readFileSync(guest.kernel), mode: 'programs', initramfs: guest.initramfs });
  let first: Boot;
  beforeAll(async () => {
    first = await boot(whole());
  }, BOOT_TIMEOUT);

  describe('bzImage', () => {
    it('boots, runs programs, and powers off', () => {
      expect(first.report).toMatchObject(POWERED_OFF);
      expect(first.output).toContain(GUEST_READY);
      expect(first.output).toMatch(/^CHECKS ok/m);
    });

    it.each(checkNames(programsScript()))('check %s', (name) => {
      expect(parseChecks(first.output).find((check) => check.name === name)).toMatchObject({ ok: true });
    });

    it('complains of nothing in its log', () => {
      expect(complaints(first.output)).toEqual([]);
    });

    it.each([
      ['the frequency of its time stamp counter', /tsc: Detected 1000\.000 MHz processor/],
      ['the time stamp counter as a clock', /clocksource: Switched to clocksource tsc\r?$/m],
      ['the timer by deadlines of the local APIC', /TSC deadline timer available/],
      ['the I/O APIC', /IOAPIC\[0\]: apic_id 0, version 32, address 0xfec00000, GSI 0-23/],
      ['the timer through the I/O APIC', /\.\.TIMER: vector=0x30 apic1=0 pin1=2/],
      ['the HPET', /hpet0: 3 comparators, 64-bit 100\.000000 MHz counter/],
      ['the ACPI timer', /clocksource: acpi_pm/],
      ['sleep states', /ACPI: PM: \(supports S0.* S5\)/],
      ['the PCI host bridge', /pci 0000:00:00\.0: \[8086:1237\]/],
      ['the UART', /ttyS0 at I\/O 0x3f8 \(irq = 4, base_baud = 115200\) is a 16550A/],
      ['keyboard and mouse', /i8042: PNP: PS\/2 Controller .* irq 1,12/],
      ['the time of the clock', /setting system clock to 2024-01-01T00:00:0\d UTC/],
      ['AVX', /Supporting XSAVE feature 0x004: 'AVX registers'/],
      ['nothing to mitigate with detours', /Spectre V2 : Mitigation: Enhanced/],
    ])('finds %s', (_what, line) => {
      expect(first.output).toMatch(line);
    });
  });

  describe('the same run', () => {
    /** State in the middle, with what was said and what had happened up to there. */
    interface Middle {
      readonly saved: SavedVm;
      readonly output: string;
    }
    let again: Boot, middle: Middle;
    let pauses = 0;

    beforeAll(async () => {
      let machine: Awaited<ReturnType<typeof machineOf>> | undefined;
      let save = false;
      // The guest asks for a pause by what it says, the host's clock by its own will: neither may be seen in the run
      const onLine = (line: string): void => {
        save ||= line.includes('Run /init as init process');
        if (save || line.includes('ACPI')) void machine?.vmm.pause();
      };
      await using running = (machine = await machineOf({ ...whole(), onLine }));
      const { vmm } = running;
      await vmm.load();
      const host = setInterval(() => {
        if (vmm.state === 'running') void vmm.pause();
      }, 100);
      let report: StopReport;
      while ((report = await vmm.run()).reason === 'paused') {
        pauses++;
        if (save && middle === undefined) {
          middle = { saved: structuredClone(vmm.save()), output: running.console.text };
          save = false;
        }
      }
      clearInterval(host);
      again = { report, output: running.console.text, debug: running.debug.text };
    }, BOOT_TIMEOUT);

    const same = ({ guestInstructions, guestNanoseconds, exits }: StopReport): unknown => ({
      guestInstructions,
      guestNanoseconds,
      exits,
    });

    it('comes of the same input, however often the host pauses it', () => {
      expect(pauses).toBeGreaterThan(20);
      expect(again.output).toBe(first.output);
      expect(same(again.report)).toEqual(same(first.report));
    });

    it(
      'goes on in another machine from a state in the middle',
      async () => {
        await using other = await machineOf(whole());
        const { vmm } = other;
        await vmm.restore(middle.saved);
        const report = await vmm.run();
        expect(middle.output + other.console.text).toBe(first.output);
        expect(report.guestInstructions).toBe(first.report.guestInstructions);
        expect(report.guestNanoseconds).toBe(first.report.guestNanoseconds);
      },
      BOOT_TIMEOUT,
    );
  });

  it(
    'gives a shell on the serial console that runs what is typed',
    async () => {
      const saved = await readSavedVm(await bootedDebian(guest));
      await using machine = await machineOf({
        ...bootedOf(guest),
        typed: [
          'echo $((6*7))-answer',
          'uname -m',
          'grep "Kernel code" /proc/iomem',
          'ls /proc/self/exe && cat /no/such/file || echo status $?',
          'poweroff',
        ],
      });
      await machine.vmm.restore(saved);
      machine.input.push(Buffer.from(SHELL.enter));
      expect(await machine.vmm.run()).toMatchObject(POWERED_OFF);
      const lines = machine.console.text.split(/\r?\n/);
      expect(lines).toContain('42-answer');
      expect(lines).toContain('x86_64');
      expect(lines).toContain('status 1');
      // KASLR: the kernel has chosen another place than the one it is linked for
      const code = lines.find((line) => /^ +[0-9a-f]+-[0-9a-f]+ : Kernel code/.test(line));
      expect(code).toBeDefined();
      expect(parseInt(code!, 16)).not.toBe(0x1000000);
    },
    BOOT_TIMEOUT,
  );

  it(
    'boots its vmlinux through PVH',
    async () => {
      const { report, output } = await boot({
        image: extractVmlinux(readFileSync(guest.kernel)),
        mode: 'off',
        initramfs: guest.initramfs,
        append: QUICK,
      });
      expect(report).toMatchObject(POWERED_OFF);
      expect(output).toContain(GUEST_READY);
      expect(complaints(output)).toEqual([]);
    },
    BOOT_TIMEOUT,
  );

  it(
    'boots its bzImage through the 32-bit entry',
    async () => {
      const { report, output } = await boot({
        image: readFileSync(guest.kernel),
        mode: 'off',
        initramfs: guest.initramfs,
        append: `quiet ${QUICK}`,
        options: { entry: 32 },
      });
      expect(report).toMatchObject(POWERED_OFF);
      expect(output).toContain(GUEST_READY);
    },
    BOOT_TIMEOUT,
  );
});
