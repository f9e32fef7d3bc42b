/** The labs as a command: `guid FILE`, `cr3 [COUNT]`, `processes FILE`, `map-symbol FILE NAME [SYSTEM.MAP]`. */
import { readFileSync } from 'node:fs';
import { vmx } from '@visorkit/backend-vmx';
import { bootLinux } from '@visorkit/boot-linux';
import { definePlugin, isVisorkitError } from '@visorkit/core';
import { exits } from '@visorkit/exits';
import { guestParameters, prepareDebianGuest } from '@visorkit/guests';
import { compose, nullOutput } from '@visorkit/machine';
import { profile as linux } from '@visorkit/os-linux';
import { profile as windows } from '@visorkit/os-windows';
import { pcPlatform } from '@visorkit/pc';
import { openDump, openSymbolFile } from '@visorkit/project/introspection';
import { VmiEventsToken, introspectionEvents } from '@visorkit/vmi';
import type { Vmi } from '@visorkit/vmi';
import { mapSymbol, processList, processSwitches, whichWindows } from './labs.js';

const USAGE = 'introspect guid FILE | cr3 [COUNT] | processes FILE | map-symbol FILE NAME [SYSTEM.MAP]';
const print = (line: string): void => console.log(line);

/** What a file holds: a memory dump of any kind, or a saved VM. */
async function inFile(path: string, look: (vmi: Vmi) => void): Promise<void> {
  using vmi = await openDump(path, { profiles: [linux, windows] });
  look(vmi);
}

/** Boots Debian, and stops after so many changes of CR3. */
async function switchesOfDebian(count: number): Promise<void> {
  const guest = await prepareDebianGuest();
  const limit = definePlugin({
    name: 'limit',
    uses: { events: VmiEventsToken },
    apply(_host, { events }) {
      let left = count;
      events.register({ register: 'cr3', onChange: true }, () =>
        --left === 0 ? { pause: `${count} changes of CR3 have been told` } : undefined,
      );
    },
  });
  await using vmm = compose({
    backend: vmx(),
    memory: '256M',
    time: 'virtual',
    console: { output: nullOutput },
    plugins: [
      ...exits(),
      ...pcPlatform({ debugExit: false, firmwareDebug: nullOutput, debugConsole: nullOutput, fwCfg: {} }),
      bootLinux(),
      introspectionEvents(),
      processSwitches(print),
      limit,
    ],
    boot: {
      image: readFileSync(guest.kernel),
      commandLine: `console=ttyS0 quiet ${guestParameters({ mode: 'shell' })}`,
      modules: [{ name: 'initramfs', data: readFileSync(guest.initramfs) }],
    },
  });
  await vmm.run();
}

/** The exit status. */
async function main([lab, file, name, map]: readonly string[]): Promise<number> {
  if (lab === 'cr3') await switchesOfDebian(Number(file ?? 20));
  else if (lab === 'guid' && file !== undefined) await inFile(file, (vmi) => whichWindows(vmi, print));
  else if (lab === 'processes' && file !== undefined) await inFile(file, (vmi) => processList(vmi, print));
  else if (lab === 'map-symbol' && file !== undefined && name !== undefined)
    await inFile(file, (vmi) =>
      mapSymbol(vmi, name, print, map === undefined ? undefined : openSymbolFile(map).symbols),
    );
  else {
    console.error(USAGE);
    return 2;
  }
  return 0;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (!isVisorkitError(error)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
