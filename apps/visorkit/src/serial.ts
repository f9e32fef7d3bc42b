/** Where the guest's serial console goes: the terminal, a file, or nowhere. */
import { closeSync, openSync, writeSync } from 'node:fs';
import { VisorkitError, fail } from '@visorkit/core';
import { ChunkedOutput, nullOutput } from '@visorkit/machine';
import type { CharInput, CharOutput } from '@visorkit/machine';
import { Terminal } from './terminal.js';

export interface SerialConsole {
  readonly output: CharOutput;
  readonly input?: CharInput;
  /** Writes out what is buffered and gives back the terminal or the file. */
  close(): void;
  /** After `close`: OUTPUT_FILE when something could not be written. */
  readonly failure: VisorkitError | undefined;
}

/**
 * Writes all of the bytes to standard output (1) or standard error (2), also when a pipe takes only some of them at a
 * time. Nothing is done when the reader of a pipe has gone, or when standard error cannot be written. Throws
 * OUTPUT_FILE for standard output.
 */
export function writeAll(descriptor: 1 | 2, bytes: Uint8Array): void {
  try {
    writeOrFail(descriptor, bytes);
  } catch (error) {
    if (descriptor === 2 || (error as NodeJS.ErrnoException).code === 'EPIPE') return;
    fail(
      'OUTPUT_FILE',
      `Standard output cannot be written: ${(error as Error).message}. Give it a file or a pipe that has room.`,
    );
  }
}

/** Throws what the system says. */
export function writeOrFail(descriptor: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) {
    try {
      done += writeSync(descriptor, bytes, done);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      Atomics.wait(PAUSE, 0, 0, 1); // a pipe that is full: give its reader a millisecond
    }
  }
}
const PAUSE = new Int32Array(new SharedArrayBuffer(4));

/** The serial console: `stdio`, `none` or `file:PATH`. `onLeave` is called for `Ctrl-a x`. */
export function openSerial(where: string, onFailure: () => void, onLeave: () => void): SerialConsole {
  if (where !== 'stdio') return openOutput('--serial', where, onFailure);
  const terminal = new Terminal(onLeave);
  return outputTo('--serial', 1, 'standard output', onFailure, () => terminal.restore(), terminal.input);
}

/** An output for `option`: `stdio`, `none` or `file:PATH`. */
export function openOutput(option: string, where: string, onFailure: () => void): SerialConsole {
  if (where === 'none') return { output: nullOutput, close() {}, failure: undefined };
  if (where === 'stdio') return outputTo(option, 1, 'standard output', onFailure);
  if (where.startsWith('file:') && where.length > 5) {
    const path = where.slice(5);
    let descriptor: number;
    try {
      descriptor = openSync(path, 'w');
    } catch (error) {
      throw refused(option, path, error);
    }
    return outputTo(option, descriptor, path, onFailure, () => closeSync(descriptor));
  }
  return fail('OPTION_VALUE', `${option} takes stdio, none or file:PATH, not "${where}".`, { option, value: where });
}

/** Buffered writing; the first failure (a full disk, a reader that has gone) ends the run. */
function outputTo(
  option: string,
  descriptor: number,
  name: string,
  onFailure: () => void,
  done: () => void = () => {},
  input?: CharInput,
): SerialConsole {
  let failure: VisorkitError | undefined;
  const output = new ChunkedOutput((bytes) => {
    if (failure !== undefined) return;
    try {
      writeOrFail(descriptor, bytes);
    } catch (error) {
      failure = refused(option, name, error);
      onFailure();
    }
  });
  return {
    output,
    ...(input === undefined ? {} : { input }),
    close: () => {
      output.flush();
      done();
    },
    get failure() {
      return failure;
    },
  };
}

function refused(option: string, name: string, error: unknown): VisorkitError {
  return new VisorkitError(
    'OUTPUT_FILE',
    `The output of ${option} cannot be written to "${name}": ${(error as Error).message}. Give ${option} stdio, none or file:PATH with a path that can be written.`,
    { option, path: name },
  );
}
