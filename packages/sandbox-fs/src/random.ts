/** Random bytes of the host. */
import { closeSync, openSync, readSync } from 'node:fs';

/** Fills `bytes` from the system's source. Node's module for it takes longer to load than a short program runs, so it is used only where there is no other way. */
export function fillRandom(bytes: Uint8Array): void {
  let source: number;
  try {
    source = openSync('/dev/urandom', 'r');
  } catch {
    process.getBuiltinModule('node:crypto').randomFillSync(bytes);
    return;
  }
  try {
    for (let done = 0; done < bytes.length; ) done += readSync(source, bytes, done, bytes.length - done, null);
  } finally {
    closeSync(source);
  }
}
