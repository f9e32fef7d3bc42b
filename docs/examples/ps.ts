import { openDumpFile } from '@visorkit/project/introspection';
import { Vmi } from '@visorkit/vmi';
import type { OsProfile } from '@visorkit/vmi';

/** What ran when a memory dump was made. `profiles`: the systems that are known, such as `profile` of @visorkit/os-linux. */
export async function ps(path: string, profiles: readonly OsProfile[]): Promise<string[]> {
  using file = await openDumpFile(path);
  const vmi = new Vmi(file.memory, { profiles, known: () => file.known });
  return [...vmi.kernel.processes()].map(({ pid, name }) => `${pid} ${name}`);
}
