/** Files that have no name: pipes, sockets, timers, event counters. */
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
