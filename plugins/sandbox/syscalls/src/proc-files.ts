/** `/dev` and `/proc` of the sandbox: the files that programs look for, which describe the sandbox and not the host. */
import type { Process } from '@visorkit/linux-abi';
import {
  FileMode,
  LiveSymlink,
  MemoryDirectory,
  SpecialNode,
  addDevices,
  raise,
  textHandle,
} from '@visorkit/sandbox-fs';
import type { FsNode, MemoryFs } from '@visorkit/sandbox-fs';
import { UNAME } from './system.js';

/** A directory whose names are asked each time: `/proc/self/fd`. */
class DescriptorDirectory extends MemoryDirectory {
  constructor(
    fs: MemoryFs,
    private readonly process: () => Process,
  ) {
    super(fs, 0o500);
  }

  override lookup(name: string): FsNode | undefined {
    const number = /^(0|[1-9]\d*)$/.test(name) ? Number(name) : -1;
    return this.process().files.find(number) === undefined
      ? undefined
      : new SpecialNode(this.fs, 'descriptor', FileMode.SYMLINK | 0o700, { descriptor: number });
  }

  override list() {
    return this.process()
      .files.list()
      .map((number) => ({ name: String(number), mode: FileMode.SYMLINK, ino: () => BigInt(number + 1000) }));
  }

  override put(): void {
    raise('EACCES');
  }
}

/** Fills an empty root with /dev, /proc and /tmp. `process` is asked for when a file is opened. */
export function addSpecialFiles(fs: MemoryFs, process: () => Process, fillRandom: (bytes: Uint8Array) => void): void {
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

  const proc = folder(fs.root, 'proc', 0o555);
  const text = (parent: MemoryDirectory, name: string, make: (process: Process) => string): void =>
    parent.put(
      name,
      new SpecialNode(fs, 'file', FileMode.REGULAR | 0o444, { open: (node) => textHandle(node, make(process())) }),
    );
  addProcess(folder(proc, 'self', 0o555), fs, process, text);
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
  text(proc, 'mounts', ({ space }) =>
    ['/ tmpfs rw', ...space.mounts.map(({ path, readOnly }) => `${path} visorkit ${readOnly ? 'ro' : 'rw'}`)]
      .map((line) => `${line.startsWith('/ ') ? 'root' : 'host'} ${line} 0 0\n`)
      .join(''),
  );
  text(proc, 'filesystems', () => 'nodev\ttmpfs\n');
  text(proc, 'stat', () => 'cpu  0 0 0 0 0 0 0 0 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\n');
  text(proc, 'loadavg', () => '0.00 0.00 0.00 1/1 2\n');
}

type AddText = (parent: MemoryDirectory, name: string, make: (process: Process) => string) => void;

function addProcess(self: MemoryDirectory, fs: MemoryFs, process: () => Process, text: AddText): void {
  // The program file itself. Its path on the host stays hidden: it appears to be in the root directory.
  self.put(
    'exe',
    new (class extends SpecialNode {
      override readlink(): string {
        return `/${process().options.execName.split('/').at(-1)}`;
      }
    })(fs, 'file', FileMode.REGULAR | 0o555, {
      open: (_node, flags) => (process().program ?? raise('ENOENT')).open(flags & 3),
      size: () => process().program?.stat().size ?? 0,
    }),
  );
  self.put('fd', new DescriptorDirectory(fs, process));
  text(self, 'maps', (it) => it.describeMappings());
  text(self, 'cmdline', ({ options }) => options.args.map((arg) => `${arg}\0`).join(''));
  text(self, 'environ', ({ options }) => options.env.map((entry) => `${entry}\0`).join(''));
  text(self, 'comm', ({ comm }) => `${comm}\n`);
  text(
    self,
    'status',
    ({ comm, pid, parent, identity: { uid, gid } }) =>
      `Name:\t${comm}\nState:\tR (running)\nTgid:\t${pid}\nPid:\t${pid}\nPPid:\t${parent}\nTracerPid:\t0\nUid:\t${`${uid}\t`.repeat(3)}${uid}\nGid:\t${`${gid}\t`.repeat(3)}${gid}\nThreads:\t1\n`,
  );
  text(
    self,
    'stat',
    ({ comm, pid, parent }) => `${pid} (${comm}) R ${parent} ${pid} ${pid} 0 -1 0 ${'0 '.repeat(42).trim()}\n`,
  );
  text(self, 'mountinfo', () => '');
  text(self, 'cgroup', () => '');
}
