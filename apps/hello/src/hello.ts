/**
 * The guest of the KVM API example: it adds 2 and 2, prints the digit to port 0x3f8 and halts. `--verbose` shows its exits,
 * `--backend kvm` runs it on this machine's own processor.
 */
import { parseArgs } from 'node:util';
import { VmxBackend } from '@visorkit/backend-vmx';
import { BootFlatPlugin } from '@visorkit/boot-flat';
import { ExitReason, exitReasonName, fail } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { hlt, io } from '@visorkit/exits';
import { compose, PortBusToken } from '@visorkit/machine';

const {
  values: { backend: name, verbose },
} = parseArgs({ options: { backend: { type: 'string', default: 'vmx' }, verbose: { type: 'boolean' } } });
const backend =
  name === 'kvm'
    ? (await import('@visorkit/backend-kvm')).kvm()
    : name === 'vmx'
      ? new VmxBackend()
      : fail('OPTION_VALUE', `--backend takes vmx or kvm, not "${name}".`);

const guest = Uint8Array.of(
  0xba,
  0xf8,
  0x03,
  0x00,
  0xd8, // mov dx, 0x3f8; add al, bl
  0x04,
  0x30,
  0xee, //             add al, '0'; out dx, al
  0xb0,
  0x0a,
  0xee, //             mov al, '\n'; out dx, al
  0xf4, //                         hlt
);
const printer: Plugin = {
  name: 'printer',
  requires: { services: [PortBusToken] },
  apply({ hooks, services }) {
    const writePort = (_port: number, _size: number, value: number): void =>
      void process.stdout.write(String.fromCharCode(value));
    services.get(PortBusToken).register(0x3f8, 1, { readPort: () => 0xff, writePort }, 'printer');
    if (verbose !== true) return;
    hooks.afterExit.tap('printer', ({ reason, io: { port, value } }, { rip }) => {
      const what = reason === ExitReason.IO ? `, ${value} to port 0x${port.toString(16)}` : '';
      console.error(`exit ${reason} (${exitReasonName(reason)}) at 0x${rip.toString(16)}${what}`);
    });
  },
};

await using vmm = compose({
  backend,
  memory: '64K',
  time: backend.capabilities.has('virtual-time') ? 'virtual' : 'real',
  plugins: [io(), hlt(), new BootFlatPlugin(), printer],
  boot: { image: guest, loader: 'flat', options: { address: 0x1000, registers: { rax: 2, rbx: 2 } } },
});
process.exitCode = (await vmm.run()).exitStatus;
