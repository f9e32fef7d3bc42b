/** Runs a machine as a process of its own and stamps the lines it prints with this process's clock. */
import { spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

export interface StampedLine {
  readonly text: string;
  /** Milliseconds since the start of the process when its first and its last byte came. */
  readonly first: number;
  readonly last: number;
}

export interface ProcessRun {
  readonly lines: readonly StampedLine[];
  readonly wallMs: number;
  /** Peak resident memory in KiB, as last seen while it ran. */
  readonly peakKiB: number;
  /** Processor time of all its threads in seconds, as last seen: what is left of a busy host's noise. */
  readonly cpuSeconds: number;
  readonly status: number | null;
  readonly timedOut: boolean;
  /** The end of what it wrote to standard error. */
  readonly errors: string;
}

export interface ProcessOptions {
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** A FIFO that carries the guest's console; standard output by default. */
  readonly fifo?: string;
  readonly timeoutMs: number;
  /** When a line satisfies this, the process has a moment to end by itself and is then ended. */
  readonly isLast?: (line: string) => boolean;
}

/** What a machine is given to end after its guest's last words. */
const GRACE_MS = 2000;
/** The kernel keeps the peak, so that looking now and then does. */
const PEAK_EVERY_MS = 20;

/** What a process of Node that does nothing takes, in milliseconds. */
export function nodeStartMs(): number {
  const began = performance.now();
  spawnSync(process.execPath, ['-e', '0']);
  return performance.now() - began;
}

function peakOf(pid: number): number {
  try {
    return Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
  } catch {
    return 0; // it is gone, or this is no Linux
  }
}

/** User and system time (fields 14 and 15 of proc(5)'s stat), in the kernel's ticks of 10 ms. */
function cpuOf(pid: number): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1')
      .replace(/^.*\) /s, '')
      .split(' ');
    return (Number(fields[11]) + Number(fields[12])) / 100;
  } catch {
    return 0;
  }
}

export function runProcess(options: ProcessOptions): Promise<ProcessRun> {
  return new Promise((resolve, reject) => {
    const lines: StampedLine[] = [];
    let pending = '',
      pendingFirst = 0,
      errors = '',
      peakKiB = 0,
      cpuSeconds = 0,
      timedOut = false,
      ended = 0;
    let grace: NodeJS.Timeout | undefined;
    const started = performance.now();
    const child = spawn(options.command, options.args, {
      cwd: options.cwd,
      env: { ...process.env, ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    // A FIFO is read by a process of its own: opening it waits for its writer, which may never come.
    const reader =
      options.fifo === undefined ? undefined : spawn('cat', [options.fifo], { stdio: ['ignore', 'pipe', 'ignore'] });
    const look = (): void => {
      peakKiB = Math.max(peakKiB, peakOf(child.pid ?? 0));
      cpuSeconds = Math.max(cpuSeconds, cpuOf(child.pid ?? 0));
    };
    const looking = setInterval(look, PEAK_EVERY_MS);
    const limit = setTimeout(() => {
      timedOut = true;
      child.kill('SIGKILL');
    }, options.timeoutMs);
    const take = (chunk: Buffer): void => {
      const now = performance.now() - started;
      for (const character of chunk.toString('latin1')) {
        if (character !== '\n') {
          if (pending === '') pendingFirst = now;
          pending += character;
          continue;
        }
        const text = pending.replace(/\r$/, '');
        lines.push({ text, first: pendingFirst, last: now });
        pending = '';
        if (options.isLast?.(text) === true) {
          look();
          grace ??= setTimeout(() => child.kill('SIGTERM'), GRACE_MS);
        }
      }
    };
    const stop = (): void => {
      clearInterval(looking);
      clearTimeout(limit);
      clearTimeout(grace);
    };
    if (reader === undefined) child.stdout.on('data', take);
    else {
      reader.stdout.on('data', take);
      child.stdout.resume();
    }
    child.stderr.on('data', (chunk: Buffer) => {
      errors = (errors + chunk.toString('utf8')).slice(-4000);
    });
    child.on('error', (error) => {
      stop();
      reader?.kill();
      reject(error);
    });
    child.on('exit', () => {
      ended = performance.now() - started;
      setTimeout(() => reader?.kill(), 100); // if its writer never opened the FIFO
    });
    child.on('close', (status) => {
      stop();
      resolve({ lines, wallMs: ended, peakKiB, cpuSeconds, status, timedOut, errors });
    });
  });
}
