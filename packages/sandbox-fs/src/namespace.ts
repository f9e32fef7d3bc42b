/**
 * The one place where a path becomes a file.
 *
 * Resolution is the program's, component by component, in the manner of openat2 with RESOLVE_IN_ROOT: `/` is the root of the
 * namespace, `..` goes up by the names that were walked and stops there, and symbolic links, absolute or not, are text that is
 * walked in the same way. A directory's own `..` is never asked, so that nothing outside a mount can be reached by any path.
 */
import { raise } from './errno.js';
import type { MemoryDirectory } from './memory-fs.js';
import { openHostFolder } from './host-fs.js';
import type { HostDirectory } from './host-fs.js';
import type { WriteQuota } from './quota.js';
import { isDirectory } from './types.js';
import type { Directory, FsNode } from './types.js';

/** Linux gives up after so many symbolic links in one path (path_resolution(7)). */
const MAX_LINKS = 40;
const MAX_PATH = 4096;
const MAX_NAME = 255;

/** A directory as the start of a relative path: its names from the root, and a handle where one is open. */
export interface Base {
  readonly names: readonly string[];
  /** Used for the first step, so that an open directory is meant even after it was renamed. */
  readonly directory?: Directory;
}

export interface ResolveOptions {
  /** Whether a symbolic link in the last place is followed. */
  readonly follow: boolean;
}

/** What a path led to. Holds handles: close it. */
export interface Resolved {
  /** The directory of the last name; undefined when the path ends in `.`, `..` or is the root. */
  readonly parent: Directory | undefined;
  /** The last name; empty when `parent` is undefined. */
  readonly name: string;
  /** The names from the root to the file, links resolved. */
  readonly names: readonly string[];
  /** The file; undefined when the last name does not exist. */
  readonly node: FsNode | undefined;
  /** The path ended in a slash: only a directory is right. */
  readonly mustBeDirectory: boolean;
  /** The node is the root of a mount. */
  readonly isMount: boolean;
  /** Keeps the node open beyond `close`. */
  keepNode(): void;
  close(): void;
}

interface Mount {
  readonly names: readonly string[];
  readonly folder: HostDirectory;
}

export class Namespace {
  readonly #mounts = new Map<string, Mount>();

  /** `quota`: what is written to any mount counts against it. */
  constructor(
    readonly root: MemoryDirectory,
    private readonly quota?: WriteQuota,
  ) {}

  /** Puts a folder of the host at a path of the program. Throws SANDBOX_MOUNT. */
  mount(hostFolder: string, path: string, readOnly: boolean): void {
    const names = path.split('/').filter((name) => name !== '' && name !== '.');
    const folder = openHostFolder(hostFolder, readOnly, this.quota);
    const key = names.join('/');
    this.#mounts.get(key)?.folder.close();
    this.#mounts.set(key, { names, folder });
    let at: MemoryDirectory = this.root;
    for (const [depth, name] of names.entries()) {
      if (this.#mounts.has(names.slice(0, depth).join('/'))) break; // inside another mount
      if (at.lookup(name) === undefined) at.makeDirectory(name, 0o755);
      at = at.lookup(name) as MemoryDirectory;
    }
  }

  get mounts(): { path: string; readOnly: boolean }[] {
    return [...this.#mounts.values()].map(({ names, folder }) => ({
      path: `/${names.join('/')}`,
      readOnly: folder.readOnly,
    }));
  }

  /** Names of mounts right below a directory, for listings. */
  mountsIn(names: readonly string[]): string[] {
    return [...this.#mounts.values()]
      .filter((mount) => mount.names.length === names.length + 1 && names.every((name, i) => mount.names[i] === name))
      .map((mount) => mount.names.at(-1)!);
  }

  close(): void {
    for (const { folder } of this.#mounts.values()) folder.close();
    this.#mounts.clear();
  }

  /** Resolves a path. Throws LinuxError: ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG, EACCES … */
  resolve(base: Base, path: string, options: ResolveOptions): Resolved {
    if (path === '') raise('ENOENT');
    if (path.length >= MAX_PATH) raise('ENAMETOOLONG');
    return new Walk(this, base).run(path, options);
  }

  /**
   * A folder of the sandbox's own that stays in its place when the root is mounted over: the host's devices and processes are not the
   * program's, and where the root may not be written it needs a place for temporary files.
   */
  #stays(name: string): boolean {
    const root = this.#mounts.get('');
    return root !== undefined && (name === 'proc' || name === 'dev' || (name === 'tmp' && root.folder.readOnly));
  }

  /** The directory with these names, no link on the way. The caller closes it. */
  openDirectory(names: readonly string[]): Directory {
    let depth = names.length;
    while (depth > 0 && !this.#mounts.has(names.slice(0, depth).join('/'))) depth--;
    const own = depth === 0 && names.length > 0 && this.#stays(names[0]);
    const mount = own ? undefined : this.#mounts.get(names.slice(0, depth).join('/'));
    let at: Directory = mount === undefined ? this.root : mount.folder.duplicate();
    for (const name of names.slice(mount === undefined ? 0 : depth)) {
      let next: FsNode | undefined;
      try {
        next = at.lookup(name);
      } finally {
        at.close();
      }
      if (next === undefined) raise('ENOENT');
      if (!isDirectory(next)) {
        next.close();
        raise('ENOTDIR');
      }
      at = next;
    }
    return at;
  }

  /** The mount at these names, as a new handle. */
  mountAt(names: readonly string[]): Directory | undefined {
    if (this.#mounts.size === 0) return undefined;
    const mounted = this.#mounts.get(names.join('/'))?.folder.duplicate();
    if (mounted !== undefined || names.length !== 1 || !this.#stays(names[0])) return mounted;
    return this.root.lookup(names[0]) as Directory | undefined;
  }

  isMount(names: readonly string[]): boolean {
    return this.#mounts.has(names.join('/'));
  }
}

/** One resolution. Holds one directory handle at a time, and those of the result. */
class Walk {
  #names: string[];
  #directory: Directory | undefined;
  #borrowed: boolean;
  #links = 0;

  constructor(
    private readonly space: Namespace,
    base: Base,
  ) {
    this.#names = [...base.names];
    this.#directory = base.directory;
    this.#borrowed = base.directory !== undefined;
  }

  run(path: string, options: ResolveOptions): Resolved {
    try {
      return this.#run(path, options);
    } catch (error) {
      this.#leave();
      throw error;
    }
  }

  #run(path: string, { follow }: ResolveOptions): Resolved {
    /** What is still to walk, the next component last. */
    const todo: string[] = [];
    const push = (text: string): void => {
      const parts = text.split('/');
      for (let i = parts.length - 1; i >= 0; i--) todo.push(parts[i]);
      if (text.startsWith('/')) this.#goTo([]);
    };
    push(path);
    for (;;) {
      // A path that ends, or whose rest is slashes and dots
      const name = todo.pop();
      if (name === undefined) return this.#here();
      if (name === '' || name === '.') continue;
      if (name === '..') {
        this.#goTo(this.#names.slice(0, -1));
        continue;
      }
      if (name.length > MAX_NAME) raise('ENAMETOOLONG');
      const last = todo.every((part) => part === '');
      const mustBeDirectory = last && todo.length > 0;
      const names = [...this.#names, name];
      const directory = this.#current();
      const mount = this.space.mountAt(names);
      const node = mount ?? directory.lookup(name);
      if (node === undefined) {
        if (!last) raise('ENOENT');
        return this.#result({ parent: directory, name, names, node, mustBeDirectory, isMount: false });
      }
      if (node.kind === 'symlink' && (!last || follow || mustBeDirectory)) {
        let target: string;
        try {
          if (++this.#links > MAX_LINKS) raise('ELOOP');
          target = node.readlink();
        } finally {
          node.close();
        }
        if (target === '') raise('ENOENT');
        push(target);
        continue;
      }
      if (last)
        return this.#result({ parent: directory, name, names, node, mustBeDirectory, isMount: mount !== undefined });
      if (!isDirectory(node)) {
        node.close();
        raise('ENOTDIR');
      }
      this.#leave();
      this.#names = names;
      this.#directory = node;
      this.#borrowed = false;
    }
  }

  /** The path ended on a directory itself. */
  #here(): Resolved {
    const node = this.#current();
    return this.#result({
      parent: undefined,
      name: '',
      names: this.#names,
      node,
      mustBeDirectory: true,
      isMount: this.space.isMount(this.#names),
    });
  }

  #result(parts: Omit<Resolved, 'keepNode' | 'close'>): Resolved {
    const { node, parent, mustBeDirectory } = parts;
    if (mustBeDirectory && node !== undefined && node.kind !== 'directory') {
      node.close();
      raise('ENOTDIR');
    }
    // A handle that was borrowed from an open directory is not ours to close or to give away.
    const borrowed = this.#borrowed;
    let kept = false;
    return {
      ...parts,
      node:
        parent === undefined && borrowed && node !== undefined && 'duplicate' in node
          ? (node as HostDirectory).duplicate()
          : node,
      keepNode: () => {
        kept = true;
      },
      close() {
        if (!borrowed) parent?.close();
        if (!kept) this.node?.close();
      },
    };
  }

  #current(): Directory {
    if (this.#directory === undefined) {
      this.#directory = this.space.openDirectory(this.#names);
      this.#borrowed = false;
    }
    return this.#directory;
  }

  #goTo(names: string[]): void {
    this.#leave();
    this.#names = names;
  }

  #leave(): void {
    if (!this.#borrowed) this.#directory?.close();
    this.#directory = undefined;
    this.#borrowed = false;
  }
}
