/** The test devices beside a standard PC. */
import { expect, it } from 'vitest';
import { pcTestdev, pciTestdev } from '@visorkit/pc-testdev';
import { PortBusToken, compose } from '@visorkit/machine';
import { FakeBackend } from '@visorkit/testkit';
import { pcPlatform } from './pc-platform.js';

it('the test devices fit into a standard PC', async () => {
  const vmm = compose({
    backend: new FakeBackend(),
    memory: '4M',
    cpus: 1,
    time: 'virtual',
    plugins: [...pcPlatform({ debugExit: true }), pcTestdev(), pciTestdev()],
  });
  await vmm.create();
  const ports = vmm.services.get(PortBusToken);
  const owners = [0xe0, 0xe4, 0xe9, 0xf1, 0xf4, 0x2000, 0xc000].map((port) => ports.ownerOf(port));
  expect(owners).toEqual([
    'pc-testdev',
    'pc-testdev',
    'debugcon',
    'pc-testdev',
    'isa-debug-exit',
    'pc-testdev',
    'pci-testdev',
  ]);
  await vmm.dispose();
});
