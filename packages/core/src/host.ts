/**
 * What the frame needs from the program around it: the time, a way to sleep, a log, the bytes of a file beside a module. For everything else
 * it uses the language alone, so that it runs wherever JavaScript and WebAssembly do.
 *
 * There are two hosts: Node, and whatever has the globals of the web (pages, their workers, other runtimes). Node is recognised when this
 * module is loaded, and its modules are asked for by `process.getBuiltinModule`; nothing is imported, so a bundle for a browser and one
 * for Node are made of the same files.
 */
export interface Host {
  /** Monotonic time in milliseconds with fractions, from a moment that the host chooses. */
  now(): number;
  /** Time of the calendar, in milliseconds since 1970 UTC. */
  date(): number;
  /** Calls back as soon as the event loop has done what is ready now. */
  defer(callback: () => void): void;
  /**
   * Calls back once, after `ms` milliseconds. A timer of Infinity never calls back, but keeps the program alive as any other does. A time beyond
   * the host's longest timer (some 24 days) is shortened to it. Returns the function that cancels the timer.
   */
  after(ms: number, callback: () => void): () => void;
  /** Blocks the thread for `ms` milliseconds. Returns false at once where that is forbidden, as on the thread of a page. */
  block(ms: number): boolean;
  /** Writes a line for the person who runs the program; on Node to standard error. */
  log(line: string): void;
  /** The bytes at a URL, which may be a file's on Node. Rejects with the host's own error. */
  read(url: URL): Promise<Uint8Array<ArrayBuffer>>;
  /** Like `read`, done when it returns; hosts without files do not have it. */
  readonly readNow?: (url: URL) => Uint8Array<ArrayBuffer>;
  /**
   * Decompresses gzip with the host's own code, if that works synchronously. Throws when the data are damaged or unpack to more than `limit` bytes.
   */
  readonly gunzip?: (bytes: Uint8Array, limit: number) => Uint8Array<ArrayBuffer>;
  /**
   * To be called before WebAssembly is compiled. Where the host's optimising compiler is known to give wrong results, it leaves out from then on what does; and where it
   * has to be asked to, it looks at what modules say of their branches.
   */
  readonly setUpOptimiser?: () => void;
  /**
   * The module of a WebAssembly binary that the program has compiled code of from before; undefined: it has none, and the binary is compiled. Neither
   * host has it: a program may set it, as the command line does with `keptModule` of @visorkit/project.
   */
  keptModule?: (binary: Uint8Array<ArrayBuffer>) => object | undefined;
}

/** Of timers, in ms. */
const LONGEST = 2 ** 31 - 1;

/** A host that uses only the globals of the web. */
export function webHost(): Host {
  let cell: Int32Array<SharedArrayBuffer> | undefined;
  const waiting: (() => void)[] = [];
  let channel: MessageChannel | undefined;
  return {
    now: () => performance.now(),
    date: () => Date.now(),
    // On the web only a message is delivered at once: each timer in a chain waits four milliseconds
    defer(callback) {
      if (channel === undefined) {
        channel = new MessageChannel();
        channel.port1.onmessage = () => waiting.shift()!();
      }
      waiting.push(callback);
      channel.port2.postMessage(0);
    },
    after(ms, callback) {
      const timer =
        ms === Infinity ? setInterval(() => {}, LONGEST) : setTimeout(callback, Math.min(Math.max(ms, 0), LONGEST));
      return () => clearTimeout(timer);
    },
    block(ms) {
      try {
        cell ??= new Int32Array(new SharedArrayBuffer(4));
        Atomics.wait(cell, 0, 0, ms);
        return true;
      } catch {
        return false;
      }
    },
    log: (line) => console.error(line),
    async read(url) {
      const response = await fetch(url);
      if (!response.ok) throw new Error(`${url.href}: HTTP status ${response.status}`);
      return new Uint8Array(await response.arrayBuffer());
    },
  };
}

/**
 * V8 11 joins a move of 64 bits with one of 32 bits from and to the same registers where branches meet: the upper half of a guest's register was 0 (seed 2151007150
 * of packages/engine/src/translator/exactness.test.ts). V8 12 does not.
 */
const WITH_WRONG_MOVES = /^2[01]\./;
const NO_MOVES = '--no-turbo-move-optimization';
/** Translated code says which branches are seldom taken (WebAssembly branch hinting), and these versions look at it only then. */
const WITH_HINTS_ASKED_FOR = /^2[0-4]\./;
const HINTS = '--experimental-wasm-branch-hinting';

/** Node: faster ways to sleep, files, zlib. */
function nodeHost(process: NodeProcess): Host {
  const web = webHost();
  const fs = process.getBuiltinModule('node:fs');
  return {
    ...web,
    // To load Node's `performance` takes longer than to compose a VM
    now: () => {
      const time = process.hrtime();
      return time[0] * 1e3 + time[1] / 1e6;
    },
    defer: (callback) => void setImmediate(callback),
    log: (line) => void process.stderr.write(`${line}\n`),
    // at once: to load Node's promises of files takes longer than to read one
    read: async (url) => (url.protocol === 'file:' ? fs.readFileSync(url) : web.read(url)),
    readNow: (url) => fs.readFileSync(url),
    setUpOptimiser: () => {
      const { node } = process.versions,
        v8 = process.getBuiltinModule('node:v8');
      if (WITH_WRONG_MOVES.test(node)) v8.setFlagsFromString(NO_MOVES);
      if (WITH_HINTS_ASKED_FOR.test(node)) v8.setFlagsFromString(HINTS);
    },
    gunzip: (bytes, maxOutputLength) =>
      new Uint8Array(process.getBuiltinModule('node:zlib').gunzipSync(bytes, { maxOutputLength })),
  };
}

/** The globals of the web and of Node that are used here, and nowhere else in the frame. */
declare const performance: { now(): number };
declare const console: { error(line: string): void };
declare function setTimeout(callback: () => void, ms: number): Timer;
declare function setInterval(callback: () => void, ms: number): Timer;
declare function clearTimeout(timer: Timer): void;
declare function setImmediate(callback: () => void): unknown;
declare function fetch(url: URL): Promise<{ ok: boolean; status: number; arrayBuffer(): Promise<ArrayBuffer> }>;
declare class MessageChannel {
  readonly port1: { onmessage: (() => void) | null };
  readonly port2: { postMessage(message: unknown): void };
}
type Timer = number | object;

interface NodeProcess {
  /** Seconds, and nanoseconds of the next. */
  hrtime(): [number, number];
  readonly stderr: { write(text: string): unknown };
  getBuiltinModule(name: 'node:fs'): {
    readFileSync(url: URL): Uint8Array<ArrayBuffer>;
  };
  readonly versions: { readonly node: string };
  getBuiltinModule(name: 'node:v8'): { setFlagsFromString(flag: string): void };
  getBuiltinModule(name: 'node:zlib'): {
    gunzipSync(bytes: Uint8Array, options: { maxOutputLength: number }): Uint8Array<ArrayBuffer>;
  };
}

/** Where this program runs. */
export const host: Host = (() => {
  const { process } = globalThis as { process?: Partial<NodeProcess> };
  return typeof process?.getBuiltinModule === 'function' ? nodeHost(process as NodeProcess) : webHost();
})();
