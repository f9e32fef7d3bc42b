/** Getting a machine ready within a time limit. */
import type { StopOutcome } from './exit.js';
import { stop } from './exit.js';
import { host } from './host.js';
import { EXIT_STATUS } from './report.js';

/**
 * Waits for `work`. Gives how the run ends instead when `timeout` seconds (Infinity: none) are over first, or the signal is aborted; `busy` says then what it
 * waited for. What the work throws comes out, unless it comes too late.
 */
export async function inTime(
  work: Promise<void>,
  timeout: number,
  signal: AbortSignal | undefined,
  busy: () => string,
): Promise<StopOutcome | undefined> {
  if (timeout === Infinity && signal === undefined) {
    await work;
    return undefined;
  }
  work.catch(() => {}); // what fails after the end is nobody's
  let cancel = (): void => {},
    abort = (): void => {};
  const late = new Promise<StopOutcome>((resolve) => {
    const end = (when: string, reason: 'timeout' | 'aborted'): void =>
      resolve(stop(`The machine was not ready ${when}.${busy()}`, EXIT_STATUS[reason], reason));
    abort = () => end('when the run was aborted', 'aborted');
    if (timeout !== Infinity) cancel = host.after(timeout * 1000, () => end('within the time limit', 'timeout'));
    if (signal?.aborted) abort();
    signal?.addEventListener('abort', abort);
  });
  try {
    return (await Promise.race([work, late])) ?? undefined;
  } finally {
    cancel();
    signal?.removeEventListener('abort', abort);
  }
}
