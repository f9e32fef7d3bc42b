/** Who failed, when and how: errors of plugins in words and in reports. */
import { VisorkitError, describeError, isVisorkitError } from './errors.js';
import { exitReasonName } from './exit-reasons.js';
import { stop } from './exit.js';
import type { EndOutcome } from './exit.js';
import { EXIT_STATUS } from './report.js';
import type { StopReport } from './report.js';
import { Phase } from './phase.js';

/** What the kernel was doing when something threw, for a sentence; of an exit its name is said instead. */
const PHASES = {
  [Phase.EXIT]: '',
  [Phase.ENTRY]: 'before a VM entry',
  [Phase.TIMER]: 'when its timer fired',
  [Phase.INTERRUPT]: 'when it was asked for interrupts',
  [Phase.GUEST]: 'while the guest ran',
} as const;

/** The error of a plugin (and of its device, when that threw) with what it was doing. */
export function pluginFailure(plugin: string, when: string, error: unknown): VisorkitError {
  const message = error instanceof Error ? error.message : String(error);
  const blamed =
    isVisorkitError(error) && typeof error.details?.device === 'string' ? ` (device ${error.details.device})` : '';
  return new VisorkitError('PLUGIN_FAILED', `Plugin ${plugin}${blamed} failed ${when}: ${message}`, { plugin }, error);
}

/** An error as a report has it: code, message, details, and its causes as lines. */
export function errorForReport(error: unknown): NonNullable<StopReport['error']> {
  const lines = describeError(error).split('\n');
  const described: NonNullable<StopReport['error']> = {
    code: isVisorkitError(error) ? error.code : 'PLUGIN_THREW',
    message: error instanceof Error ? error.message : String(error),
  };
  if (isVisorkitError(error) && error.details !== undefined) described.details = error.details;
  if (lines.length > 1) described.causes = lines.slice(1);
  return described;
}

/** Whether a plugin gave a promise where it had to be done. */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | undefined)?.then === 'function';
}

/** The end of a run in which something threw: whose fault it was, and what it was doing. */
export function endOfFailure(
  thrown: unknown,
  plugin: string,
  phase: Phase,
  exitReason: number,
  backend: string,
): EndOutcome {
  const failed = (why: string, reason: 'plugin-error' | 'backend-error'): EndOutcome =>
    stop(why, { status: EXIT_STATUS[reason], reason });
  if (isVisorkitError(thrown) && thrown.code === 'PLUGIN_FAILED') return failed(thrown.message, 'plugin-error');
  if (plugin === '' && phase === Phase.GUEST) {
    return failed(
      `Backend ${backend} failed: ${thrown instanceof Error ? thrown.message : String(thrown)}`,
      'backend-error',
    );
  }
  const what = phase === Phase.EXIT ? `while it handled the exit ${exitReasonName(exitReason)}` : PHASES[phase];
  const guilty = plugin || (phase === Phase.TIMER ? 'a device' : 'the machine');
  return failed(pluginFailure(guilty, what, thrown).message, 'plugin-error');
}
