/** inotify(7): events of files and folders, read from a descriptor. */
import { AT_FDCWD, BLOCKED, OpenFile, Poll, formats, resolveArgument } from '@visorkit/linux-abi';
import type { SystemCall, SystemCallDefinition } from '@visorkit/linux-abi';
import { Errno, OpenFlag, isDirectory, raise } from '@visorkit/sandbox-fs';
import type { FileStat } from '@visorkit/sandbox-fs';
import { anonymousStat } from './anonymous.js';
import { FileWatches, IN, watchesOf } from './file-watches.js';
import type { Watch } from './file-watches.js';
import { group } from './group.js';

const { descriptor, flags, int, path } = formats;

const ALL_EVENTS = 0xfff;
/** Of what is asked. */
const ASK = {
  ONLYDIR: 0x0100_0000,
  DONT_FOLLOW: 0x0200_0000,
  EXCL_UNLINK: 0x0400_0000,
  MASK_CREATE: 0x1000_0000,
  MASK_ADD: 0x2000_0000,
  ONESHOT: 0x8000_0000,
} as const;
const FIONREAD = 0x541b;
/** Of one descriptor: events that wait at most (fs.inotify.max_queued_events). */
const MOST_EVENTS = 16_384;
/** Of all in the sandbox, as of a user on Linux: instances and watches; and events, which Linux does not count together. */
const MOST_INSTANCES = 128;
const MOST_WATCHES = 65_536;
const MOST_TOGETHER = 131_072;
/** `struct inotify_event` without the name, which is padded to as much. */
const HEADER = 16;

interface Event {
  readonly number: number;
  readonly mask: number;
  readonly cookie: number;
  readonly name: string;
}

const sizeOf = ({ name }: Event): number => HEADER + (name === '' ? 0 : Math.ceil((name.length + 1) / HEADER) * HEADER);

class InotifyFile extends OpenFile {
  readonly name = 'anon_inode:inotify';
  readonly #byNumber = new Map<number, InotifyWatch>();
  readonly #byKey = new Map<string, InotifyWatch>();
  #next = 1;
  #events: Event[] = [];

  constructor(
    readonly watches: FileWatches,
    private readonly changed: () => void,
    flags: number,
  ) {
    super(flags);
    watches.instances++;
  }

  stat(): FileStat {
    return anonymousStat(1, 0o600);
  }
  override get notifies(): boolean {
    return true;
  }
  override poll(): number {
    return this.#events.length > 0 ? Poll.IN : 0;
  }

  /** Watches a file, or changes for what it does. Throws EEXIST, ENOSPC. */
  watch(key: string, asked: number): number {
    const known = this.#byKey.get(key),
      events = asked & ALL_EVENTS;
    if (known !== undefined) {
      if ((asked & ASK.MASK_CREATE) !== 0) raise('EEXIST');
      known.events = (asked & ASK.MASK_ADD) !== 0 ? known.events | events : events;
      known.once = (asked & ASK.ONESHOT) !== 0;
      return known.number;
    }
    if (this.watches.watched >= MOST_WATCHES) raise('ENOSPC');
    const watch = new InotifyWatch(this, key, this.#next++, events, (asked & ASK.ONESHOT) !== 0);
    this.#byNumber.set(watch.number, watch);
    this.#byKey.set(key, watch);
    this.watches.add(watch);
    return watch.number;
  }

  /** Throws EINVAL. */
  find(number: number): InotifyWatch {
    return this.#byNumber.get(number) ?? raise('EINVAL');
  }

  /** Ends a watch, which is an event too. */
  drop(watch: InotifyWatch): void {
    this.watches.remove(watch);
    this.#byNumber.delete(watch.number);
    this.#byKey.delete(watch.key);
    this.put({ number: watch.number, mask: IN.IGNORED, cookie: 0, name: '' });
  }

  put(event: Event): void {
    const last = this.#events.at(-1);
    if (
      last?.number === event.number &&
      last.mask === event.mask &&
      last.cookie === event.cookie &&
      last.name === event.name
    )
      return; // the same again is one event
    if (last?.mask === IN.Q_OVERFLOW) return;
    const full = this.#events.length >= MOST_EVENTS || this.watches.queued >= MOST_TOGETHER;
    this.#events.push(full ? { number: -1, mask: IN.Q_OVERFLOW, cookie: 0, name: '' } : event);
    this.watches.queued++;
    this.notify(Poll.IN);
    this.changed();
  }

  override read(target: Uint8Array): number {
    if (this.#events.length === 0) return this.nonblocking ? -Errno.EAGAIN : BLOCKED;
    if (sizeOf(this.#events[0]) > target.length) return -Errno.EINVAL;
    const view = new DataView(target.buffer, target.byteOffset, target.length);
    let at = 0,
      taken = 0;
    for (const event of this.#events) {
      const size = sizeOf(event);
      if (at + size > target.length) break;
      target.fill(0, at, at + size);
      view.setInt32(at, event.number, true);
      view.setUint32(at + 4, event.mask, true);
      view.setUint32(at + 8, event.cookie, true);
      view.setUint32(at + 12, size - HEADER, true);
      target.set(Buffer.from(event.name, 'latin1'), at + HEADER);
      at += size;
      taken++;
    }
    this.#events = this.#events.slice(taken);
    this.watches.queued -= taken;
    return at;
  }

  override ioctl(call: SystemCall, request: number): number {
    if (request !== FIONREAD) return -Errno.ENOTTY;
    call.memory.writeU32(
      call.u64(2),
      this.#events.reduce((sum, event) => sum + sizeOf(event), 0),
    );
    return 0;
  }

  override close(): void {
    for (const watch of this.#byNumber.values()) this.watches.remove(watch);
    this.watches.queued -= this.#events.length;
    this.watches.instances--;
  }
}

class InotifyWatch implements Watch {
  constructor(
    private readonly file: InotifyFile,
    readonly key: string,
    readonly number: number,
    public events: number,
    public once: boolean,
  ) {}

  happened(mask: number, name: string, cookie: number): void {
    if ((mask & this.events) === 0) return;
    this.file.put({ number: this.number, mask, cookie, name });
    if (this.once) this.file.drop(this);
  }
  ended(): void {
    this.file.drop(this);
  }
}

function make(call: SystemCall, how: number): number {
  if ((how & ~(OpenFlag.CLOEXEC | OpenFlag.NONBLOCK)) !== 0) return -Errno.EINVAL;
  const { files, options } = call.process;
  if (watchesOf(options).instances >= MOST_INSTANCES) return -Errno.EMFILE;
  return files.add(
    new InotifyFile(watchesOf(options), options.wake, how & OpenFlag.NONBLOCK),
    (how & OpenFlag.CLOEXEC) !== 0,
  );
}

function fileOf(call: SystemCall): InotifyFile {
  const file = call.process.files.get(call.i32(0));
  return file instanceof InotifyFile ? file : raise('EINVAL');
}

function addWatch(call: SystemCall): number {
  const file = fileOf(call),
    asked = call.u32(2);
  if ((asked & (ALL_EVENTS | ASK.ONESHOT)) === 0) return -Errno.EINVAL;
  if ((asked & ASK.MASK_ADD) !== 0 && (asked & ASK.MASK_CREATE) !== 0) return -Errno.EINVAL;
  const found = resolveArgument(call, AT_FDCWD, 1, (asked & ASK.DONT_FOLLOW) === 0);
  try {
    if (found.node === undefined) return -Errno.ENOENT;
    if ((asked & ASK.ONLYDIR) !== 0 && !isDirectory(found.node)) return -Errno.ENOTDIR;
    return file.watch(FileWatches.key(found.node), asked);
  } finally {
    found.close();
  }
}

const events = flags({
  IN_ACCESS: IN.ACCESS,
  IN_MODIFY: IN.MODIFY,
  IN_ATTRIB: IN.ATTRIB,
  IN_CLOSE_WRITE: IN.CLOSE_WRITE,
  IN_CLOSE_NOWRITE: IN.CLOSE_NOWRITE,
  IN_OPEN: IN.OPEN,
  IN_MOVED_FROM: IN.MOVED_FROM,
  IN_MOVED_TO: IN.MOVED_TO,
  IN_CREATE: IN.CREATE,
  IN_DELETE: IN.DELETE,
  IN_DELETE_SELF: IN.DELETE_SELF,
  IN_MOVE_SELF: IN.MOVE_SELF,
  IN_ONLYDIR: ASK.ONLYDIR,
  IN_DONT_FOLLOW: ASK.DONT_FOLLOW,
  IN_EXCL_UNLINK: ASK.EXCL_UNLINK,
  IN_MASK_CREATE: ASK.MASK_CREATE,
  IN_MASK_ADD: ASK.MASK_ADD,
  IN_ONESHOT: ASK.ONESHOT,
});

const definitions: SystemCallDefinition[] = [
  { name: 'inotify_init', args: [], serve: (call) => make(call, 0) },
  {
    name: 'inotify_init1',
    args: [flags({ IN_CLOEXEC: OpenFlag.CLOEXEC, IN_NONBLOCK: OpenFlag.NONBLOCK })],
    serve: (call) => make(call, call.u32(0)),
  },
  { name: 'inotify_add_watch', args: [descriptor, path, events], serve: addWatch },
  {
    name: 'inotify_rm_watch',
    args: [descriptor, int],
    serve(call) {
      const file = fileOf(call);
      file.drop(file.find(call.i32(1)));
      return 0;
    },
  },
];

export const fileEvents = () => group('file-events', definitions);
