/**
 * The exit statuses of the process. The kernel and the command line use even numbers above 63, because isa-debug-exit
 * gives odd ones.
 */
import { EXIT_STATUS } from '@visorkit/core';
import type { StopReport } from '@visorkit/core';

/** The run could not begin: an option, a file, a plugin, the configuration or the image is wrong. */
export const STATUS_NOT_STARTED = 2;
/** The guest's self-check (`visorkit demo`) found something. */
export const STATUS_CHECK_FAILED = 1;
/** The guest halted for good without powering the machine off. */
export const STATUS_HALTED = 68;
/** The console or the report could not be written. */
export const STATUS_OUTPUT = 78;

/** SIGTERM: 128 + 15. */
export const STATUS_TERMINATED = 143;

/** Every status, for `--help`. */
export const STATUS_TABLE: readonly (readonly [number | string, string])[] = [
  [0, 'the guest powered the machine off or asked for a reset, or the user left'],
  [STATUS_CHECK_FAILED, 'demo: the self-check in the guest failed; doctor: something that is needed is missing'],
  [STATUS_NOT_STARTED, 'the run could not begin: an option, a file, a plugin or the image is wrong'],
  ['odd', '--debug-exit: (value << 1) | 1'],
  [STATUS_HALTED, 'the guest halted and nothing can wake it'],
  [EXIT_STATUS['triple-fault'], 'the guest triple-faulted'],
  [
    EXIT_STATUS['unhandled-exit'],
    'an exit that no plugin took: a jump to where there is no memory, a state VM entry refuses',
  ],
  [EXIT_STATUS['plugin-error'], 'a plugin or a device failed'],
  [EXIT_STATUS['backend-error'], 'the backend failed'],
  [STATUS_OUTPUT, 'the console or the report could not be written'],
  [EXIT_STATUS['max-instructions'], '--max-instructions reached'],
  [EXIT_STATUS.timeout, '--timeout reached'],
  [EXIT_STATUS.aborted, 'the run was interrupted'],
  [STATUS_TERMINATED, 'the run was ended by SIGTERM'],
];

/** The report with the status of the command line, for which a guest that halts for ever is a failure. */
export function withStatus(report: StopReport): StopReport {
  return report.reason === 'halted' && report.exitStatus === 0 ? { ...report, exitStatus: STATUS_HALTED } : report;
}

/** The status of an error that ended the command. */
export function statusOf(error: unknown): number {
  const { code } = error as { code?: unknown };
  return code === 'OUTPUT_FILE' || code === 'REPORT_FILE' ? STATUS_OUTPUT : STATUS_NOT_STARTED;
}
