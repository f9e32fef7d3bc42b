/** Runs a machine on a console, from its creation to the closing of the console. */
import { EXIT_STATUS, VisorkitError, isVisorkitError } from '@visorkit/core';
import type { RunOptions, StopReport, Vmm } from '@visorkit/core';
import type { RunConsole } from './console.js';

/**
 * Makes a machine and runs it to its end. The terminal is restored in any case, and the report of the run is kept when
 * something fails afterwards.
 */
export async function runMachine(
  console: RunConsole,
  make: () => Promise<Vmm>,
  limits: RunOptions,
): Promise<StopReport> {
  let report: StopReport;
  try {
    const vmm = await make();
    try {
      report = await settled(vmm.run({ ...limits, signal: console.signal }), 'a plugin, in a hook of the machine');
    } catch (error) {
      await settled(vmm.dispose(), 'a plugin, while it is disposed of').catch(() => {}); // the first error says more
      throw error;
    }
    report = await disposed(vmm, report);
    // Promises that were rejected in the last moment are reported before the console is closed
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  } finally {
    console.close();
  }
  return console.judge(report);
}

async function disposed(vmm: Vmm, report: StopReport): Promise<StopReport> {
  try {
    await settled(vmm.dispose(), 'a plugin, while it is disposed of');
    return report;
  } catch (error) {
    const { code, message } = isVisorkitError(error) ? error : { code: 'DISPOSE_FAILED', message: String(error) };
    return {
      ...report,
      reason: 'plugin-error',
      exitStatus: EXIT_STATUS['plugin-error'],
      why: `${report.why} Afterwards: ${message}`,
      error: { code, message },
    };
  }
}

/**
 * Waits for the promise. When nothing is left that could ever settle it (no timer, no file, no socket), it throws NEVER_SETTLES; otherwise
 * the process would end without a message. `who`: who made the promise, for the sentence.
 */
export async function settled<T>(promise: Promise<T>, who: string): Promise<T> {
  let idle: (() => void) | undefined;
  const forsaken = new Promise<never>((_resolve, reject) => {
    idle = () =>
      reject(
        new VisorkitError(
          'NEVER_SETTLES',
          `A promise can never settle: nothing is left that could resolve or reject it. It was made by ${who}.`,
        ),
      );
    process.once('beforeExit', idle);
  });
  try {
    return await Promise.race([promise, forsaken]);
  } finally {
    if (idle !== undefined) process.off('beforeExit', idle);
  }
}
