/** A machine on a console, from its making to the console's closing. */
import { EXIT_STATUS, VisorkitError, isVisorkitError } from '@visorkit/core';
import type { RunOptions, StopReport, Vmm } from '@visorkit/core';
import type { RunConsole } from './console.js';

/** Makes a machine and runs it to its end. The terminal is given back whatever happens, and what the guest did is not lost when something fails after it. */
export async function runMachine(
  console: RunConsole,
  make: () => Promise<Vmm>,
  limits: RunOptions,
): Promise<StopReport> {
  let report: StopReport;
  try {
    const vmm = await make();
    try {
      report = await settled(vmm.run({ ...limits, signal: console.signal }), 'a plugin does, in a hook of the machine');
    } catch (error) {
      await settled(vmm.dispose(), 'a plugin does, while it is disposed of').catch(() => {}); // the first error says more
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
    await settled(vmm.dispose(), 'a plugin does, while it is disposed of');
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
 * The promise; but when nothing is left that could ever settle it (no timer, no file, no socket), an error says so instead of a process that
 * ends without a word. `who`: who waits, behind "something waits for what never comes: ".
 */
export async function settled<T>(promise: Promise<T>, who: string): Promise<T> {
  let idle: (() => void) | undefined;
  const forsaken = new Promise<never>((_resolve, reject) => {
    idle = () =>
      reject(
        new VisorkitError(
          'NEVER_SETTLES',
          `Something waits for what never comes: ${who}. A promise has to be resolved or rejected at some time.`,
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
