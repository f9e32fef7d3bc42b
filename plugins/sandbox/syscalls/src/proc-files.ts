/** `/dev` and `/proc` of the sandbox: the files that programs look for, which describe the sandbox and not the host. */
import type { Process, Processes } from '@visorkit/linux-abi';
import {
  FileMode,
  LiveSymlink,
  MemoryDirectory,
  SpecialNode,
  addDevices,
  raise,
  textHandle,
} from '@visorkit/sandbox-fs';
import type { DirectoryEntry, FsNode, MemoryFs } from '@visorkit/sandbox-fs';
import { terminalsOf } from './terminals.js';
import type { Terminals } from './terminals.js';
import { UNAME } from './system.js';

const NUMBER = /^(0|[1-9]\d*)$/;

/** `/proc/N/fd`: its names are asked each time. */
class DescriptorDirectory extends MemoryDirectory {
  constructor(
    fs: MemoryFs,
    private readonly process: Process,
  ) {
    super(fs, 0o500);
  }

  override lookup(name: string): FsNode | undefined {
    const number = NUMBER.test(name) ? Number(name) : -1;
    return this.process.files.find(number) === undefined
      ? undefined
      : new SpecialNode(this.fs, 'descriptor', FileMode.SYMLINK | 0o700, { descriptor: number });
  }

  override list(): DirectoryEntry[] {
    return this.process.files
      .list()
      .map((number) => ({ name: String(number), mode: FileMode.SYMLINK, ino: () => BigInt(number + 1000) }));
  }

  override put(): void {
    raise('EACCES');
  }
}

/** `/dev/pts`: a name for each pair of terminals, and a second one for the way to new ones. */
class PtsDirectory extends MemoryDirectory {
  constructor(
    fs: MemoryFs,
    private readonly terminals: Terminals,
  ) {
    super(fs, 0o755);
  }

  override lookup(name: string): FsNode | undefined {
    if (name === 'ptmx') return this.terminals.ptmx;
    return NUMBER.test(name) ? this.terminals.get(Number(name))?.node : undefined;
  }

  override list(): DirectoryEntry[] {
    return ['ptmx', ...this.terminals.numbers().map(String)].map((name) => ({
      name,
      mode: FileMode.CHARACTER,
      ino: () => this.lookup(name)?.stat().ino ?? 0n,
    }));
  }

  override put(): void {
    raise('EPERM');
  }
  override unlink(): void {
    raise('EPERM');
  }
}

/** `/proc`: with a directory for each process. */
class ProcDirectory extends MemoryDirectory {
  readonly #made = new WeakMap<Process, MemoryDirectory>();

  constructor(
    fs: MemoryFs,
    private readonly processes: Processes,
  ) {
    super(fs, 0o555);
  }

  override lookup(name: string): FsNode | undefined {
    const process = NUMBER.test(name) ? this.processes.get(Number(name)) : undefined;
    if (process === undefined) return super.lookup(name);
    let folder = this.#made.get(process);
    if (folder === undefined) {
      folder = new MemoryDirectory(this.fs, 0o555);
      addProcess(folder, this.fs, process, () => this.processes.current === process);
      this.#made.set(process, folder);
    }
    return folder;
  }

  override list(): DirectoryEntry[] {
    const folders = this.processes
      .list()
      .map(({ pid }) => ({ name: String(pid), mode: FileMode.DIRECTORY, ino: () => BigInt(pid + 10_000) }));
    return [...super.list(), ...folders];
  }
}

/** Fills an empty root with /dev, /proc and /tmp. */
export function addSpecialFiles(fs: MemoryFs, processes: Processes, fillRandom: (bytes: Uint8Array) => void): void {
  const folder = (parent: MemoryDirectory, name: string, mode = 0o755): MemoryDirectory => {
    const made = new MemoryDirectory(fs, mode);
    parent.put(name, made);
    return made;
  };
  folder(fs.root, 'tmp', 0o1777);
  const dev = folder(fs.root, 'dev');
  addDevices(fs, dev, fillRandom);
  ['stdin', 'stdout', 'stderr'].forEach((name, number) =>
    dev.put(name, new SpecialNode(fs, 'descriptor', FileMode.SYMLINK | 0o777, { descriptor: number })),
  );
  dev.put('fd', new LiveSymlink(fs, () => '/proc/self/fd'));
  folder(dev, 'shm', 0o1777);
  const terminals = terminalsOf(processes.first.options);
  dev.put('tty', terminals.tty);
  dev.put('ptmx', terminals.ptmx);
  dev.put('pts', new PtsDirectory(fs, terminals));

  const proc = new ProcDirectory(fs, processes);
  fs.root.put('proc', proc);
  const text = (parent: MemoryDirectory, name: string, make: (process: Process) => string): void =>
    parent.put(
      name,
      new SpecialNode(fs, 'file', FileMode.REGULAR | 0o444, {
        open: (node) => textHandle(node, make(processes.current)),
      }),
    );
  proc.put('self', new LiveSymlink(fs, () => String(processes.current.pid)));
  proc.put('thread-self', new LiveSymlink(fs, () => String(processes.current.pid)));
  text(proc, 'uptime', ({ clock }) => `${(clock / 1e9 + 1).toFixed(2)} 0.00\n`);
  text(proc, 'version', () => `${UNAME.sysname} version ${UNAME.release} ${UNAME.version}\n`);
  text(
    proc,
    'cpuinfo',
    () =>
      'processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: visorkit virtual processor\ncpu cores\t: 1\nsiblings\t: 1\n\n',
  );
  text(proc, 'meminfo', ({ options }) => {
    const total = Math.floor(options.memory / 1024);
    return ['MemTotal', 'MemFree', 'MemAvailable']
      .map((name, i) => `${`${name}:`.padEnd(16)}${String(i === 0 ? total : Math.floor(total / 2)).padStart(8)} kB\n`)
      .join('');
  });
  proc.put('mounts', new LiveSymlink(fs, () => 'self/mounts'));
  text(proc, 'filesystems', () => 'nodev\ttmpfs\n');
  text(proc, 'stat', () => 'cpu  0 0 0 0 0 0 0 0 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\n');
  text(proc, 'loadavg', () => '0.00 0.00 0.00 1/1 2\n');
}

/** What `/proc/self/mounts` tells of a mount. */
interface MountLine {
  readonly source: string;
  readonly path: string;
  readonly type: string;
  readonly rights: string;
}
const ROOT: MountLine = { source: 'root', path: '/', type: 'tmpfs', rights: 'rw' };
const HOST = { source: 'host', type: 'visorkit' } as const;
const FIRST_MOUNT = 20;
/** Spaces would end the field (proc(5), `/proc/pid/mountinfo`). */
const escaped = (path: string): string =>
  path.replace(/[ \t\n\\]/g, (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, '0')}`);

/** `own`: whether the process itself looks. */
function addProcess(folder: MemoryDirectory, fs: MemoryFs, process: Process, own: () => boolean): void {
  const add = (name: string, make: () => Uint8Array): void =>
    folder.put(
      name,
      new SpecialNode(fs, 'file', FileMode.REGULAR | 0o444, { open: (node) => textHandle(node, make()) }),
    );
  const text = (name: string, make: () => string): void => add(name, () => Buffer.from(make(), 'latin1'));
  const { uid, gid } = process.identity;
  folder.put(
    'exe',
    new (class extends SpecialNode {
      override readlink(): string {
        return process.program?.path ?? raise('ENOENT');
      }
      get standsFor(): string {
        return this.readlink();
      }
    })(fs, 'file', FileMode.REGULAR | 0o555, {
      open: (_node, flags) => (process.program ?? raise('ENOENT')).node.open(flags & 3),
      size: () => process.program?.node.stat().size ?? 0,
    }),
  );
  // A descriptor of another process cannot be meant by its number here
  folder.put('fd', new DescriptorDirectory(fs, process));
  folder.put('cwd', new LiveSymlink(fs, () => `/${process.cwd.join('/')}`));
  folder.put('root', new LiveSymlink(fs, () => '/'));
  text('maps', () => process.describeMappings());
  add('auxv', () => process.auxiliary);
  text('cmdline', () => process.args.map((arg) => `${arg}\0`).join(''));
  text('environ', () => (own() ? process.env.map((entry) => `${entry}\0`).join('') : ''));
  text('comm', () => `${process.comm}\n`);
  text('status', () => {
    const { comm, pid, parent } = process;
    return `Name:\t${comm}\nState:\tR (running)\nTgid:\t${pid}\nPid:\t${pid}\nPPid:\t${parent}\nTracerPid:\t0\nUid:\t${`${uid}\t`.repeat(3)}${uid}\nGid:\t${`${gid}\t`.repeat(3)}${gid}\nThreads:\t1\n`;
  });
  text('stat', () => {
    const { comm, pid, parent, group, session } = process,
      terminal = terminalsOf(process.options).of(process);
    return `${pid} (${comm}) R ${parent} ${group} ${session} ${terminal?.node.rdev ?? 0} ${terminal?.foreground ?? -1} 0 ${'0 '.repeat(43).trim()}\n`;
  });
  text('statm', () => '0 0 0 0 0 0 0\n');
  const mounts = (line: (mount: MountLine, index: number) => string): string =>
    [
      ROOT,
      ...process.space.mounts.map(({ path, readOnly }) => ({
        ...HOST,
        path: escaped(path),
        rights: readOnly ? 'ro' : 'rw',
      })),
    ]
      .map((mount, index) => `${line(mount, index)}\n`)
      .join('');
  text('mounts', () => mounts(({ source, path, type, rights }) => `${source} ${path} ${type} ${rights} 0 0`));
  text('mountinfo', () =>
    mounts(
      ({ source, path, type, rights }, index) =>
        `${FIRST_MOUNT + index} ${index === 0 ? 1 : FIRST_MOUNT} 0:${FIRST_MOUNT + index} / ${path} ${rights} - ${type} ${source} ${rights}`,
    ),
  );
  text('cgroup', () => '');
}
