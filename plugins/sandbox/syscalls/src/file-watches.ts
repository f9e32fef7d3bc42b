/**
 * Who is told of what happens to files (inotify(7)): by the program's own calls, in this sandbox. What others do to a mounted folder on the host is
 * not seen. While nobody watches, a call costs one comparison.
 */
import type { OpenFile, ProcessOptions } from '@visorkit/linux-abi';
import { FileMode, isDirectory } from '@visorkit/sandbox-fs';
import type { Directory, FileStat, FsNode } from '@visorkit/sandbox-fs';

/** Events, and what goes with them. */
export const IN = {
  ACCESS: 1,
  MODIFY: 2,
  ATTRIB: 4,
  CLOSE_WRITE: 8,
  CLOSE_NOWRITE: 0x10,
  OPEN: 0x20,
  MOVED_FROM: 0x40,
  MOVED_TO: 0x80,
  CREATE: 0x100,
  DELETE: 0x200,
  DELETE_SELF: 0x400,
  MOVE_SELF: 0x800,
  Q_OVERFLOW: 0x4000,
  IGNORED: 0x8000,
  ISDIR: 0x4000_0000,
} as const;

/** Gets events of one file or folder; `name`: of the entry in a folder. */
export interface Watch {
  readonly key: string;
  happened(mask: number, name: string, cookie: number): void;
  /** The file is gone, and the watch with it. */
  ended(): void;
}

/** Where an open file is in the tree of names. */
interface Place {
  parent: string | undefined;
  name: string;
}

const keyOf = ({ dev, ino }: FileStat): string => `${dev}:${ino}`;
const kindOf = ({ mode }: FileStat): number => ((mode & FileMode.TYPE) === FileMode.DIRECTORY ? IN.ISDIR : 0);

export class FileWatches {
  readonly #watches = new Map<string, Set<Watch>>();
  readonly #open = new Map<OpenFile, Place | undefined>();
  #cookie = 0;
  /** What all who watch have in this process's memory: instances, watches, events that wait. */
  instances = 0;
  watched = 0;
  queued = 0;

  constructor(private readonly options: ProcessOptions) {}

  get any(): boolean {
    return this.#watches.size > 0;
  }

  static key(node: FsNode): string {
    return keyOf(node.stat());
  }

  add(watch: Watch): void {
    this.watched++;
    const there = this.#watches.get(watch.key);
    if (there === undefined) this.#watches.set(watch.key, new Set([watch]));
    else there.add(watch);
  }
  remove(watch: Watch): void {
    const there = this.#watches.get(watch.key);
    if (there?.delete(watch) === true) this.watched--;
    if (there?.size === 0) this.#watches.delete(watch.key);
  }

  #tell(key: string | undefined, mask: number, name = '', cookie = 0): void {
    const there = key === undefined ? undefined : this.#watches.get(key);
    if (there !== undefined) for (const watch of [...there]) watch.happened(mask, name, cookie);
  }

  // ---- open files

  /** A file, or folder, is open now. */
  opened(file: OpenFile): void {
    this.#open.set(file, undefined);
    this.about(file, IN.OPEN);
  }

  /** Something was done with an open file: who watches it or its folder hears of it. */
  about(file: OpenFile, mask: number): void {
    if (!this.any) return;
    const stat = file.stat();
    let place = this.#open.get(file);
    if (place === undefined) this.#open.set(file, (place = this.#placeOf(file.name, keyOf(stat))));
    this.#tell(place.parent, mask | kindOf(stat), place.name);
    this.#tell(keyOf(stat), mask | kindOf(stat));
  }

  /** It is about to be closed for good. */
  closing(file: OpenFile): void {
    if (this.any) this.about(file, file.writable ? IN.CLOSE_WRITE : IN.CLOSE_NOWRITE);
    this.#open.delete(file);
    if (!this.any) return;
    const stat = file.stat();
    if (stat.nlink === 0) this.#gone(keyOf(stat));
  }

  /** The folder and name of a path, if the file with this key is still there. */
  #placeOf(path: string, key: string): Place {
    const nowhere = { parent: undefined, name: '' };
    if (path === '/' || !path.startsWith('/')) return nowhere;
    try {
      const found = this.options.space.resolve({ names: [] }, path, { follow: false });
      try {
        if (found.node === undefined || found.parent === undefined || FileWatches.key(found.node) !== key)
          return nowhere;
        return { parent: FileWatches.key(found.parent), name: found.name };
      } finally {
        found.close();
      }
    } catch {
      return nowhere;
    }
  }

  #isOpen(key: string): boolean {
    for (const file of this.#open.keys()) if (keyOf(file.stat()) === key) return true;
    return false;
  }

  /** The last name of a file is gone; when nobody has it open either, so is the file. */
  #gone(key: string): void {
    if (!this.#watches.has(key) || this.#isOpen(key)) return;
    this.#tell(key, IN.DELETE_SELF);
    for (const watch of [...(this.#watches.get(key) ?? [])]) watch.ended();
  }

  // ---- names

  /** Something was done to a file by its path. */
  atPath(names: readonly string[], node: FsNode, mask: number): void {
    if (!this.any) return;
    const stat = node.stat(),
      place = this.#placeOf(`/${names.join('/')}`, keyOf(stat));
    this.#tell(place.parent, mask | kindOf(stat), place.name);
    this.#tell(keyOf(stat), mask | kindOf(stat));
  }

  /** A name is new in a folder. */
  created(folder: Directory, name: string, directory = false): void {
    if (this.any) this.#tell(FileWatches.key(folder), IN.CREATE | (directory ? IN.ISDIR : 0), name);
  }

  /** A file has a name more. */
  linked(node: FsNode, folder: Directory, name: string): void {
    if (!this.any) return;
    this.#tell(FileWatches.key(node), IN.ATTRIB);
    this.created(folder, name);
  }

  /** Takes a name away from a folder, by `remove`. */
  removing(folder: Directory, name: string, node: FsNode, remove: () => void): void {
    if (!this.any) return remove();
    const stat = node.stat();
    remove();
    this.#lost(stat);
    this.#tell(FileWatches.key(folder), IN.DELETE | kindOf(stat), name);
    if (kindOf(stat) !== 0 || this.#links(node) === 0) this.#gone(keyOf(stat));
  }

  /** A file, not a folder, has a name less. */
  #lost(before: FileStat): void {
    if (kindOf(before) === 0) this.#tell(keyOf(before), IN.ATTRIB);
  }
  #links(node: FsNode): number {
    try {
      return node.stat().nlink;
    } catch {
      return 0;
    }
  }

  /** Gives a file another name, by `rename`. */
  renaming(
    from: { readonly folder: Directory; readonly name: string; readonly node: FsNode },
    to: { readonly folder: Directory; readonly name: string; readonly node: FsNode | undefined },
    rename: () => void,
  ): void {
    if (!this.any) return rename();
    const stat = from.node.stat(),
      moved = keyOf(stat),
      over = to.node?.stat();
    if (over !== undefined && keyOf(over) === moved) return rename(); // two names of one file: nothing happens
    rename();
    const cookie = ++this.#cookie,
      folder = FileWatches.key(to.folder);
    for (const [file, place] of this.#open)
      if (place !== undefined && keyOf(file.stat()) === moved) Object.assign(place, { parent: folder, name: to.name });
    this.#tell(FileWatches.key(from.folder), IN.MOVED_FROM | kindOf(stat), from.name, cookie);
    this.#tell(folder, IN.MOVED_TO | kindOf(stat), to.name, cookie);
    if (over !== undefined) this.#lost(over);
    this.#tell(moved, IN.MOVE_SELF);
    if (over !== undefined && (isDirectory(to.node!) || this.#links(to.node!) === 0)) this.#gone(keyOf(over));
  }
}

const all = new WeakMap<ProcessOptions, FileWatches>();

/** Of a sandbox, by what its processes share. */
export function watchesOf(options: ProcessOptions): FileWatches {
  let watches = all.get(options);
  if (watches === undefined) all.set(options, (watches = new FileWatches(options)));
  return watches;
}
