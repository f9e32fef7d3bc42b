/** Who failed, when and how: errors of plugins in words and in reports. */
import { VisorkitError, describeError, isVisorkitError } from './errors.js';
import { exitReasonName } from './exit-reasons.js';
import { stop } from './exit.js';
import type { EndOutcome } from './exit.js';
import { EXIT_STATUS } from './report.js';
import type { ReportedError } from './report.js';
import { Phase } from './phase.js';

/** What the kernel was doing when something threw, as words for a sentence. For an exit, the sentence names the exit instead. */
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

/** An error as a report has it: code, message, details, its causes as lines, and where it was thrown. */
export function errorForReport(error: unknown): ReportedError {
  const described: ReportedError = {
    code: isVisorkitError(error) ? error.code : 'PLUGIN_THREW',
    message: error instanceof Error ? error.message : String(error),
  };
  if (isVisorkitError(error) && error.details !== undefined) described.details = error.details;
  const [, ...causes] = describeError(error).split('\n  ');
  if (causes.length > 0) described.causes = causes;
  return Object.assign(described, whereThrown(error));
}

/**
 * Where an error, or the error that caused it, was thrown: file and line, and the calls that led there. `at` is the first place outside
 * the kernel, because the author of a plugin looks for the place in the plugin. Undefined for a value without a stack.
 */
export function whereThrown(error: unknown): Pick<ReportedError, 'at' | 'stack'> | undefined {
  let deepest = error;
  while (deepest instanceof Error && deepest.cause instanceof Error) deepest = deepest.cause;
  const stack = framesOf(deepest);
  if (stack.length === 0) return undefined;
  const places = stack.map(placeOf).filter((place) => place !== undefined);
  const outside = places.filter((place) => !place.startsWith(KERNEL));
  const at =
    outside.find((place) => !place.startsWith(FRAME) && !place.includes('/node_modules/@visorkit/')) ??
    outside[0] ??
    places[0];
  return at === undefined ? { stack } : { at, stack };
}

/** Lines of a stack in V8's form, without those of Node itself. */
function framesOf(error: unknown): string[] {
  const stack = error instanceof Error ? error.stack : undefined;
  return (stack?.split('\n') ?? [])
    .map((line) => line.trim().replace('file://', ''))
    .filter((line) => line.startsWith('at ') && !line.includes('node:') && placeOf(line) !== undefined);
}

/** `FILE:LINE:COLUMN` of a line such as `at apply (/plugins/clock.ts:12:9)`. */
function placeOf(line: string): string | undefined {
  return /^at (?:.*? \()?(.+:\d+:\d+)\)?$/.exec(line)?.[1].replace(/^async /, '');
}

/** The folder of this file, and that of the frame's packages beside the kernel; read from a stack, because every host has stacks. */
const HERE = placeOf(framesOf(new Error('where am I'))[0] ?? '') ?? '';
const KERNEL = HERE.replace(/[^/]*$/, '');
const FRAME = KERNEL.replace(/[^/]+\/[^/]+\/$/, '');

/** Whether a plugin returned a promise where it had to finish before it returned. */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | undefined)?.then === 'function';
}

/** How a run ends in which something threw: says which plugin, or the backend, threw and what it was doing. */
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
