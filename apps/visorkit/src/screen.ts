/** Where the guest's text screen is shown: in the terminal, or as lines on standard output or in a file. */
import { fail } from '@visorkit/core';
import type { CharInput, CharOutput } from '@visorkit/machine';
import { Transcript, paintScreen } from '@visorkit/vga-text';
import type { TextScreen } from '@visorkit/vga-text';
import { openOutput } from './serial.js';
import type { SerialConsole } from './serial.js';
import { Terminal, isTerminal } from './terminal.js';

export interface RunScreen {
  /** Shows it until what is returned is called, for the last time. */
  show(screen: TextScreen): () => void;
  /** What is typed for the guest's keyboard. */
  readonly input?: CharInput;
  readonly console: SerialConsole;
  close(): void;
}

const LOOK_EACH = 50; // ms
const ALTERNATE_SCREEN = '\x1b[?1049h';
const OWN_SCREEN = '\x1b[?1049l';

/**
 * Opens what `--vga` names: `text`, `file:PATH`, or `none`, which gives nothing.
 * @param shared the serial console is on the terminal too: it has the keys, and the screen comes as lines
 */
export function openScreen(
  where: string,
  shared: boolean,
  onFailure: () => void,
  onLeave: () => void,
): RunScreen | undefined {
  if (where === 'none') return undefined;
  if (where !== 'text' && !where.startsWith('file:'))
    fail('OPTION_VALUE', `--vga takes text, file:PATH or none, not "${where}".`, { option: '--vga', value: where });
  const console = openOutput('--vga', where === 'text' ? 'stdio' : where, onFailure);
  const terminal = where === 'text' && !shared ? new Terminal(onLeave) : undefined;
  const show = terminal !== undefined && isTerminal(1) ? painter(console.output) : liner(console.output);
  return {
    show,
    console,
    ...(terminal === undefined ? {} : { input: terminal.input }),
    close: () => {
      console.close();
      terminal?.restore();
    },
  };
}

/** Paints the screen as it is, now and then; in the end it stays as text. */
function painter(output: CharOutput): RunScreen['show'] {
  return (screen) => {
    let shown: Uint16Array | undefined;
    let painted = '';
    const paint = (): void => {
      const text = paintScreen(screen, shown);
      if (text === painted && shown !== undefined) return;
      painted = text;
      shown = screen.cells();
      writeText(output, text);
    };
    writeText(output, ALTERNATE_SCREEN);
    const timer = setInterval(paint, LOOK_EACH);
    timer.unref();
    return () => {
      clearInterval(timer);
      writeText(output, OWN_SCREEN);
      const transcript = new Transcript((line) => writeText(output, `${line}\n`));
      transcript.look(screen.rows());
      transcript.end();
    };
  };
}

/** Writes what goes over the screen as lines. It is looked at whenever software begins a row, before it can scroll away. */
function liner(output: CharOutput): RunScreen['show'] {
  return (screen) => {
    const transcript = new Transcript((line) => writeText(output, `${line}\n`));
    const look = (): void => transcript.look(screen.rows());
    let row = 0;
    let column = 0;
    const unwatch = screen.watch(() => {
      const { cursor } = screen;
      if (cursor.row !== row || cursor.column < column) look();
      ({ row, column } = cursor);
    });
    const timer = setInterval(look, LOOK_EACH);
    timer.unref();
    return () => {
      clearInterval(timer);
      unwatch();
      look();
      transcript.end();
    };
  };
}

function writeText(output: CharOutput, text: string): void {
  for (const byte of Buffer.from(text)) output.write(byte);
}
