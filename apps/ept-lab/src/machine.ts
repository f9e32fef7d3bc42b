/** The machine of the labs: 16 MiB, one processor, and a port that prints. */
import { readFileSync } from 'node:fs';
import { vmx } from '@visorkit/backend-vmx';
import { bootFlat } from '@visorkit/boot-flat';
import { definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { exits } from '@visorkit/exits';
import { PortBusToken, compose } from '@visorkit/machine';
import * as labs from './labs.js';

const image = readFileSync(new URL('../guest/guest.bin', import.meta.url));

/** The labs by name, each with its number in the guest. */
export const LABS = {
  tables: [0, labs.tables, labs.hypercall],
  hypercall: [0, labs.hypercall],
  vmfunc: [1, labs.twoViews],
  hidden: [2, labs.hidden],
  watched: [3, labs.watched],
  exception: [4, labs.exception],
  logged: [5, labs.logged],
} as const;

/** Runs a lab; the last line says which exits there were. */
export async function runLab(name: keyof typeof LABS, print: (line: string) => void): Promise<void> {
  const [number, ...made] = LABS[name];
  // Only the first of several is what the lab is about
  const plugins = made.map((make, at) => make(at === 0 ? print : () => {}));
  await using vmm = compose({
    backend: vmx(),
    memory: '16M',
    time: 'virtual',
    plugins: [...exits(), bootFlat(), printer(print), ...plugins],
    boot: { image, loader: 'flat', options: { mode: 'long64', address: 0x10_0000, registers: { rax: number } } },
  });
  const { exits: counts } = await vmm.run();
  print(
    `exits: ${Object.entries(counts)
      .map(([exit, count]) => `${exit} ${count}`)
      .join(', ')}`,
  );
}

/** Port 0xe9: whole lines of what the guest prints. */
function printer(print: (line: string) => void): Plugin {
  let line = '';
  return definePlugin({
    name: 'printer',
    uses: { ports: PortBusToken },
    apply(_host, { ports }) {
      const writePort = (_port: number, _size: number, value: number): void => {
        if (value !== 10) line += String.fromCharCode(value);
        else {
          print(`guest: ${line}`);
          line = '';
        }
      };
      ports.register(0xe9, 1, { readPort: () => 0xff, writePort }, 'printer');
    },
  });
}
