/**
 * Programs for a server: several threads that each run one program after the other, a queue with a bound before them. The thread of the
 * server is left alone, and all processors are used. docs/serving.md has figures.
 */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { VisorkitError, fail } from '@visorkit/core';
import { wholeFrom } from './limits.js';
import type { ElfJob, FromWorker, SentError, ToWorker } from './pool-messages.js';
import type { RunElfResult } from './run-elf.js';

export interface ElfPoolOptions {
  /** Threads, so many programs run at a time; as many as there are processors unless given. */
  readonly workers?: number;
  /** Programs that may wait for a thread; 1000 unless given. One more is refused with POOL_FULL. */
  readonly maxQueued?: number;
  /** What every program is run with unless its job says otherwise. `maxOutput` is 64 MiB unless given: it is held in memory. */
  readonly defaults?: Partial<ElfJob>;
  /**
   * Seconds that a thread may take beyond its program's time limit, or beyond an abort, before it is ended and replaced; 5 unless given.
   * No program can bring that about: it is for errors in the sandbox itself.
   */
  readonly grace?: number;
  /** The script of the threads, where a bundler has moved it. */
  readonly script?: URL;
}

const MAX_QUEUED = 1000;
const MAX_OUTPUT = 64 << 20;
const GRACE = 5;

/** A job from when it is given to its end. */
interface Task {
  readonly job: ElfJob;
  readonly resolve: (result: RunElfResult) => void;
  readonly reject: (error: unknown) => void;
  /** Stops listening to the job's signal. */
  forget: () => void;
}

/**
 * Runs programs in threads, as {@link runElf} does in this one. An idle pool does not keep the process alive; `dispose` ends its threads.
 *
 * ```ts
 * await using pool = new ElfPool({ defaults: { memory: '64M', timeout: 10 } });
 * const { status, stdout } = await pool.run({ file: '/srv/tools/convert', args: ['-'], stdin: bytes });
 * ```
 */
export class ElfPool implements AsyncDisposable {
  readonly #options: ElfPoolOptions;
  readonly #limit: number;
  readonly #maxQueued: number;
  readonly #threads = new Set<Thread>();
  readonly #waiting: Task[] = [];
  #closed: Promise<void> | undefined;

  /** Starts the threads. Throws SANDBOX_LIMIT. */
  constructor(options: ElfPoolOptions = {}) {
    this.#options = options;
    this.#limit = wholeFrom('workers', options.workers ?? availableParallelism(), 1);
    this.#maxQueued = wholeFrom('maxQueued', options.maxQueued ?? MAX_QUEUED, 0);
    for (let i = 0; i < this.#limit; i++) this.#start();
  }

  /** Programs that run. */
  get running(): number {
    return [...this.#threads].filter(({ task }) => task !== undefined).length;
  }

  /** Programs that wait for a thread. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /**
   * Runs a program when a thread is free. Its time limit begins when it does. `signal`, once aborted, ends a program that runs (its
   * status is 130 then), and takes one that waits out of the queue.
   * @throws VisorkitError what runElf throws; POOL_FULL, POOL_CLOSED, POOL_ABORTED before it began, POOL_JOB for what no thread can be
   * told, POOL_WORKER when the thread itself failed
   */
  async run(job: ElfJob, { signal }: { readonly signal?: AbortSignal } = {}): Promise<RunElfResult> {
    if (this.#closed !== undefined) fail('POOL_CLOSED', 'The pool was disposed of; it runs no more programs.');
    if (signal?.aborted) throw aborted();
    if (this.#waiting.length >= this.#maxQueued + this.#free())
      fail(
        'POOL_FULL',
        `${this.#waiting.length} programs wait already, and the pool was made for ${this.#maxQueued}. Try again later, or give it more threads or a longer queue (maxQueued).`,
        { waiting: this.#waiting.length },
      );
    return new Promise<RunElfResult>((resolve, reject) => {
      const full = { maxOutput: MAX_OUTPUT, ...this.#options.defaults, ...job };
      const task: Task = { job: full, resolve, reject, forget: () => signal?.removeEventListener('abort', abort) };
      const abort = (): void => this.#abort(task);
      signal?.addEventListener('abort', abort, { once: true });
      this.#waiting.push(task);
      this.#next();
    });
  }

  /** Refuses what waits, aborts what runs (with status 130), and resolves when every thread has ended. */
  dispose(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  async #close(): Promise<void> {
    for (const task of this.#waiting.splice(0)) {
      task.forget();
      task.reject(new VisorkitError('POOL_CLOSED', 'The pool was disposed of before the program could begin.'));
    }
    await Promise.all([...this.#threads].map((thread) => thread.dispose()));
  }

  #abort(task: Task): void {
    const at = this.#waiting.indexOf(task);
    if (at < 0) {
      for (const thread of this.#threads) if (thread.task === task) thread.abort();
      return;
    }
    this.#waiting.splice(at, 1);
    task.reject(aborted());
  }

  /** Threads that could take a program now or when they have started. */
  #free(): number {
    return this.#limit - this.running;
  }

  #start(): void {
    const { script, defaults, grace = GRACE } = this.#options;
    const thread = new Thread(script ?? new URL('./pool-worker.js', import.meta.url), defaults?.backend, grace * 1000, {
      free: () => this.#next(),
      gone: (error) => {
        this.#threads.delete(thread);
        // When a thread fails before it is ready, one waiting program fails with it. Otherwise a thread that can never start would be restarted for ever
        if (!thread.ready) this.#fail(this.#waiting.shift(), error);
        this.#next();
      },
    });
    this.#threads.add(thread);
  }

  #fail(task: Task | undefined, error: VisorkitError): void {
    task?.forget();
    task?.reject(error);
  }

  /** Gives waiting programs to free threads, and replaces threads that are gone. */
  #next(): void {
    if (this.#closed !== undefined) return;
    for (const thread of this.#threads) {
      if (!thread.ready || thread.task !== undefined) continue;
      const task = this.#waiting.shift();
      if (task === undefined) return;
      thread.run(task);
    }
    while (this.#threads.size < this.#limit && this.#waiting.length > 0) this.#start();
  }
}

/** One worker. */
class Thread {
  ready = false;
  task: Task | undefined;
  readonly #worker: Worker;
  readonly #ended: Promise<void>;
  #watchdog: NodeJS.Timeout | undefined;
  #error: Error | undefined;
  #disposed = false;

  constructor(
    script: URL,
    backend: string | undefined,
    private readonly grace: number,
    private readonly pool: { free(): void; gone(error: VisorkitError): void },
  ) {
    // A thread has the flags of its process; --input-type, which is about the text of -e, would have it refuse its file
    const ofText = process.execArgv.some((argument) => argument.startsWith('--input-type'));
    this.#worker = new Worker(script, { workerData: { backend }, ...(ofText ? { execArgv: [] } : {}) });
    this.#worker.on('message', (message: FromWorker) => this.#receive(message));
    this.#worker.on('error', (error: Error) => {
      this.#error = error;
    });
    this.#ended = new Promise((resolve) => {
      this.#worker.once('exit', (status) => {
        this.#gone(status);
        resolve();
      });
    });
  }

  run(task: Task): void {
    this.task = task;
    this.#worker.ref();
    const { timeout } = task.job;
    if (timeout !== undefined) this.#watch(timeout * 1000 + this.grace);
    try {
      this.#say({ kind: 'run', job: task.job });
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      const sentence = `A thread cannot be told this job: ${why} Functions and streams are for runElf; a pool takes text and bytes.`;
      this.#end(() => task.reject(new VisorkitError('POOL_JOB', sentence, undefined, error)));
    }
  }

  abort(): void {
    this.#say({ kind: 'abort' });
    this.#watch(this.grace);
  }

  async dispose(): Promise<void> {
    if (this.task === undefined) void this.#worker.terminate();
    else this.abort(); // the worker closes what it has open on the host; #end ends it then
    this.#disposed = true;
    await this.#ended;
  }

  #say(message: ToWorker): void {
    this.#worker.postMessage(message);
  }

  #receive(message: FromWorker): void {
    if (message.kind === 'ready') {
      this.ready = true;
      this.#worker.unref(); // until here a program may wait for it
      this.pool.free();
      return;
    }
    const { task } = this;
    if (task === undefined) return;
    this.#end(() => {
      if (message.kind === 'result') task.resolve(message.result);
      else task.reject(received(message.error));
    });
  }

  /** The program has ended: the thread is free for the next one. */
  #end(tell: () => void): void {
    clearTimeout(this.#watchdog);
    this.task?.forget();
    this.task = undefined;
    this.#worker.unref();
    tell();
    if (this.#disposed) void this.#worker.terminate();
    else this.pool.free();
  }

  #watch(milliseconds: number): void {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => {
      this.#error = new Error('it did not answer in time');
      void this.#worker.terminate();
    }, milliseconds);
  }

  #gone(status: number): void {
    clearTimeout(this.#watchdog);
    const { task } = this;
    this.task = undefined;
    const why = this.#error?.message ?? `it ended with status ${status}`;
    const error = new VisorkitError('POOL_WORKER', `A thread of the pool failed: ${why}.`, { status }, this.#error);
    task?.forget();
    task?.reject(error);
    this.pool.gone(error);
  }
}

/** An error of a worker, as it was there. */
function received({ code, message, details, stack }: SentError): Error {
  const error = code === undefined ? new Error(message) : new VisorkitError(code, message, details);
  if (stack !== undefined) error.stack = stack;
  return error;
}

function aborted(): VisorkitError {
  return new VisorkitError('POOL_ABORTED', 'The program was aborted before it began.');
}
