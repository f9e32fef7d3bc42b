/** Who failed, when and how: errors of plugins in words and in reports. */
import { VisorkitError, describeError, isVisorkitError } from './errors.js';
import type { ReportedError } from './report.js';
import { Phase } from './run-loop.js';

/** What the kernel was doing when something threw, for a sentence; of an exit its name is said instead. */
export const PHASES = {
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
 * The file and line at which an error, or what caused it, was thrown, and the calls that led there. A call into the kernel is not
 * what a plugin's author looks for, so that `at` is the first place outside of it. Undefined for what has no stack.
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

/** The folder of this file, and that of the frame's packages beside the kernel; told by a stack, which every host has. */
const HERE = placeOf(framesOf(new Error('where am I'))[0] ?? '') ?? '';
const KERNEL = HERE.replace(/[^/]*$/, '');
const FRAME = KERNEL.replace(/[^/]+\/[^/]+\/$/, '');

/** Whether a plugin gave a promise where it had to be done. */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | undefined)?.then === 'function';
}
