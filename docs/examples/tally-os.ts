import { AddressSpace, SymbolList, defineOsProfile } from '@visorkit/vmi';
import type { GuestProcess } from '@visorkit/vmi';

/** Where Tally, an operating system of 64 bytes, has its name, and behind it its tasks: a number and a name of 7 letters each. */
const NAME = 0x3000n;
const TASKS = 0x3008n;

export const profile = defineOsProfile({
  name: 'tally',
  describe: 'Tally, which lies at 3000H',
  find(memory) {
    const space = new AddressSpace(memory, 'none'); // or '4-level' and so on, with a root
    const isThere = (): boolean => memory.u32(Number(NAME)) === 0x4c4c_4154; // "TALL"
    if (!isThere()) return undefined;
    return {
      os: 'tally',
      release: space.text(NAME, 8),
      memory,
      space,
      isThere,
      symbols: new SymbolList('what is known of Tally', [{ name: 'tasks', address: TASKS, type: 'D' }]),
      types: { source: 'Tally has none', pointerSize: 4, type: () => undefined },
      *processes(): Generator<GuestProcess> {
        for (let address = TASKS; space.u8(address) !== 0; address += 8n)
          yield { pid: space.u8(address), ppid: 0, name: space.text(address + 1n, 7), address, root: undefined };
      },
      modules: () => [],
    };
  },
  reports: {
    longest: {
      describe: 'the task with the longest name',
      columns: [{ title: 'PID', kind: 'number' }, { title: 'NAME' }],
      *rows(kernel) {
        const [task] = [...kernel.processes()].sort((a, b) => b.name.length - a.name.length);
        if (task !== undefined) yield [task.pid, task.name];
      },
    },
  },
});
