/** Debian's Xen finds VMX, and runs Debian's kernel as a paravirtualised dom0 to its power-off. */
import { readFileSync, readdirSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { join } from 'node:path';
import { extractVmlinux } from '@visorkit/formats';
import { checksPassed, fetchDebianPackage, guestParameters, prepareDebianGuest } from '@visorkit/guests';
import { nestedVmx } from '@visorkit/nested-vmx';
import { describe, expect, it } from 'vitest';
import { BOOT_TIMEOUT, POWERED_OFF, QUICK, boot, find, titled } from './boots.js';

const found = await find(async () => {
  const xen = await fetchDebianPackage('xen-hypervisor-4.17-amd64');
  // The cloud kernel is built without CONFIG_XEN_DOM0: it has no console there
  const guest = await prepareDebianGuest({ kernel: 'linux-image-amd64' });
  const folder = join(xen.root, 'boot');
  return { guest, xen: join(folder, readdirSync(folder).find((name) => /^xen-.*-amd64\.gz$/.test(name))!) };
});

describe.skipIf(found.missing !== '')(titled("Debian's Xen", found), () => {
  it(
    'finds VMX and nested paging, and its dom0 passes its checks and switches the machine off',
    async () => {
      const { guest, xen } = found.value;
      const { report, output } = await boot({
        image: gunzipSync(readFileSync(xen)),
        append: 'console=com1 dom0_mem=256M',
        modules: [
          {
            name: `vmlinux console=hvc0 quiet ${QUICK} ${guestParameters({ mode: 'check' })}`,
            data: extractVmlinux(new Uint8Array(readFileSync(guest.kernel))),
          },
        ],
        initramfs: guest.initramfs,
        memory: 512 << 20,
        plugins: [nestedVmx()],
      });
      expect(output).toContain('HVM: VMX enabled');
      expect(output).toContain('HVM: Hardware Assisted Paging (HAP) detected');
      expect(output).toContain('HVM: HAP page sizes: 4kB, 2MB, 1GB');
      expect(checksPassed(output)).toBe(true);
      expect(report).toMatchObject(POWERED_OFF);
    },
    BOOT_TIMEOUT,
  );
});
