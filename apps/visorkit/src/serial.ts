/** Where the guest's serial console goes: the terminal, a file, or nowhere. */
import { closeSync, openSync, writeSync } from 'node:fs';
import { fail } from '@visorkit/core';
import { ChunkedOutput, nullOutput } from '@visorkit/machine';
import type { CharInput, CharOutput } from '@visorkit/machine';
import { Terminal } from './terminal.js';

export interface SerialConsole {
  readonly output: CharOutput;
  readonly input?: CharInput;
  /** Writes out what is buffered and gives back the terminal or the file. */
  close(): void;
  /** After `close`. Throws OUTPUT_FILE when something could not be written. */
  check(): void;
}

/** Writes all of the bytes, also when a pipe takes only some of them at a time. A reader that is gone is nobody to write for. */
export function writeAll(descriptor: number, bytes: Uint8Array): void {
  try {
    writeOrFail(descriptor, bytes);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPIPE') throw error;
  }
}

function writeOrFail(descriptor: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length;) {
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
  const out = outputTo('--serial', 1, 'standard output', onFailure);
  const terminal = new Terminal({ stdin: process.stdin, stdout: process.stdout, onLeave });
  return {
    ...out, input: terminal.input,
    close: () => {
      out.close();
      terminal.restore();
    },
  };
}

/** An output for `option`: `stdio`, `none` or `file:PATH`. */
export function openOutput(option: string, where: string, onFailure: () => void): SerialConsole {
  if (where === 'none') return { output: nullOutput, close() {}, check() {} };
  if (where === 'stdio') return outputTo(option, 1, 'standard output', onFailure);
  if (where.startsWith('file:') && where.length > 5) {
    const path = where.slice(5);
    let descriptor: number;
    try {
      descriptor = openSync(path, 'w');
    } catch (error) {
      return refuse(option, path, error);
    }
    const out = outputTo(option, descriptor, path, onFailure);
    return {
      ...out,
      close: () => {
        out.close();
        closeSync(descriptor);
      },
    };
  }
  return fail('OPTION_VALUE', `${option} takes stdio, none or file:PATH, not "${where}".`, { option, value: where });
}

/** Buffered writing; the first failure (a full disk, a reader that has gone) ends the run, and `check` tells of it. */
function outputTo(option: string, descriptor: number, name: string, onFailure: () => void): SerialConsole {
  let failure: { readonly error: unknown } | undefined;
  const output = new ChunkedOutput((bytes) => {
    if (failure !== undefined) return;
    try {
      writeOrFail(descriptor, bytes);
    } catch (error) {
      failure = { error };
      onFailure();
    }
  });
  return {
    output, close: () => output.flush(),
    check: () => {
      if (failure !== undefined) refuse(option, name, failure.error);
    },
  };
}

function refuse(option: string, name: string, error: unknown): never {
  return fail('OUTPUT_FILE', `The output of ${option} cannot be written to ${name}: ${(error as Error).message}.`, { option, path: name });
}
