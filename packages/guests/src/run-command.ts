/** Running a program of the host and gathering what it says. */
import { spawn } from 'node:child_process';
import { fail } from '@visorkit/core';

export interface CommandOptions {
  readonly cwd?: string;
  /** Ends the command. */
  readonly signal?: AbortSignal;
  /** Called with every line the command writes to file descriptor 3. */
  readonly onStatusLine?: (line: string) => void;
}

export interface CommandResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs a program without a shell and gathers what it says, in English.
 * @throws VisorkitError COMMAND_MISSING when there is no such program, COMMAND_FAILED when it cannot be started,
 * GUEST_INTERRUPTED when the signal ended it
 */
export function runCommand(
  command: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => never): void => {
      try {
        act();
      } catch (error) {
        reject(error as Error);
      }
    };
    if (options.signal?.aborted)
      return settle(() => fail('GUEST_INTERRUPTED', `"${command}" was not started: the work was interrupted.`));
    const child = spawn(command, args, {
      cwd: options.cwd,
      env: { ...process.env, LC_ALL: 'C.UTF-8' },
      stdio: ['ignore', 'pipe', 'pipe', options.onStatusLine ? 'pipe' : 'ignore'],
    });
    const abort = (): void => void child.kill('SIGTERM');
    options.signal?.addEventListener('abort', abort, { once: true });
    const stdout = collect(child.stdout);
    const stderr = collect(child.stderr);
    const status = child.stdio[3];
    if (options.onStatusLine && status) eachLine(status as NodeJS.ReadableStream, options.onStatusLine);
    child.on('error', (cause: NodeJS.ErrnoException) =>
      settle(() =>
        cause.code === 'ENOENT'
          ? fail('COMMAND_MISSING', `The program "${command}" is not installed.`, { command }, cause)
          : fail('COMMAND_FAILED', `The program "${command}" could not be started.`, { command }, cause),
      ),
    );
    child.on('close', (code) => {
      options.signal?.removeEventListener('abort', abort);
      if (options.signal?.aborted)
        settle(() => fail('GUEST_INTERRUPTED', `"${command}" was interrupted; what it did so far is discarded.`));
      else resolve({ status: code ?? -1, stdout: stdout(), stderr: stderr() });
    });
  });
}

function collect(stream: NodeJS.ReadableStream | null): () => string {
  const chunks: Buffer[] = [];
  stream?.on('data', (chunk: Buffer) => chunks.push(chunk));
  return () => Buffer.concat(chunks).toString('utf8');
}

function eachLine(stream: NodeJS.ReadableStream, onLine: (line: string) => void): void {
  let rest = '';
  stream.on('data', (chunk: Buffer) => {
    const lines = (rest + chunk.toString('utf8')).split('\n');
    rest = lines.pop() ?? '';
    lines.forEach(onLine);
  });
}

/**
 * apt's own lines about what it could not fetch, such as "W: Failed to fetch http://… Could not connect to …", each once;
 * empty when it fetched everything.
 */
export function fetchFailures(text: string): string[] {
  const failures = text
    .split('\n')
    .map((line) => line.trim().replaceAll(/\s+/g, ' '))
    .filter((line) => /^[WE]: Failed to fetch /.test(line));
  return [...new Set(failures)];
}

/** What a failed command gave as its errors ("E: …"), or else its last lines, for an error of ours. */
export function lastLines(text: string, count = 4): string {
  const lines = text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  const errors = lines.filter((line) => line.startsWith('E: '));
  return (errors.length > 0 ? errors : lines).slice(-count).join(' / ') || 'it said nothing';
}
