/** The end of the process. */
import { fstatSync } from 'node:fs';
import { exitAtOnce } from '@visorkit/project';

/** For what still has to happen, ms. */
const GRACE = 50;

/**
 * Ends the process when its command is done. What a plugin has left running (a timer that repeats, a socket) has a moment, and does not keep it. Usually there is
 * nothing: after a guest the process ends at once then, otherwise by itself.
 *
 * Elsewhere process.exit is not called at once, because it waits for V8's threads, which in Node 24 may wait for the main thread to collect garbage, so that neither
 * goes on.
 */
export async function leave(ranGuest: boolean): Promise<void> {
  setTimeout(() => process.exit(), GRACE).unref();
  if (ranGuest && (await exitAtOnce()))
    setImmediate(() => {
      if (nothingIsLeft()) process.exit();
    });
}

/** Whether there is nothing but the process's own streams, which Node counts although nobody reads from them any more. */
function nothingIsLeft(): boolean {
  const left = process.getActiveResourcesInfo();
  for (const descriptor of [0, 1, 2]) {
    const at = left.indexOf(resourceOf(descriptor) ?? '');
    if (at >= 0) left.splice(at, 1);
  }
  return left.length === 0;
}

/** What Node calls a stream on this descriptor. */
function resourceOf(descriptor: number): string | undefined {
  try {
    const stat = fstatSync(descriptor);
    return stat.isFIFO() || stat.isSocket() ? 'PipeWrap' : stat.isCharacterDevice() ? 'TTYWrap' : undefined;
  } catch {
    return undefined; // closed
  }
}
