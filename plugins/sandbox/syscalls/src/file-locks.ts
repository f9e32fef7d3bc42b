/**
 * Locks on files between the processes of a sandbox: who holds which bytes, who waits for whom (flock(2), fcntl(2)). They are the sandbox's own: nothing is locked
 * on the host.
 *
 * An owner is an open file, for flock and for OFD locks, or a table of descriptors, for those of POSIX, which belong to a process.
 */
import { FilePages } from '@visorkit/linux-abi';
import type { FileTable, OpenFile, ProcessOptions } from '@visorkit/linux-abi';

export const READ = 0,
  WRITE = 1;
type Mode = typeof READ | typeof WRITE;
/** The two kinds do not see one another (flock(2), "Notes"). */
export type Kind = 'flock' | 'record';
export type LockOwner = OpenFile | FileTable;

/** Bytes from `start` to `end`, both included; without an end Infinity. */
export interface Range {
  readonly start: number;
  readonly end: number;
}
export interface Lock extends Range {
  readonly owner: LockOwner;
  readonly mode: Mode;
  /** The process that set it, -1 for an open file's (F_GETLK, `l_pid`). */
  readonly pid: number;
}
export const WHOLE: Range = { start: 0, end: Infinity };

const overlap = (a: Range, b: Range): boolean => a.start <= b.end && b.start <= a.end;
const touch = (a: Range, b: Range): boolean => a.start <= b.end + 1 && b.start <= a.end + 1;

/** A call that waits for a lock. */
interface Request {
  readonly list: string;
  readonly lock: Lock;
}

export class FileLocks {
  /** By kind and file. */
  readonly #lists = new Map<string, Lock[]>();
  /** Calls that wait, by thread. */
  readonly #waiting = new Map<number, Request>();

  private constructor(private readonly wake: () => void) {}

  static readonly #all = new WeakMap<ProcessOptions, FileLocks>();
  /** Those of a sandbox. */
  static of(options: ProcessOptions): FileLocks {
    let locks = FileLocks.#all.get(options);
    if (locks === undefined) FileLocks.#all.set(options, (locks = new FileLocks(options.wake)));
    return locks;
  }

  /** The first lock in the way of this one. */
  conflict(kind: Kind, file: OpenFile, wanted: Lock): Lock | undefined {
    return this.#conflict(listName(kind, file), wanted);
  }
  #conflict(list: string, { owner, mode, ...range }: Lock): Lock | undefined {
    return this.#lists
      .get(list)
      ?.find((held) => held.owner !== owner && (mode === WRITE || held.mode === WRITE) && overlap(held, range));
  }

  /** Sets a lock that nothing is in the way of; what the owner held of these bytes becomes it. */
  set(kind: Kind, file: OpenFile, lock: Lock): void {
    const name = listName(kind, file);
    let { start, end } = lock;
    const others: Lock[] = [];
    for (const held of this.#without(name, lock.owner, lock)) {
      if (held.owner === lock.owner && held.mode === lock.mode && touch(held, { start, end })) {
        start = Math.min(start, held.start);
        end = Math.max(end, held.end);
      } else others.push(held);
    }
    others.push({ ...lock, start, end });
    this.#lists.set(
      name,
      others.sort((a, b) => a.start - b.start),
    );
    file.release ??= () => this.#leave(file);
    if (lock.owner !== file) (lock.owner as FileTable).onClose ??= (closed) => this.#closed(lock.owner, closed);
    this.wake();
  }

  /** Takes bytes from what an owner holds. */
  unset(kind: Kind, file: OpenFile, owner: LockOwner, range: Range): void {
    const name = listName(kind, file);
    if (this.#lists.has(name)) this.#put(name, this.#without(name, owner, range));
  }

  #without(name: string, owner: LockOwner, range: Range): Lock[] {
    return (this.#lists.get(name) ?? []).flatMap((held) => {
      if (held.owner !== owner || !overlap(held, range)) return [held];
      return [
        ...(held.start < range.start ? [{ ...held, end: range.start - 1 }] : []),
        ...(held.end > range.end ? [{ ...held, start: range.end + 1 }] : []),
      ];
    });
  }
  #put(name: string, locks: Lock[]): void {
    if (locks.length > 0) this.#lists.set(name, locks);
    else this.#lists.delete(name);
    this.wake();
  }

  /** The mode in which an owner holds all of a file. */
  held(kind: Kind, file: OpenFile, owner: LockOwner): Mode | undefined {
    return this.#lists.get(listName(kind, file))?.find((lock) => lock.owner === owner)?.mode;
  }

  // ---- waiting

  /** A thread waits for a lock; false: it would wait for an owner that waits for it, itself or through others (EDEADLK). */
  waits(thread: number, kind: Kind, file: OpenFile, lock: Lock): boolean {
    const list = listName(kind, file);
    const seen = new Set<LockOwner>();
    for (let { owner } = this.#conflict(list, lock) ?? lock; owner !== lock.owner && !seen.has(owner); ) {
      seen.add(owner);
      const next = [...this.#waiting.values()].find((request) => request.lock.owner === owner);
      const blocker = next && this.#conflict(next.list, next.lock);
      if (blocker === undefined) break;
      if (blocker.owner === lock.owner) return false;
      ({ owner } = blocker);
    }
    this.#waiting.set(thread, { list, lock });
    return true;
  }
  /** A thread waits no longer. */
  stopWaiting(thread: number): void {
    this.#waiting.delete(thread);
  }

  // ---- what is closed

  /** A process has closed a descriptor: its locks on that file go, whichever descriptor they came by (fcntl(2)). */
  #closed(owner: LockOwner, file: OpenFile): void {
    if (this.#lists.size > 0) this.unset('record', file, owner, WHOLE);
  }
  /** An open file's last descriptor is gone. */
  #leave(file: OpenFile): void {
    for (const kind of ['flock', 'record'] as const) this.unset(kind, file, file, WHOLE);
  }
}

const listName = (kind: Kind, file: OpenFile): string => `${kind} ${FilePages.key(file.stat())}`;
