/** The test devices beside a standard PC. */
import { expect, it } from 'vitest';
import { PcTestPlugin, PciTestPlugin } from '@visorkit/pc-testdev';
import { PciBusToken, PortBusToken, compose } from '@visorkit/machine';
import type { Plugin } from '@visorkit/core';
import { FakeBackend } from '@visorkit/testkit';
import { pcPlatform } from './pc-platform.js';

it('the test devices fit into a standard PC', async () => {
  const owners: (string | undefined)[] = [];
  const spy: Plugin = {
    name: 'spy',
    requires: { services: [PciBusToken] },
    apply: ({ hooks, services }) =>
      void hooks.created.tap('spy', () => {
        const ports = services.get(PortBusToken);
        owners.push(...[0xe0, 0xe4, 0xe9, 0xf1, 0xf4, 0x2000, 0xc000].map((port) => ports.ownerOf(port)));
      }),
  };
  const vmm = compose({
    backend: new FakeBackend(),
    memory: '4M',
    cpus: 1,
    time: 'virtual',
    plugins: [...pcPlatform({ debugExit: true }), new PcTestPlugin(), new PciTestPlugin(), spy],
  });
  await vmm.create();
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
