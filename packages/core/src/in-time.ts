/** Getting a machine ready within a time limit. */
import type { EndOutcome } from './exit.js';
import { stop } from './exit.js';
import { host } from './host.js';
import { EXIT_STATUS } from './report.js';

/**
 * Waits for `work`. If `timeout` seconds (Infinity: no limit) pass first, or the signal is aborted, returns the outcome that ends the run; `busy` says what
 * was being waited for. An error of `work` is thrown, unless it comes after that.
 */
export async function inTime(
  work: Promise<void>,
  timeout: number,
  signal: AbortSignal | undefined,
  busy: () => string,
): Promise<EndOutcome | undefined> {
  if (timeout === Infinity && signal === undefined) {
    await work;
    return undefined;
  }
  work.catch(() => {}); // nobody awaits it after the end, so a later failure must not end the process
  let cancel = (): void => {},
    abort = (): void => {};
  const late = new Promise<EndOutcome>((resolve) => {
    const end = (when: string, reason: 'timeout' | 'aborted'): void =>
      resolve(stop(`The machine was not ready ${when}.${busy()}`, { status: EXIT_STATUS[reason], reason }));
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
