/** Files that have no name: pipes, sockets, timers, event counters. */
import type { OpenFile, SystemCall } from '@visorkit/linux-abi';
import type { FileStat } from '@visorkit/sandbox-fs';

/** Status of something that is no file. */
export function anonymousStat(ino: number, mode: number): FileStat {
  return {
    dev: 0xcn,
    ino: BigInt(ino),
    mode,
    nlink: 1,
    uid: 0,
    gid: 0,
    rdev: 0n,
    size: 0,
    blockSize: 4096,
    blocks: 0,
    atime: 0n,
    mtime: 0n,
    ctime: 0n,
  };
}

let nextNumber = 1;

/** A number for one, as `/proc/self/fd` shows it. */
export const anonymousNumber = (): number => nextNumber++;

/** Makes two files that belong together, gives each a descriptor, and writes the numbers at an address. Both or none: throws EMFILE, PagesNeeded. */
export function addPair(
  call: SystemCall,
  at: number,
  closeOnExec: boolean,
  make: () => readonly [OpenFile, OpenFile],
): number {
  const { memory } = call,
    { files } = call.process;
  memory.prepare(at, 8, true);
  const [first, second] = make();
  let number: number | undefined;
  try {
    number = files.add(first, closeOnExec);
    memory.writeU32(at, number);
    memory.writeU32(at + 4, files.add(second, closeOnExec));
  } catch (error) {
    if (number === undefined) second.close();
    else files.close(number);
    throw error;
  }
  return 0;
}
