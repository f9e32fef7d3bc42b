/**
 * `visorkit demo`, the main job of `npm start`: Debian's unmodified kernel with busybox. On a terminal a shell, without one the boot
 * log, a self-check in the guest and a clean power-off.
 */
import { readFileSync } from 'node:fs';
import { checksPassed, guestParameters, prepareDebianGuest } from '@visorkit/guests';
import type { FetchProgress } from '@visorkit/guests';
import type { CharOutput } from '@visorkit/machine';
import { assemble } from './assemble.js';
import { tell } from './run-command.js';
import { openSerial, writeAll } from './serial.js';
import { size } from './values.js';

/** Status when the guest's self-check found something. */
const STATUS_CHECK_FAILED = 1;

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
  const guest = await prepareDebianGuest({ onProgress: progress() });
  const interactive = process.stdin.isTTY && process.stdout.isTTY;
  const memory = size('--memory', flags.memory ?? '256M');
  const parameters = interactive
    ? guestParameters({ mode: 'shell', rows: process.stdout.rows, columns: process.stdout.columns })
    : guestParameters({ mode: 'check' });
  say(`visorkit: booting ${guest.kernelPackage.name} with ${memory / 2 ** 20} MiB on ${flags.backend ?? 'vmx'}${interactive ? '; Ctrl-a x leaves' : ''}\n`);
  const leaving = new AbortController();
  const serial = openSerial('stdio', () => leaving.abort());
  const recording = new Recording(serial.output);
  const onInterrupt = (): void => leaving.abort();
  process.on('SIGINT', onInterrupt);
  try {
    await using vmm = assemble({
      backend: flags.backend ?? 'vmx', memory, cpus: 1, time: 'real', debugExit: false, plugins: [],
      console: { output: interactive ? serial.output : recording, ...(interactive && serial.input !== undefined ? { input: serial.input } : {}) },
      boot: {
        image: readFileSync(guest.kernel), imageName: guest.kernel,
        commandLine: `console=ttyS0 ${interactive ? 'quiet ' : ''}${parameters}`,
        modules: [{ name: 'initramfs.cpio', data: readFileSync(guest.initramfs) }],
      },
    });
    const report = await vmm.run({ signal: leaving.signal, ...(interactive ? {} : { timeout: TIME_LIMIT }) });
    serial.close();
    if (interactive && report.reason === 'aborted') return 0; // the user left
    tell(report, false);
    if (report.exitStatus !== 0) return report.exitStatus;
    say(`visorkit: ${report.why} ${report.guestInstructions} instructions in ${report.wallSeconds} s (${report.mips} MIPS).\n`);
    return interactive || checksPassed(recording.text) ? 0 : STATUS_CHECK_FAILED;
  } finally {
    process.off('SIGINT', onInterrupt);
    serial.close();
  }
}
