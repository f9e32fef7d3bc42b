/** `visorkit trace`: runs a guest as `run` does, with a trace of it. */
import { closeSync, openSync } from 'node:fs';
import { definePlugin, fail } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { TRACE_FORMATS, TraceToken, needsIntrospection, topFrame, topRows, trace, traceFormat } from '@visorkit/trace';
import type { Trace, TraceOptions } from '@visorkit/trace';
import { runCommand } from './run-command.js';
import { writeAll, writeOrFail } from './serial.js';
import type { TraceFlags } from './trace-flags.js';
import { whole, word } from './values.js';

const HIGHEST_MSR = 0xffff_ffff;
/** Between two pictures of `--top`, ms. */
const TOP_MS = 1000;
/** Where the height of the terminal is not known. */
const USUAL_LINES = 24;

/** Resolves with the status the process is to end with. Throws what names a reason, a field or a filter wrongly. */
export async function traceCommand(flags: TraceFlags): Promise<number> {
  const format = traceFormat(word('--format', flags.format ?? 'text', TRACE_FORMATS));
  const top = flags.top === true;
  if (top && !process.stderr.isTTY)
    fail('OPTION_VALUE', '--top draws on a terminal, and standard error is none; --count gives the table at the end.', {
      option: '--top',
    });
  const counts = flags.count !== undefined || top;
  const isMeasured = flags.histogram === true && flags.count === undefined;
  let output: Output | undefined;
  const options: TraceOptions = {
    ...optionsOf(flags),
    ...(counts ? { count: flags.count === undefined || flags.count === true ? ['reason'] : list(flags.count) } : {}),
    ...(counts || (isMeasured && !namesSource(flags))
      ? {}
      : { output: (record) => output?.write(format.event(record)) }),
  };
  const plugin = trace(options); // what is wrong in the options is found before a file is made
  output = openOutput(flags.output);
  output.write(format.begin());
  try {
    return await runCommand(
      { serial: 'none', ...flags },
      [plugin, top ? live() : atEnd((summary) => output?.write(format.end(summary)))],
      needsIntrospection(options),
    );
  } finally {
    output.close();
  }
}

/** Options that are sources of events, or choose among them. */
function optionsOf(flags: TraceFlags): TraceOptions {
  const { exits, msr, vmcsWrites, filter, io, interrupts, hypercalls, vmcsLoads, eptRoots, nested, histogram, stack } =
    flags;
  return {
    ...(exits === undefined ? {} : { exits: exits === true ? true : list(exits) }),
    ...(msr === undefined
      ? {}
      : { msr: msr === true ? true : list(msr).map((text) => whole('--msr', text, 0, HIGHEST_MSR)) }),
    ...(vmcsWrites === undefined ? {} : { vmcsWrites: vmcsWrites === true ? true : list(vmcsWrites) }),
    ...(filter === undefined ? {} : { filter }),
    ...given({ io, interrupts, hypercalls, vmcsLoads, eptRoots, nested, histogram, stack }),
  };
}

function namesSource(flags: TraceFlags): boolean {
  const { exits, msr, io, interrupts, hypercalls, vmcsLoads, eptRoots, vmcsWrites, nested } = flags;
  return [exits, msr, io, interrupts, hypercalls, vmcsLoads, eptRoots, vmcsWrites, nested].some(Boolean);
}

const list = (text: string): string[] =>
  text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');

function given(flags: Readonly<Record<string, boolean | undefined>>): Record<string, true> {
  return Object.fromEntries(Object.entries(flags).flatMap(([name, value]) => (value === true ? [[name, true]] : [])));
}

/** Writes the summary when the run is over. */
function atEnd(write: (summary: Trace) => void): Plugin {
  return definePlugin({
    name: 'trace-summary',
    uses: { summary: TraceToken },
    apply({ onDispose }, { summary }) {
      onDispose(() => write(summary));
    },
  });
}

const CLEAR = '\x1b[H\x1b[2J';

/** Draws the counts anew every second. */
function live(): Plugin {
  return definePlugin({
    name: 'trace-top',
    uses: { summary: TraceToken },
    apply({ onDispose }, { summary }) {
      const { counter } = summary;
      if (counter === undefined) return;
      let before: ReadonlyMap<string, number> = new Map();
      let drawn = performance.now();
      const draw = (): void => {
        const now = performance.now();
        const lines = topFrame(counter, before, (now - drawn) / 1000, (process.stderr.rows ?? USUAL_LINES) - 1);
        before = topRows(counter);
        drawn = now;
        writeAll(2, Buffer.from(`${CLEAR}${lines.join('\n')}\n`));
      };
      const timer = setInterval(draw, TOP_MS);
      timer.unref();
      onDispose(() => {
        clearInterval(timer);
        draw();
      });
    },
  });
}

interface Output {
  write(text: string): void;
  close(): void;
}

/** Text is gathered, because an event is small. */
const PIECE = 64 << 10;

function openOutput(target: string | undefined): Output {
  const refuse = (error: unknown): never =>
    fail(
      'OUTPUT_FILE',
      `The trace cannot be written to "${target}": ${(error as Error).message}. Give --output a path that can be written, or -.`,
      { path: target },
    );
  let descriptor: number;
  try {
    descriptor = target === undefined ? 2 : target === '-' ? 1 : openSync(target, 'w');
  } catch (error) {
    return refuse(error);
  }
  let pending = '';
  const flush = (): void => {
    const bytes = Buffer.from(pending);
    pending = '';
    if (descriptor === 1 || descriptor === 2) return writeAll(descriptor, bytes);
    try {
      writeOrFail(descriptor, bytes);
    } catch (error) {
      refuse(error);
    }
  };
  return {
    write(text) {
      pending += text;
      if (pending.length > PIECE) flush();
    },
    close() {
      flush();
      if (descriptor > 2) closeSync(descriptor);
    },
  };
}
