/** Streams of the host as the program's standard input and outputs: memory, Node streams, descriptors of this process. */
import { closeSync, constants, fstatSync, openSync, readFileSync, writeSync } from 'node:fs';
import type { BigIntStats } from 'node:fs';
import type { ReadStream, WriteStream } from 'node:tty';
import type { Readable, Writable } from 'node:stream';
import { BLOCKED } from '@visorkit/linux-abi';
import type { HostInput, HostOutput, HostTerminal } from '@visorkit/linux-syscalls';
import { hostFileHandle } from '@visorkit/sandbox-fs';
import type { FileHandle } from '@visorkit/sandbox-fs';

/** Something that has to be given back, or written out, at the end. */
export interface Closing {
  /** Resolves when everything is written. */
  flush?(): Promise<void>;
  close?(): void;
}

/** Input that is in memory as a whole. */
export class BytesInput implements HostInput {
  readonly kind = 'pipe';
  onReady = (): void => {};
  #done = 0;

  constructor(private readonly bytes: Uint8Array) {}

  read(target: Uint8Array): number {
    const part = this.bytes.subarray(this.#done, this.#done + target.length);
    target.set(part);
    this.#done += part.length;
    return part.length;
  }

  ready(): boolean {
    return true;
  }
  available(): number {
    return this.bytes.length - this.#done;
  }
}

/** A stream of Node. It is read only when the program reads, so that no more than a stream's buffer is held. */
export class StreamInput implements HostInput, Closing {
  onReady = (): void => {};
  #chunk: Uint8Array = new Uint8Array(0);
  #ended = false;
  /** Once it is read. */
  #stream: Readable | undefined;
  readonly #wake = (): void => this.onReady();
  readonly #end = (): void => {
    this.#ended = true;
    this.onReady();
  };

  /** @param open gives the stream when the program first asks for input: Node makes that of the process itself then, which takes a while */
  constructor(
    private readonly open: () => Readable,
    readonly kind: 'pipe' | 'terminal' = 'pipe',
    readonly terminal?: HostTerminal,
  ) {}

  #opened(): Readable {
    return (this.#stream ??= this.open()
      .on('readable', this.#wake)
      .on('end', this.#end)
      .on('close', this.#end)
      .on('error', this.#end));
  }

  #fill(): boolean {
    const stream = this.#opened();
    if (this.#chunk.length > 0) return true;
    const chunk = stream.read() as Uint8Array | string | null;
    if (chunk === null) return false;
    this.#chunk = typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
    return this.#chunk.length > 0;
  }

  read(target: Uint8Array): number {
    if (!this.#fill()) {
      const { readableEnded, destroyed } = this.#opened();
      return this.#ended || readableEnded || destroyed ? 0 : BLOCKED;
    }
    const count = Math.min(target.length, this.#chunk.length);
    target.set(this.#chunk.subarray(0, count));
    this.#chunk = this.#chunk.subarray(count);
    return count;
  }

  ready(): boolean {
    return this.#fill() || this.#ended;
  }
  available(): number {
    return this.#fill() ? this.#chunk.length : 0;
  }

  close(): void {
    const stream = this.#stream;
    if (stream === undefined) return;
    stream.off('readable', this.#wake).off('end', this.#end).off('close', this.#end).off('error', this.#end).pause();
    // A stream that is read keeps the process alive
    (stream as Partial<{ unref(): void }>).unref?.();
  }
}

/** Keeps everything. */
export class CaptureOutput implements HostOutput {
  readonly kind = 'pipe';
  onReady = (): void => {};
  #data: Uint8Array = new Uint8Array(1024);
  #length = 0;

  write(bytes: Uint8Array): number {
    if (this.#length + bytes.length > this.#data.length) {
      const larger = new Uint8Array(Math.max(this.#data.length * 2, this.#length + bytes.length));
      larger.set(this.#data.subarray(0, this.#length));
      this.#data = larger;
    }
    this.#data.set(bytes, this.#length);
    this.#length += bytes.length;
    return bytes.length;
  }

  ready(): boolean {
    return true;
  }
  get bytes(): Uint8Array {
    return this.#data.slice(0, this.#length);
  }
}

/** Bytes that a program may still write to its outputs together. */
export class OutputBudget {
  /** Whether it wrote more. */
  exceeded = false;

  /** `onExceeded` is called once, when it first writes more than `left`. */
  constructor(
    private left: number,
    private readonly onExceeded: () => void,
  ) {}

  /** An output whose bytes count. What is beyond the limit is dropped, and the program is not told: it is about to end. */
  limit(output: HostOutput): HostOutput {
    return {
      kind: output.kind,
      ...(output.terminal === undefined ? {} : { terminal: output.terminal }),
      write: (bytes) => this.#write(output, bytes),
      ready: () => output.ready(),
      get onReady() {
        return output.onReady;
      },
      set onReady(ready) {
        output.onReady = ready;
      },
    };
  }

  #write(output: HostOutput, bytes: Uint8Array): number {
    const part = bytes.subarray(0, this.left);
    const written = part.length === 0 ? 0 : output.write(part);
    if (written === BLOCKED) return BLOCKED;
    this.left -= written;
    if (written < part.length || part.length === bytes.length) return written;
    if (!this.exceeded) this.onExceeded();
    this.exceeded = true;
    return bytes.length;
  }
}

/** A stream of Node; while it is full, the program waits. */
export class StreamOutput implements HostOutput, Closing {
  readonly kind = 'pipe';
  onReady = (): void => {};
  #full = false;
  #broken: NodeJS.ErrnoException | undefined;
  readonly #drained = (): void => {
    this.#full = false;
    this.onReady();
  };
  readonly #failed = (error: NodeJS.ErrnoException): void => {
    this.#broken = error;
    this.#drained();
  };

  constructor(private readonly stream: Writable) {
    stream.on('drain', this.#drained).on('error', this.#failed).on('close', this.#drained);
  }

  write(bytes: Uint8Array): number {
    if (this.#broken !== undefined || this.stream.destroyed || this.stream.writableEnded)
      throw Object.assign(new Error('the stream was closed'), { code: 'EPIPE', errno: -32 });
    if (this.#full) return BLOCKED;
    this.#full = !this.stream.write(bytes.slice());
    return bytes.length;
  }

  ready(): boolean {
    return !this.#full;
  }

  flush(): Promise<void> {
    if (!this.stream.writableNeedDrain || this.stream.destroyed) return Promise.resolve();
    return new Promise((resolve) => {
      this.stream
        .once('drain', resolve)
        .once('close', resolve)
        .once('error', () => resolve());
    });
  }

  close(): void {
    this.stream.off('drain', this.#drained).off('error', this.#failed).off('close', this.#drained);
  }
}

/**
 * With bigints on purpose: Node's module loader looks at the numbers of the last fstat, and stops resolving links after one of a pipe
 * (realpathSync reads statValues for paths it knows).
 */
const statusOf = (descriptor: number): BigIntStats => fstatSync(descriptor, { bigint: true });

/** How long a full pipe is left alone, in ms. Node cannot be told when there is room without a thread that waits. */
const RETRY_MS = 1;

/**
 * A descriptor of this process. Pipes and terminals are opened a second time without blocking, so that a reader who does not
 * read holds up the program, and neither this process nor its time limit.
 */
export class DescriptorOutput implements HostOutput, Closing {
  readonly kind: 'pipe' | 'terminal' | 'file';
  readonly terminal?: HostTerminal;
  onReady = (): void => {};
  readonly #descriptor: number;
  readonly #own: boolean;
  #full = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(descriptor: number, terminal?: HostTerminal) {
    const stat = statusOf(descriptor);
    this.kind = terminal !== undefined ? 'terminal' : stat.isFile() ? 'file' : 'pipe';
    if (terminal !== undefined) this.terminal = terminal;
    let own = -1;
    if (stat.isFIFO() || terminal !== undefined) {
      try {
        own = openSync(`/proc/self/fd/${descriptor}`, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
      } catch {
        // no /proc, or nobody reads: then the descriptor itself
      }
    }
    this.#own = own >= 0;
    this.#descriptor = own >= 0 ? own : descriptor;
  }

  write(bytes: Uint8Array): number {
    if (this.#full) return BLOCKED;
    try {
      return writeSync(this.#descriptor, bytes);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      this.#full = true;
      this.#timer = setTimeout(() => {
        this.#full = false;
        this.onReady();
      }, RETRY_MS);
      return BLOCKED;
    }
  }

  ready(): boolean {
    return !this.#full;
  }

  close(): void {
    clearTimeout(this.#timer);
    if (this.#own) closeSync(this.#descriptor);
  }
}

function terminalOf(): HostTerminal {
  const { stdin, stdout, stderr } = process as { stdin: ReadStream; stdout: WriteStream; stderr: WriteStream };
  return {
    size: () => ({ columns: stdout.columns ?? stderr.columns ?? 80, rows: stdout.rows ?? stderr.rows ?? 24 }),
    setRaw: (raw) => stdin.isTTY && stdin.setRawMode(raw),
  };
}

/** Where a file that is open already stands (proc(5), fdinfo). */
function position(descriptor: number): number {
  try {
    return Number(/^pos:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${descriptor}`, 'latin1'))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

/** This process's standard input: the file itself when it is one. */
export function inheritedInput(): (HostInput & Closing) | FileHandle {
  try {
    if (statusOf(0).isFile()) return hostFileHandle(0, position(0));
  } catch {
    return new BytesInput(new Uint8Array(0)); // closed
  }
  const terminal = isTerminal(0) ? terminalOf() : undefined;
  return new StreamInput(() => process.stdin, terminal === undefined ? 'pipe' : 'terminal', terminal);
}

export function inheritedOutput(descriptor: 1 | 2): DescriptorOutput {
  return new DescriptorOutput(descriptor, isTerminal(descriptor) ? terminalOf() : undefined);
}

/** Node's module for terminals is loaded only for what may be one. */
function isTerminal(descriptor: number): boolean {
  try {
    return fstatSync(descriptor).isCharacterDevice() && process.getBuiltinModule('node:tty').isatty(descriptor);
  } catch {
    return false; // closed
  }
}
