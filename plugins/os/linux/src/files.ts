/** Open files, paths and mounts. */
import { Bound } from '@visorkit/vmi';
import type { StructView } from '@visorkit/vmi';
import type { KernelBase } from './kernel.js';
import { socketAt } from './sockets.js';
import type { LinuxSocket } from './sockets.js';

/** Names in a path, and descriptors of a process, at most. */
const MOST_NAMES = 4096;
const MOST_DESCRIPTORS = 1 << 20;
const LONGEST_NAME = 256;
const O = { WRONLY: 1, RDWR: 2 } as const;
/** include/uapi/linux/stat.h. */
const S_IFMT = 0xf000;
const KINDS: Readonly<Record<number, string>> = {
  0x1000: 'fifo',
  0x2000: 'character',
  0x4000: 'directory',
  0x6000: 'block',
  0x8000: 'regular',
  0xa000: 'link',
  0xc000: 'socket',
};
/** File systems whose files have no path: what stands before the inode in the name. */
const WITHOUT_PATH: Readonly<Record<string, string>> = { pipefs: 'pipe', sockfs: 'socket' };

export interface LinuxFile {
  readonly descriptor: number;
  /** `r`, `w` or `rw`. */
  readonly access: string;
  /** `regular`, `directory`, `fifo`, `socket`, …; empty for what has no kind, as an eventfd. */
  readonly kind: string;
  readonly inode: bigint;
  /** As /proc/PID/fd shows it. */
  readonly path: string;
  /** Undefined where the kernel's types do not tell it. */
  readonly position: bigint | undefined;
  readonly socket?: LinuxSocket;
}

/** Open files of a process, in order of descriptors. `task`: address of its task_struct. */
export function* openFiles(kernel: KernelBase, task: bigint): Generator<LinuxFile, void, undefined> {
  const process = kernel.struct('task_struct', task);
  const table = process.follow('files')?.follow('fdt');
  if (table === undefined) return;
  const count = table.number('max_fds');
  const bound = new Bound(kernel.memory, `descriptors of the process at 0x${task.toString(16)}`, MOST_DESCRIPTORS);
  const list = table.big('fd');
  for (let descriptor = 0; descriptor < count && bound.take(); descriptor++) {
    const address = kernel.pointerAt(list + BigInt(descriptor * kernel.pointerSize));
    if (address !== 0n) yield describe(kernel, kernel.struct('file', address), descriptor, process);
  }
}

function describe(kernel: KernelBase, file: StructView, descriptor: number, process: StructView): LinuxFile {
  const inode = file.follow('f_inode');
  const flags = file.number('f_flags');
  const kind = KINDS[(inode?.number('i_mode') ?? 0) & S_IFMT] ?? '';
  return {
    descriptor,
    access: (flags & O.RDWR) !== 0 ? 'rw' : (flags & O.WRONLY) !== 0 ? 'w' : 'r',
    kind,
    inode: inode?.big('i_ino') ?? 0n,
    path: pathOf(kernel, file.inner('f_path'), process),
    position: file.has('f_pos') ? file.big('f_pos') : undefined,
    ...(kind === 'socket' && inode !== undefined && kernel.hasField('socket_alloc', 'socket')
      ? { socket: socketAt(kernel, inode.address) }
      : {}),
  };
}

/**
 * A path as the process sees it: from its root on (d_path). Empty where it cannot be told. What was deleted has ` (deleted)` behind it, as
 * in /proc.
 */
export function pathOf(kernel: KernelBase, path: StructView, process: StructView): string {
  const dentry = path.follow('dentry'),
    mount = path.follow('mnt');
  if (dentry === undefined || mount === undefined) return '';
  const system = dentry.follow('d_sb')?.follow('s_type');
  const systemName = system === undefined ? '' : kernel.space.text(system.big('name'), LONGEST_NAME);
  const inode = dentry.follow('d_inode');
  const number = String(inode?.big('i_ino') ?? 0n);
  const before = WITHOUT_PATH[systemName];
  if (before !== undefined) return `${before}:[${number}]`;
  if (systemName === 'anon_inodefs') return `anon_inode:${nameOf(kernel, dentry)}`;
  const root = process.follow('fs')?.inner('root');
  const names = namesTo(kernel, dentry, mount.address, root);
  const gone = dentry.big('d_hash.pprev') === 0n && dentry.big('d_parent') !== dentry.address;
  return `/${names.reverse().join('/')}${gone ? ' (deleted)' : ''}`;
}

/** Names from the innermost up to the process's root. */
function namesTo(kernel: KernelBase, from: StructView, vfsmount: bigint, root: StructView | undefined): string[] {
  const names: string[] = [];
  const rootDentry = root?.big('dentry'),
    rootMount = root?.big('mnt');
  let dentry = from;
  let mount = kernel.containing('mount', 'mnt', vfsmount);
  for (let count = 0; count < MOST_NAMES; count++) {
    if (dentry.address === rootDentry && mount.at('mnt') === rootMount) break;
    const parent = dentry.big('d_parent');
    if (dentry.address === mount.big('mnt.mnt_root') || dentry.address === parent) {
      // The root of a file system: on to where it is mounted
      const above = mount.follow('mnt_parent');
      const point = mount.follow('mnt_mountpoint');
      if (above === undefined || point === undefined || above.address === mount.address) break;
      mount = above;
      dentry = point;
      continue;
    }
    names.push(nameOf(kernel, dentry));
    dentry = kernel.struct('dentry', parent);
  }
  return names;
}

function nameOf(kernel: KernelBase, dentry: StructView): string {
  const length = Math.min(dentry.number('d_name.len'), LONGEST_NAME);
  return new TextDecoder().decode(kernel.space.bytes(dentry.big('d_name.name'), length));
}

export interface LinuxMount {
  readonly device: string;
  /** Where it is mounted, from the root of the process on. */
  readonly path: string;
  /** File system: `ext4`, `tmpfs`. */
  readonly type: string;
  readonly readOnly: boolean;
  /** Of whoever has it mounted. */
  readonly address: bigint;
}

const MNT_READONLY = 0x40;
const SB_RDONLY = 1;

/** What a process sees mounted. `task`: address of its task_struct. */
export function* mounts(kernel: KernelBase, task: bigint): Generator<LinuxMount, void, undefined> {
  const process = kernel.struct('task_struct', task);
  const space = process.follow('nsproxy')?.follow('mnt_ns');
  const root = process.follow('fs')?.inner('root');
  if (space === undefined) return;
  // A list until 6.8, a tree since
  const all = kernel.hasField('mount', 'mnt_node')
    ? kernel.tree(space.at('mounts'), 'mount', 'mnt_node')
    : kernel.list(space.at('list'), 'mount', 'mnt_list');
  for (const mount of all) {
    const system = mount.inner('mnt').follow('mnt_sb');
    const dentry = mount.inner('mnt').follow('mnt_root');
    if (system === undefined || dentry === undefined) continue;
    const type = kernel.space.text(system.follow('s_type')!.big('name'), LONGEST_NAME);
    const sub = system.has('s_subtype') ? system.big('s_subtype') : 0n;
    const device = mount.big('mnt_devname');
    yield {
      device: device === 0n ? 'none' : kernel.space.text(device, LONGEST_NAME),
      path: `/${namesTo(kernel, dentry, mount.at('mnt'), root).reverse().join('/')}`,
      type: sub === 0n ? type : `${type}.${kernel.space.text(sub, LONGEST_NAME)}`,
      readOnly: (mount.number('mnt.mnt_flags') & MNT_READONLY) !== 0 || (system.number('s_flags') & SB_RDONLY) !== 0,
      address: mount.address,
    };
  }
}
