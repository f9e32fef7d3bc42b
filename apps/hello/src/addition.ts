/** The guest of the KVM API example and its machine, for any host: it adds 2 and 2, prints the digit to port 0x3f8 and halts. */
import { BootFlatPlugin } from '@visorkit/boot-flat';
import { ExitReason, exitReasonName } from '@visorkit/core';
import type { Backend, Plugin, Vmm } from '@visorkit/core';
import { hlt, io } from '@visorkit/exits';
import { compose, PortBusToken } from '@visorkit/machine';

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

/** The machine, on a backend. `print` gets what the guest prints, `trace` a line for each of its exits. */
export function addition(backend: Backend, print: (text: string) => void, trace?: (line: string) => void): Vmm {
  const printer: Plugin = {
    name: 'printer',
    requires: { services: [PortBusToken] },
    apply({ hooks, services }) {
      const writePort = (_port: number, _size: number, value: number): void => print(String.fromCharCode(value));
      services.get(PortBusToken).register(0x3f8, 1, { readPort: () => 0xff, writePort }, 'printer');
      if (trace === undefined) return;
      hooks.afterExit.tap('printer', ({ reason, io: { port, value } }, { rip }) => {
        const what = reason === ExitReason.IO ? `, ${value} to port 0x${port.toString(16)}` : '';
        trace(`exit ${reason} (${exitReasonName(reason)}) at 0x${rip.toString(16)}${what}`);
      });
    },
  };
  return compose({
    backend,
    memory: '64K',
    time: backend.capabilities.has('virtual-time') ? 'virtual' : 'real',
    plugins: [io(), hlt(), new BootFlatPlugin(), printer],
    boot: { image: guest, loader: 'flat', options: { address: 0x1000, registers: { rax: 2, rbx: 2 } } },
  });
}
