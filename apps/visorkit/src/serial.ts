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
}

/** Writes all of the bytes, also when a pipe takes only some of them at a time. */
export function writeAll(descriptor: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length;) {
    try {
      done += writeSync(descriptor, bytes, done);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EPIPE') return; // the reader is gone: nobody to write for
      if (code !== 'EAGAIN') throw error;
      Atomics.wait(PAUSE, 0, 0, 1); // a pipe that is full: give its reader a millisecond
    }
  }
}
const PAUSE = new Int32Array(new SharedArrayBuffer(4));

/** `stdio`, `none` or `file:PATH`. */
export function openSerial(where: string, onLeave: () => void): SerialConsole {
  if (where !== 'stdio') return openOutput('--serial', where);
  const output = new ChunkedOutput((bytes) => writeAll(1, bytes));
  const terminal = new Terminal({ stdin: process.stdin, stdout: process.stdout, onLeave });
  return {
    output, input: terminal.input,
    close: () => {
      output.flush();
      terminal.restore();
    },
  };
}

/** An output for `option`: `stdio`, `none` or `file:PATH`. */
export function openOutput(option: string, where: string): SerialConsole {
  if (where === 'none') return { output: nullOutput, close() {} };
  if (where === 'stdio') {
    const output = new ChunkedOutput((bytes) => writeAll(1, bytes));
    return { output, close: () => output.flush() };
  }
  if (where.startsWith('file:') && where.length > 5) {
    const path = where.slice(5);
    let descriptor: number;
    try {
      descriptor = openSync(path, 'w');
    } catch (error) {
      fail('OUTPUT_FILE', `${option} cannot be written to ${path}: ${(error as Error).message}.`, { path });
    }
    const output = new ChunkedOutput((bytes) => writeAll(descriptor, bytes));
    return {
      output,
      close: () => {
        output.flush();
        closeSync(descriptor);
      },
    };
  }
  return fail('OPTION_VALUE', `${option} takes stdio, none or file:PATH, not "${where}".`, { option, value: where });
}
