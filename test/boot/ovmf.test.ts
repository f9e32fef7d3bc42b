/** UEFI firmware, OVMF of Debian's package: to its shell, and with Debian's unmodified kernel, which it starts as an EFI application. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { GUEST_READY, checksPassed, fetchDebianPackage } from '@visorkit/guests';
import { beforeAll, describe, expect, it } from 'vitest';
import { BOOT_TIMEOUT, POWERED_OFF, boot, complaints, find, findDebianGuest, titled } from './boots.js';
import type { Boot } from './boots.js';

const found = await find(() => fetchDebianPackage('ovmf'));
const firmware = (): Uint8Array => readFileSync(join(found.value.root, 'usr/share/ovmf/OVMF.fd'));
const kernel = await findDebianGuest('amd64');

describe.skipIf(found.missing !== '')(titled('UEFI firmware', found), () => {
  let run: Boot;
  beforeAll(async () => {
    run = await boot({ image: firmware(), typed: ['pci', 'reset -s'], shell: { prompt: 'Shell> ', enter: '\r' } });
  }, BOOT_TIMEOUT);

  it('starts its shell on the serial port', () => {
    expect(run.output).toContain('UEFI Interactive Shell v2.');
    expect(run.output).toMatch(/UEFI v2\.\d+ \(EDK II/);
  });

  it('finds the bridges and the power management of the PC', () => {
    expect(run.output).toMatch(/Vendor 8086 Device 1237[\s\S]*Vendor 8086 Device 7000[\s\S]*Vendor 8086 Device 7113/);
  });

  it('switches the machine off', () => {
    expect(run.report).toMatchObject(POWERED_OFF);
  });
});

describe.skipIf(found.missing + kernel.missing !== '')(
  titled('Debian amd64 under UEFI', found.missing === '' ? kernel : found),
  () => {
    let run: Boot;
    const log: string[] = [];
    beforeAll(async () => {
      const { kernel: file, initramfs } = kernel.value;
      run = await boot({
        image: readFileSync(file),
        firmware: firmware(),
        initramfs,
        mode: 'check',
        append: 'cryptomgr.notests',
        onLine: (line) => log.push(line),
      });
    }, BOOT_TIMEOUT);

    it('is started by its EFI stub, with the RAM disk and the command line of fw_cfg', () => {
      expect(run.output).toContain('EFI stub: Loaded initrd from LINUX_EFI_INITRD_MEDIA_GUID device path');
      expect(run.output).toMatch(/Command line: console=ttyS0 cryptomgr\.notests/);
      expect(run.output).toMatch(/efi: EFI v2\.\d+ by EDK II/);
      expect(run.output).toContain('Registered efivars operations');
    });

    it('passes its checks and powers off', () => {
      expect(log).toContain(GUEST_READY);
      expect(checksPassed(run.output)).toBe(true);
      expect(run.report).toMatchObject(POWERED_OFF);
    });

    it('complains of nothing', () => expect(complaints(run.output)).toEqual([]));
  },
);
