/** The user's side of a run: the console, the signals that end it, and how they change the exit status. */
import { resolve } from 'node:path';
import { EXIT_STATUS, errorForReport, fail } from '@visorkit/core';
import type { StopReport } from '@visorkit/core';
import { openScreen } from './screen.js';
import type { RunScreen } from './screen.js';
import { openOutput, openSerial } from './serial.js';
import type { SerialConsole } from './serial.js';
import { STATUS_OUTPUT, STATUS_TERMINATED, withStatus } from './statuses.js';

export interface RunConsole {
  readonly serial: SerialConsole;
  readonly debugcon: SerialConsole;
  /** Undefined: the guest has no screen. */
  readonly screen: RunScreen | undefined;
  /** Ends the run: the user leaves, Ctrl-C outside raw mode, an output that cannot be written. */
  readonly signal: AbortSignal;
  /** Gives back the terminal, files and signals. Must be called however the run ends. */
  close(): void;
  /** After `close`: the report with the status that the process ends with, and what was lost or failed beside the run. */
  judge(report: StopReport): StopReport;
}

/** Opens the serial console and the debug console, `stdio`, `none` or `file:PATH` each, and the screen: `text`, `file:PATH` or `none`. */
export function openConsole(serialWhere: string, debugWhere: string, screenWhere = 'none'): RunConsole {
  const leaving = new AbortController();
  let left = false;
  const interrupt = (): void => leaving.abort();
  // One writer for one place: two would overwrite each other in a file, and mix up the order on a terminal
  const separate = samePlace(serialWhere, debugWhere) ? undefined : openOutput('--debugcon', debugWhere, interrupt);
  const leave = (): void => {
    left = true;
    leaving.abort();
  };
  if (screenWhere.startsWith('file:') && [serialWhere, debugWhere].some((other) => samePlace(other, screenWhere)))
    fail('OPTION_VALUE', `--vga and another option both name "${screenWhere}". Give the screen a file of its own.`, {
      option: '--vga',
    });
  const screen = openScreen(screenWhere, serialWhere === 'stdio', interrupt, leave);
  const serial = openSerial(serialWhere, interrupt, leave);
  const debugcon = separate ?? serial;
  // An error in a plugin's timer, or in a promise that is not awaited, does not pass through the run loop. It ends the run with a report, and not the process
  let stray: { readonly error: unknown } | undefined;
  const onStray = (error: unknown): void => {
    stray ??= { error };
    leaving.abort();
  };
  process.on('uncaughtException', onStray);
  // The first SIGTERM asks the run to end, so that its report is written; the second one ends the process
  let terminated = false;
  const onTerminate = (): void => {
    if (terminated) {
      serial.close();
      screen?.close();
      process.off('SIGTERM', onTerminate);
      process.kill(process.pid, 'SIGTERM');
      return;
    }
    terminated = true;
    leaving.abort();
  };
  process.on('SIGTERM', onTerminate);
  // Ctrl-C comes as a signal only when the terminal is not in raw mode (input from a pipe): end the run, not the process
  process.on('SIGINT', interrupt);
  return {
    serial,
    debugcon,
    screen,
    signal: leaving.signal,
    close: () => {
      process.off('SIGINT', interrupt);
      process.off('SIGTERM', onTerminate);
      process.off('uncaughtException', onStray);
      serial.close();
      screen?.close();
      separate?.close();
    },
    judge: (report) => {
      const lost = serial.failure ?? screen?.console.failure ?? debugcon.failure;
      if (lost !== undefined)
        return {
          ...report,
          why: lost.message,
          exitStatus: STATUS_OUTPUT,
          error: { code: lost.code, message: lost.message },
        };
      if (stray !== undefined) return withStray(report, stray.error);
      if (terminated && report.reason === 'aborted')
        return { ...report, why: 'The run was ended by SIGTERM.', exitStatus: STATUS_TERMINATED };
      return left && report.reason === 'aborted'
        ? { ...report, why: 'The user left.', exitStatus: 0 }
        : withStatus(report);
    },
  };
}

function samePlace(one: string, other: string): boolean {
  const place = (where: string): string => (where.startsWith('file:') ? `file:${resolve(where.slice(5))}` : where);
  return place(one) === place(other);
}

function withStray(report: StopReport, error: unknown): StopReport {
  const message = error instanceof Error ? error.message : String(error);
  return {
    ...report,
    reason: 'plugin-error',
    exitStatus: EXIT_STATUS['plugin-error'],
    error: errorForReport(error),
    why: `A timer or a promise of a plugin failed, and nothing caught the error: ${message}. A plugin has to catch the errors of its timers and promises.`,
  };
}
