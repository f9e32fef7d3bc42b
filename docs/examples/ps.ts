import { openDump } from '@visorkit/project/introspection';
import type { OsProfile } from '@visorkit/vmi';

/** What ran when a memory dump was made. `profiles`: the systems that it may be; Linux, Windows and FreeBSD, where they are installed, unless given. */
export async function ps(path: string, profiles?: readonly OsProfile[]): Promise<string[]> {
  using vmi = await openDump(path, profiles && { profiles });
  return [...vmi.kernel.processes()].map(({ pid, name }) => `${pid} ${name}`);
}
