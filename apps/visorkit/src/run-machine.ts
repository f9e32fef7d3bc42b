/** Runs a machine on a console, from its creation to the closing of the console. */
import { EXIT_STATUS, VisorkitError, errorForReport, isVisorkitError } from '@visorkit/core';
import type { RunOptions, StopReport, Vmm } from '@visorkit/core';
import { writeSavedVm } from '@visorkit/project';
import type { StoredVm } from '@visorkit/project';
import type { RunConsole } from './console.js';

/** Where a VM comes from, and where it goes. */
export interface Saving {
  /** Goes on with this one instead of starting an image. */
  readonly restore?: StoredVm | undefined;
  /** The file that it is saved to at the end of its run, and at SIGUSR2. */
  readonly save?: string | undefined;
}

/** Makes a machine and runs it to its end. The terminal is given back whatever happens, and what the guest did is not lost when something fails after it. */
export async function runMachine(
  console: RunConsole,
  make: () => Promise<Vmm>,
  limits: RunOptions,
  saving: Saving = {},
): Promise<StopReport> {
  let report: StopReport;
  try {
    const vmm = await make();
    try {
      if (saving.restore !== undefined) await vmm.restore(saving.restore);
      const run = (signal: AbortSignal): Promise<StopReport> =>
        settled(runAndSave(vmm, { ...limits, signal }, saving.save), HOOK_WAITS);
      report = await (saving.restore === undefined
        ? run(console.signal)
        : runWhileChecked(saving.restore, console.signal, run));
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

/** Of a restored guest's first moments: what it needs then is checked as it is read. */
const UNTIL_CHECK_MS = 500;

/** Runs a restored guest while the rest of its file is checked, which it would otherwise find damaged hours later. */
async function runWhileChecked(
  saved: StoredVm,
  signal: AbortSignal,
  run: (signal: AbortSignal) => Promise<StopReport>,
): Promise<StopReport> {
  const over = new AbortController(),
    damaged = new AbortController();
  const begin = setTimeout(() => {
    saved.check(over.signal).catch((error: unknown) => damaged.abort(error));
  }, UNTIL_CHECK_MS);
  try {
    const report = await run(AbortSignal.any([signal, damaged.signal]));
    if (!damaged.signal.aborted) return report;
    const error = errorForReport(damaged.signal.reason),
      reason = 'backend-error'; // as when the guest needs what is damaged
    return { ...report, reason, exitStatus: EXIT_STATUS[reason], why: error.message, error };
  } finally {
    clearTimeout(begin);
    over.abort();
  }
}

const HOOK_WAITS = 'a plugin, in a hook of the machine';

/** Runs to the end, saving the VM where it is asked for. */
async function runAndSave(vmm: Vmm, limits: RunOptions, path: string | undefined): Promise<StopReport> {
  if (path === undefined) return vmm.run(limits);
  const { maxInstructions = Infinity, timeout = Infinity, signal } = limits;
  const began = performance.now();
  let asked = false;
  const ask = (): void => {
    asked = true;
    if (vmm.state === 'running') void vmm.pause();
  };
  process.on('SIGUSR2', ask);
  try {
    let report: StopReport;
    const first = vmm.instructions; // a restored VM has a past
    let retired = 0;
    do {
      asked = false;
      report = await vmm.run({
        ...(maxInstructions === Infinity ? {} : { maxInstructions: maxInstructions - retired }),
        ...(timeout === Infinity ? {} : { timeout: Math.max(timeout - (performance.now() - began) / 1000, 1e-3) }),
        ...(signal === undefined ? {} : { signal }),
      });
      retired = report.guestInstructions - first;
      await writeSavedVm(path, vmm.save());
    } while (asked && report.reason === 'paused');
    return report;
  } finally {
    process.off('SIGUSR2', ask);
  }
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
