/** The end of the process. */
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
      if (process.getActiveResourcesInfo().length === 0) process.exit();
    });
}
