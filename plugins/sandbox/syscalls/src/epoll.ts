/**
 * epoll(7). As in Linux (fs/eventpoll.c) there is a list of what may be ready: a file that says that something arrived puts its
 * entry at the end, a wait takes entries from the beginning. What is still ready stays in the list unless the entry is edge-triggered, so that
 * such an entry comes back with the next arrival only.
 */
import { OpenFile, Poll, formats, readBig } from '@visorkit/linux-abi';
import type { SystemCall, SystemCallDefinition } from '@visorkit/linux-abi';
import { Errno, FileMode, OpenFlag, raise } from '@visorkit/sandbox-fs';
import type { FileStat } from '@visorkit/sandbox-fs';
import { anonymousStat } from './anonymous.js';
import { eventsOf, milliseconds, timespecTimeout, waitFor } from './readiness.js';

const { descriptor, int, oneOf, pointer, size } = formats;

const EPOLLET = 0x8000_0000,
  EPOLLONESHOT = 0x4000_0000;
/** Bits that say for what, not how; an entry without any of them is switched off. */
const EVENTS = 0xffff;
/** What is told whether it was asked for or not. */
const ALWAYS = Poll.ERR | Poll.HUP;
const CTL = { ADD: 1, DEL: 2, MOD: 3 } as const;
const EVENT_SIZE = 12;
/** EP_MAX_EVENTS. */
const MOST_EVENTS = Math.floor(0x7fff_ffff / EVENT_SIZE);
/** How deep epolls may watch one another. */
const MOST_NESTED = 5;

/** A file that is watched, under the number by which it was added. */
class Interest {
  /** Edge-triggered files that do not notify: what was ready at the last look. */
  #seen = 0;
  events: number;
  readonly #watcher = (events: number): void => {
    if (((events === 0 ? EVENTS : events) & this.events & EVENTS) !== 0) this.arrived(this);
  };

  constructor(
    readonly file: OpenFile,
    readonly number: number,
    events: number,
    public data: bigint,
    private readonly arrived: (interest: Interest) => void,
  ) {
    this.events = events | ALWAYS;
    (file.watchers ??= new Set()).add(this.#watcher);
  }

  get edge(): boolean {
    return (this.events & EPOLLET) !== 0;
  }

  /** Changed: what is ready now is news. */
  set(events: number, data: bigint): void {
    this.events = events | ALWAYS;
    this.data = data;
    this.#seen = 0;
  }

  /** What it is ready for, of what is asked. */
  state(): number {
    return eventsOf(this.file) & this.events & EVENTS;
  }

  /** Whether a file that does not notify has something that it had not at the last look. */
  news(state: number): boolean {
    const fresh = (state & ~this.#seen) !== 0;
    this.#seen = state;
    return fresh;
  }

  leave(): void {
    this.file.watchers?.delete(this.#watcher);
  }
}

interface EpollEvent {
  readonly events: number;
  readonly data: bigint;
}

class EpollFile extends OpenFile {
  readonly name = 'anon_inode:[eventpoll]';
  readonly #interests = new Map<OpenFile, Map<number, Interest>>();
  /** In the order in which they are reported. */
  readonly #ready = new Set<Interest>();
  readonly #arrived = (interest: Interest): void => {
    this.#ready.add(interest);
    this.notify(Poll.IN);
  };

  stat(): FileStat {
    return anonymousStat(1, 0o600);
  }
  override get notifies(): boolean {
    return true;
  }

  find(file: OpenFile, number: number): Interest | undefined {
    return this.#interests.get(file)?.get(number);
  }

  add(file: OpenFile, number: number, events: number, data: bigint): void {
    const interest = new Interest(file, number, events, data, this.#arrived);
    let ofFile = this.#interests.get(file);
    if (ofFile === undefined) this.#interests.set(file, (ofFile = new Map()));
    ofFile.set(number, interest);
    if (interest.state() !== 0) this.#arrived(interest);
  }

  change(interest: Interest, events: number, data: bigint): void {
    interest.set(events, data);
    if (interest.state() !== 0 && !this.#ready.has(interest)) this.#arrived(interest);
  }

  remove(interest: Interest): void {
    interest.leave();
    this.#ready.delete(interest);
    const ofFile = this.#interests.get(interest.file);
    ofFile?.delete(interest.number);
    if (ofFile?.size === 0) this.#interests.delete(interest.file);
  }

  /** How many descriptors it watches. */
  get size(): number {
    let size = 0;
    for (const ofFile of this.#interests.values()) size += ofFile.size;
    return size;
  }

  /** Takes what is ready, at most `most`. */
  take(most: number): EpollEvent[] {
    this.#look();
    const found: EpollEvent[] = [];
    for (const interest of [...this.#ready]) {
      if (found.length >= most) break;
      const state = interest.state();
      this.#ready.delete(interest);
      if (state === 0) continue;
      found.push({ events: state, data: interest.data });
      if ((interest.events & EPOLLONESHOT) !== 0) interest.events &= ~EVENTS;
      else if (!interest.edge) this.#ready.add(interest);
    }
    return found;
  }

  override poll(): number {
    this.#look();
    for (const interest of this.#ready) {
      if (interest.state() !== 0) return Poll.IN;
      this.#ready.delete(interest);
    }
    return 0;
  }

  /** How deep the epolls nest that it watches. Throws ELOOP when one of them is `self`. */
  depth(self: EpollFile): number {
    if (this === self) raise('ELOOP');
    let deepest = 0;
    for (const file of this.#interests.keys())
      if (file instanceof EpollFile) deepest = Math.max(deepest, file.depth(self));
    return deepest + 1;
  }

  override close(): void {
    for (const ofFile of [...this.#interests.values()])
      for (const interest of [...ofFile.values()]) this.remove(interest);
  }

  /** Files that do not notify are asked, and closed ones forgotten. */
  #look(): void {
    for (const ofFile of this.#interests.values())
      for (const interest of ofFile.values()) {
        if (interest.file.references === 0) {
          this.remove(interest);
          continue;
        }
        if (interest.file.notifies && interest.edge) continue;
        const state = interest.state();
        if (interest.edge ? interest.news(state) : state !== 0) this.#ready.add(interest);
      }
  }
}

function epollFile(call: SystemCall): EpollFile {
  const file = call.process.files.get(call.i32(0));
  return file instanceof EpollFile ? file : raise('EINVAL');
}

function control(call: SystemCall): number {
  const operation = call.i32(1),
    number = call.i32(2),
    at = call.u64(3),
    { memory, process } = call;
  const [events, data] = operation === CTL.DEL ? [0, 0n] : [memory.readU32(at), readBig(memory, at + 4)];
  const file = process.files.get(number),
    epoll = epollFile(call);
  const type = file.stat().mode & FileMode.TYPE;
  if (type === FileMode.REGULAR || type === FileMode.DIRECTORY) return -Errno.EPERM;
  if (file === epoll) return -Errno.EINVAL;
  const known = epoll.find(file, number);
  switch (operation) {
    case CTL.ADD:
      if (known !== undefined) return -Errno.EEXIST;
      if (file instanceof EpollFile && file.depth(epoll) >= MOST_NESTED) return -Errno.ELOOP;
      epoll.add(file, number, events, data);
      break;
    case CTL.MOD:
      if (known === undefined) return -Errno.ENOENT;
      epoll.change(known, events, data);
      break;
    case CTL.DEL:
      if (known === undefined) return -Errno.ENOENT;
      epoll.remove(known);
      return 0;
    default:
      return -Errno.EINVAL;
  }
  process.wake();
  return 0;
}

function wait(call: SystemCall, timeout: () => number): number {
  const epoll = epollFile(call),
    at = call.u64(1),
    most = call.i32(2);
  if (most <= 0 || most > MOST_EVENTS) return -Errno.EINVAL;
  call.memory.prepare(at, Math.min(most, epoll.size) * EVENT_SIZE, true);
  const found = epoll.take(most);
  found.forEach(({ events, data }, i) => {
    call.memory.writeU32(at + i * EVENT_SIZE, events);
    call.memory.writeU64(at + i * EVENT_SIZE + 4, data);
  });
  return waitFor(call, found.length, timeout);
}

const create = (call: SystemCall, closeOnExec: boolean): number =>
  call.process.files.add(new EpollFile(OpenFlag.RDWR), closeOnExec);

export const epollRows: readonly SystemCallDefinition[] = [
  { name: 'epoll_create', args: [int], serve: (call) => (call.i32(0) <= 0 ? -Errno.EINVAL : create(call, false)) },
  {
    name: 'epoll_create1',
    args: [formats.flags({ EPOLL_CLOEXEC: OpenFlag.CLOEXEC })],
    serve: (call) => ((call.u32(0) & ~OpenFlag.CLOEXEC) !== 0 ? -Errno.EINVAL : create(call, call.u32(0) !== 0)),
  },
  {
    name: 'epoll_ctl',
    args: [descriptor, oneOf({ 1: 'EPOLL_CTL_ADD', 2: 'EPOLL_CTL_DEL', 3: 'EPOLL_CTL_MOD' }), descriptor, pointer],
    serve: control,
  },
  {
    name: 'epoll_wait',
    args: [descriptor, pointer, int, int],
    serve: (call) => wait(call, () => milliseconds(call.i32(3))),
  },
  {
    name: 'epoll_pwait',
    args: [descriptor, pointer, int, int, pointer, size],
    serve: (call) => wait(call, () => milliseconds(call.i32(3))),
  },
  {
    name: 'epoll_pwait2',
    args: [descriptor, pointer, int, pointer, pointer, size],
    serve: (call) => wait(call, () => timespecTimeout(call, 3)),
  },
];
