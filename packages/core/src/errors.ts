/**
 * The one error family of visorkit.
 *
 * Every error a user can meet is a {@link VisorkitError}: a stable `code` for programs, a sentence for people that says what
 * was wrong, with the value and where it came from, and what would be right. Causes are chained through `cause`.
 */
export class VisorkitError extends Error {
  /** Stable, upper case, e.g. `PORT_CONFLICT`. Programs compare this, never the message. */
  readonly code: string;
  /** Plain data about the error, fit for JSON. */
  readonly details?: Record<string, unknown>;

  constructor(code: string, message: string, details?: Record<string, unknown>, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'VisorkitError';
    this.code = code;
    if (details !== undefined) this.details = details;
  }
}

/** Throws a {@link VisorkitError}. */
export function fail(code: string, sentence: string, details?: Record<string, unknown>, cause?: unknown): never {
  throw new VisorkitError(code, sentence, details, cause);
}

/**
 * True for a VisorkitError, also for one made by another copy of this package: a plugin from outside the workspace may
 * bring its own, so `instanceof` is not enough.
 */
export function isVisorkitError(value: unknown): value is VisorkitError {
  return (
    value instanceof Error && value.name === 'VisorkitError' && typeof (value as { code?: unknown }).code === 'string'
  );
}

/** An error with its chain of causes as one text of several lines, for a terminal. A cause whose text an earlier line contains is left out. */
export function describeError(error: unknown): string {
  const lines: string[] = [];
  let current: unknown = error;
  for (let depth = 0; depth < 8 && current !== undefined && current !== null; depth++) {
    const text = current instanceof Error ? current.message : String(current);
    const code = isVisorkitError(current) ? current.code : '';
    if (depth === 0) lines.push(code === '' ? text : `${text} [${code}]`);
    else if (!lines.some((line) => line.includes(text)))
      lines.push(`  caused by: ${text}${code === '' ? '' : ` [${code}]`}`);
    else if (code !== '' && !lines.some((line) => line.includes(code))) lines.push(`  caused by: ${code}`);
    current = current instanceof Error ? current.cause : undefined;
  }
  return lines.join('\n');
}
