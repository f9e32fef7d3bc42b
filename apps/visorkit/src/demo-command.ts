/**
 * `visorkit demo`, the main job of `npm start`: Debian's unmodified kernel with busybox. On a terminal a shell, without one the boot
 * log, a self-check in the guest and a clean power-off.
 */
import { checksPassed, guestParameters, prepareDebianGuest } from '@visorkit/guests';
import type { FetchProgress } from '@visorkit/guests';
import type { CharOutput } from '@visorkit/machine';
import { stderrLogSink } from '@visorkit/core';
import type { StopReport } from '@visorkit/core';
import { assemble } from './assemble.js';
import type { AssembleOptions } from './assemble.js';
import { DEFAULT_BACKEND, openBackend } from './backends.js';
import { openConsole } from './console.js';
import { tell, workOf } from './report-output.js';
import { readImage } from './image-files.js';
import { hostTuning } from './host-tuning.js';
import { keptTranslations } from './kept-translations.js';
import { runMachine } from './run-machine.js';
import { writeAll } from './serial.js';
import { STATUS_CHECK_FAILED } from './statuses.js';
import { size } from './values.js';
import { sharedModules } from './shared-modules.js';

/** Seconds after which a boot without a terminal is given up. */
const TIME_LIMIT = 300;

const say = (text: string): void => writeAll(2, Buffer.from(text));

/** Shows each step on a line of its own, and percentages on a terminal in place. */
function progress(): (step: FetchProgress) => void {
  let last = '';
  const inPlace = process.stderr.isTTY;
  return ({ step, message, percent }) => {
    const text = `visorkit: ${message}`;
    if (inPlace && percent !== undefined) {
      say(`\r\x1b[K${text} ${Math.round(percent)} %${percent >= 100 ? '\n' : ''}`);
      last = '';
    } else if (`${step} ${message}` !== last) {
      say(`${text}\n`);
      last = `${step} ${message}`;
    }
  };
}

/** Passes everything on and keeps a copy. */
class Recording implements CharOutput {
  readonly #bytes: number[] = [];
  constructor(private readonly next: CharOutput) {}
  write(byte: number): void {
    this.#bytes.push(byte);
    this.next.write(byte);
  }
  get text(): string {
    return Buffer.from(this.#bytes).toString('latin1');
  }
}

export async function demoCommand(flags: { memory?: string; backend?: string }): Promise<number> {
  const memory = size('--memory', flags.memory ?? '256M');
  const backend = await openBackend({ backend: flags.backend ?? DEFAULT_BACKEND }, undefined, sharedModules);
  const guest = await prepareDebianGuest({ onProgress: progress() });
  const interactive = process.stdin.isTTY && process.stdout.isTTY;
  const parameters = interactive
    ? guestParameters({ mode: 'shell', rows: process.stdout.rows, columns: process.stdout.columns })
    : guestParameters({ mode: 'check' });
  const machine: Omit<AssembleOptions, 'console'> = {
    backend,
    memory,
    cpus: 1,
    time: 'real',
    debugExit: false,
    plugins: [],
    log: stderrLogSink('warn'),
    boot: {
      image: await readImage('--kernel', guest.kernel),
      imageName: guest.kernel,
      commandLine: `console=ttyS0 ${interactive ? 'quiet ' : ''}${parameters}`,
      modules: [{ name: 'initramfs.cpio', data: await readImage('--initrd', guest.initramfs) }],
    },
  };
  say(
    `visorkit: booting ${guest.kernelPackage.name} with ${memory / 2 ** 20} MiB on ${backend.name}${interactive ? '; Ctrl-a x leaves' : ''}\n`,
  );
  const { report, printed } = await boot(machine, interactive);
  tell(report, false);
  if (report.exitStatus !== 0) return report.exitStatus;
  say(`visorkit: ${report.why} ${workOf(report)}.\n`);
  return interactive || checksPassed(printed) ? 0 : STATUS_CHECK_FAILED;
}

/** Boots on the user's terminal, or on standard output with a copy of what the guest prints. */
async function boot(
  machine: Omit<AssembleOptions, 'console'>,
  interactive: boolean,
): Promise<{ report: StopReport; printed: string }> {
  const console = openConsole('stdio', 'none');
  const recording = new Recording(console.serial.output);
  const { input } = console.serial;
  const kept = await keptTranslations(machine.boot);
  const make = () =>
    assemble({
      ...machine,
      plugins: [...machine.plugins, hostTuning(machine.boot), ...kept],
      console: {
        output: interactive ? console.serial.output : recording,
        ...(interactive && input !== undefined ? { input } : {}),
      },
    });
  const report = await runMachine(console, make, interactive ? {} : { timeout: TIME_LIMIT });
  return { report, printed: recording.text };
}
