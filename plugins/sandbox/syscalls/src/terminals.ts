/** The terminals of a sandbox: which there are, and which session has which. */
import type { OpenFile, Process, ProcessOptions } from '@visorkit/linux-abi';
import { FileMode, raise } from '@visorkit/sandbox-fs';
import type { MemoryFs } from '@visorkit/sandbox-fs';
import { Pty, PtyMaster, TerminalNode } from './pty.js';

/** Pairs that there are at most (kernel.pty.max is 4096; each costs the host memory). */
const MOST_PAIRS = 64;

/** All pairs of a sandbox. */
export class Terminals {
  readonly #pairs = new Map<number, Pty>();
  /** By session. */
  readonly #controlling = new Map<number, Pty>();
  readonly ptmx: TerminalNode;
  readonly tty: TerminalNode;
  /** The terminal of the host, if the program was given one: the number of its descriptor. */
  host: number | undefined;

  constructor(
    fs: MemoryFs,
    readonly options: ProcessOptions,
  ) {
    const node = (rdev: bigint, openFor: (process: Process, flags: number) => OpenFile): TerminalNode =>
      new (class extends TerminalNode {
        openFor = openFor;
      })(fs, 'device', FileMode.CHARACTER | 0o666, { rdev });
    this.ptmx = node(0x502n, (_process, flags) => this.#make(fs, flags));
    this.tty = node(0x500n, (process, flags) => this.#ownTerminal(process, flags));
  }

  #make(fs: MemoryFs, flags: number): PtyMaster {
    let number = 0;
    while (this.#pairs.has(number)) number++;
    if (number >= MOST_PAIRS) raise('ENOSPC');
    const pty = new Pty(this, number, fs);
    this.#pairs.set(number, pty);
    return (pty.master = new PtyMaster(pty, flags));
  }

  #ownTerminal(process: Process, flags: number): OpenFile {
    const own = this.#controlling.get(process.session);
    if (own !== undefined) return own.open(flags);
    const host = this.host === undefined ? undefined : process.files.find(this.host);
    return host ?? raise('ENXIO');
  }

  get(number: number): Pty | undefined {
    return this.#pairs.get(number);
  }
  numbers(): number[] {
    return [...this.#pairs.keys()];
  }
  /** The controlling terminal of a process. */
  of(process: Process): Pty | undefined {
    return this.#controlling.get(process.session);
  }
  gone(pty: Pty): void {
    this.#pairs.delete(pty.number);
  }

  /** Makes a terminal the controlling one of a process's session: only its leader can have that, and only once. */
  control(pty: Pty, process: Process): boolean {
    const { session, pid } = process;
    if (session !== pid || this.#controlling.has(session) || pty.session !== 0) return false;
    pty.session = session;
    pty.foreground = process.group;
    this.#controlling.set(session, pty);
    process.onEnd.push(() => {
      if (pty.session === session) pty.hangUp(false);
    });
    return true;
  }

  /** A session has no terminal any more. */
  release(pty: Pty): void {
    this.#controlling.delete(pty.session);
    pty.session = pty.foreground = 0;
  }
}

const all = new WeakMap<ProcessOptions, Terminals>();

/** The terminals of a sandbox, by what its processes share. */
export function terminalsOf(options: ProcessOptions): Terminals {
  let terminals = all.get(options);
  if (terminals === undefined) all.set(options, (terminals = new Terminals(options.fs, options)));
  return terminals;
}
