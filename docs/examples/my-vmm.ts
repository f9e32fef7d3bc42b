import { vmx } from '@visorkit/backend-vmx';
import { bootFlat } from '@visorkit/boot-flat';
import { exits } from '@visorkit/exits';
import { compose } from '@visorkit/machine';
import { pcPlatform } from '@visorkit/pc';
import { GuestCode } from '@visorkit/testkit';

const vmm = compose({
  backend: vmx(),
  memory: '16M',
  time: 'virtual',
  boot: { image: new GuestCode().print('Hello from the guest.\n').cpuid().hlt().build(), loader: 'flat' },
  plugins: [...exits(), ...pcPlatform(), bootFlat()],
  console: { output: { write: (byte) => void process.stdout.write(String.fromCharCode(byte)) } },
});
vmm.hooks.exit.for('cpuid').tap((exit, { rip }) => console.log(`CPUID at 0x${rip.toString(16)}`));
const { why, guestInstructions } = await vmm.run();
console.log(`${why} ${guestInstructions} instructions.`);
await vmm.dispose();
