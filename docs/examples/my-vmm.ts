import { VmxBackend } from '@visorkit/backend-vmx';
import { BootFlatPlugin } from '@visorkit/boot-flat';
import type { Plugin } from '@visorkit/core';
import { exits } from '@visorkit/exits';
import { compose } from '@visorkit/machine';
import { pcPlatform } from '@visorkit/pc';
import { GuestCode } from '@visorkit/testkit';

const image = new GuestCode().print('Hello from the guest.\n').cpuid().hlt().build();
const watchCpuid: Plugin = {
  name: 'watch-cpuid',
  apply({ hooks }) {
    hooks.exit.for('cpuid').tap('watch-cpuid', (exit, vcpu) => console.log(`CPUID at 0x${vcpu.rip.toString(16)}`));
  },
};
const vmm = compose({
  backend: new VmxBackend(),
  memory: '16M',
  time: 'virtual',
  boot: { image, loader: 'flat' },
  plugins: [...exits(), ...pcPlatform(), new BootFlatPlugin(), watchCpuid],
  console: { output: { write: (byte) => void process.stdout.write(String.fromCharCode(byte)) } },
});
const { why, guestInstructions } = await vmm.run();
console.log(`${why} ${guestInstructions} instructions.`);
await vmm.dispose();
