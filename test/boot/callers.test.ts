/** Who has called the kernel's code: told from outside by the kernel's unwind tables, and by the kernel itself when it panics. */
import { LinuxKernel } from '@visorkit/os-linux';
import { readSavedVm } from '@visorkit/project';
import { LiveMemory } from '@visorkit/vmi';
import { describe, expect, it } from 'vitest';
import { bootedDebian, bootedOf } from './booted.js';
import { BOOT_TIMEOUT, find, machineOf, titled } from './boots.js';
import { prepareDebianGuest } from '@visorkit/guests';
import type { DebianGuestOptions } from '@visorkit/guests';

const KERNELS: readonly (readonly [name: string, from: DebianGuestOptions])[] = [
  ['6.1', {}],
  [
    '6.12 of bookworm-backports, whose entries have other types',
    { kernel: 'linux-image-cloud-amd64', suite: 'bookworm-backports' },
  ],
  ['5.10 of bullseye', { kernel: 'linux-image-cloud-amd64', suite: 'bullseye' }],
];
/** Enough to print a call trace on a serial line. */
const PANIC_TAKES = 200_000_000;

for (const [name, from] of KERNELS) {
  const found = await find(() => prepareDebianGuest(from));
  describe.skipIf(found.missing !== '')(
    titled(`Callers in Debian's kernel ${name}`, found),
    { timeout: BOOT_TIMEOUT },
    () => {
      it('are those that it prints', async () => {
        const file = await readSavedVm(await bootedDebian(found.value));
        await using machine = await machineOf({ ...bootedOf(found.value), typed: ['echo c > /proc/sysrq-trigger'] });
        const { vmm } = machine;
        await vmm.restore(file);
        await vmm.run({ maxInstructions: PANIC_TAKES });
        const [, trace] = /Call Trace:([\s\S]*?)Kernel Offset/.exec(machine.console.text) ?? [];
        const printed = [...(trace ?? '').matchAll(/\]\s+((?!\? )[\w.]+\+0x[0-9a-f]+)\/0x/g)].map(([, place]) => place);
        expect(printed.length).toBeGreaterThan(8);
        const [vcpu] = vmm.vcpus;
        const kernel = LinuxKernel.find(new LiveMemory(vmm.memory))!;
        const told = [...kernel.callers(vcpu)].map((address) => {
          const { symbol, offset } = kernel.symbols.nearest(address)!;
          return `${symbol.name}+0x${offset.toString(16)}`;
        });
        // panic itself has gone on since
        const from = printed.findIndex((place) => place.startsWith('sysrq_handle_crash+'));
        expect(from).toBeGreaterThan(0);
        expect(told.slice(-(printed.length - from))).toEqual(printed.slice(from));
        expect(told.some((place) => place.startsWith('panic+'))).toBe(true);
      });
    },
  );
}
