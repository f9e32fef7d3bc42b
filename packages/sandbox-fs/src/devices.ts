/** The devices in `/dev` that need nothing from outside: null, zero, full, random, urandom. */
import { fillRandom as hostRandom } from './random.js';
import { raise } from './errno.js';
import { SpecialNode } from './memory-fs.js';
import type { MemoryDirectory, MemoryFs } from './memory-fs.js';
import { FileMode } from './types.js';
import type { FileHandle } from './types.js';

type Transfer = (bytes: Uint8Array) => number;

const all: Transfer = (bytes) => bytes.length;
const zero: Transfer = (bytes) => {
  bytes.fill(0);
  return bytes.length;
};

/** Adds them; `fillRandom` gives random bytes (the host's by default). */
export function addDevices(
  fs: MemoryFs,
  dev: MemoryDirectory,
  fillRandom: (bytes: Uint8Array) => void = hostRandom,
): void {
  const random: Transfer = (bytes) => {
    fillRandom(bytes);
    return bytes.length;
  };
  const add = (name: string, minor: number, read: Transfer, write: Transfer): void => {
    const open = (node: SpecialNode): FileHandle => ({
      node,
      seekable: false,
      stat: () => node.stat(),
      read,
      write: (bytes) => write(bytes),
      truncate: () => raise('EINVAL'),
      sync: () => raise('EINVAL'),
      close() {},
    });
    dev.put(name, new SpecialNode(fs, 'device', FileMode.CHARACTER | 0o666, { rdev: BigInt(0x100 | minor), open }));
  };
  add('null', 3, () => 0, all);
  add('zero', 5, zero, all);
  add('full', 7, zero, () => raise('ENOSPC'));
  add('random', 8, random, all);
  add('urandom', 9, random, all);
}
