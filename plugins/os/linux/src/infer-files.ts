/** Open files, paths and mounts, told by the tables that a process begins with, and by what file, name, inode and mount say of one another. */
import { inferSockets } from './infer-sockets.js';
import type { InferFrom } from './infer.js';
import { places, single } from './infer-reader.js';
import type { Reader, Snapshot } from './infer-reader.js';
import type { InferredTasks } from './infer-tasks.js';
import type { InferredField, InferredTypes } from './inferred-types.js';

/** Bytes of each structure that are looked at. */
const BYTES = {
  files: 1024,
  fs: 128,
  dentry: 256,
  inode: 768,
  superblock: 256,
  file: 320,
  mount: 512,
  mounts: 256,
} as const;
/** A struct file has at least so many bytes. */
const SMALLEST = 96;
/** Open files that are compared. */
const MOST_FILES = 64;
/** Processes whose files are compared. */
const COMPARED = 64;
const MOST_MOUNTS = 4096;
const LONGEST_NAME = 256;
/** FMODE_OPENED, which every file has since 4.19. */
const OPENED = 0x8_0000;
const S_IFMT = 0xf000;
const S_IFDIR = 0x4000;
/** TMPFS_MAGIC and RAMFS_MAGIC (include/uapi/linux/magic.h): what a root file system that the kernel unpacks is. */
const MAGIC = [0x0102_1994, 0x8584_58f6];
/** File systems whose root is inode 1. */
const ROOT_IS_FIRST = ['proc', 'sysfs'];

/** Fields of task_struct; adds the types that they lead to, one after the other: where one cannot be told, those behind it cannot either. */
export function inferFiles(
  reader: Reader,
  types: InferredTypes,
  { kernelThreads, processes, tasks, offsets }: InferredTasks,
  from: InferFrom,
): InferredField[] {
  const p = reader.pointerSize;
  const alive = [...kernelThreads, ...processes];
  const fields: InferredField[] = [];
  const [from0, to] = [offsets.comm + 16, offsets.comm + 256];

  // nsproxy leads to the names of the system, whose place VMCOREINFO has
  const names = from.address('init_uts_ns');
  const spaces = single(
    places(
      from0,
      to,
      p,
      (at) => names !== undefined && alive.every((task) => reader.pointer(task.pointer(at) + BigInt(p)) === names),
    ),
  );
  if (spaces !== undefined) fields.push(['nsproxy', spaces, types.pointer('nsproxy')]);

  // files leads to a table that, as long as few are open, is in the same structure, as is the array of the first files
  const table = (task: Snapshot, at: number): number | undefined => {
    const files = reader.some(task.pointer(at), BYTES.files);
    return single(
      places(p, 128, p, (place) => {
        const inner = Number(files.pointer(place) - files.base);
        if (inner !== place + p || files.u32(inner) !== 8 * p) return false;
        const array = files.pointer(inner + p) - files.base;
        return array > 0n && array < BigInt(BYTES.files);
      }),
    );
  };
  const files = single(
    places(
      from0,
      to,
      p,
      (at) =>
        reader.isPointer(tasks[0].pointer(at)) &&
        alive.every((task) => reader.isPointer(task.pointer(at))) &&
        table(tasks[0], at) !== undefined &&
        table(processes[0], at) === table(tasks[0], at),
    ),
  );
  if (files === undefined) return fields;
  types.add('fdtable', [
    ['max_fds', 0, types.u32],
    ['fd', p, types.pointer()],
  ]);
  types.add('files_struct', [['fdt', table(tasks[0], files)!, types.pointer('fdtable')]]);
  fields.push(['files', files, types.pointer('files_struct')]);

  // fs, before it, has two paths: each a mount whose root may be the same name
  const fs = files - p;
  const root = places(p, BYTES.fs, p, (at) =>
    alive.every((task) => {
      const [mount, name] = [
        reader.pointer(task.pointer(fs) + BigInt(at)),
        reader.pointer(task.pointer(fs) + BigInt(at + p)),
      ];
      return reader.isPointer(mount) && reader.isPointer(name) && reader.pointer(mount) === name;
    }),
  )[0];
  if (root === undefined) return fields;
  types.add('path', [
    ['mnt', 0, types.pointer('vfsmount')],
    ['dentry', p, types.pointer('dentry')],
  ]);
  types.add('fs_struct', [['root', root, types.named('path')]]);
  fields.push(['fs', fs, types.pointer('fs_struct')]);

  const rootMount = reader.pointer(tasks[0].pointer(fs) + BigInt(root));
  const opened = processes
    .slice(0, COMPARED)
    .flatMap((task) => openFiles(reader, task.pointer(files), table(task, files)));
  const found = inferNames(reader, types, rootMount, opened);
  if (found === undefined) return fields;
  const mounts = spaces === undefined ? [] : inferMounts(reader, types, tasks[0].pointer(spaces), rootMount, found);
  inferInodes(reader, types, mounts, found, rootMount);
  if (found.fileInode !== undefined) inferSockets(reader, types, opened, found.fileInode);
  return fields;
}

/** The first place, if others are so far behind that they are in the next structure of the kind: those lie one behind the other. */
function firstOf(found: readonly number[]): number | undefined {
  const [first, second = Infinity] = found;
  return first !== undefined && second - first >= SMALLEST ? first : undefined;
}

function openFiles(reader: Reader, files: bigint, table: number | undefined): bigint[] {
  if (table === undefined) return [];
  const p = reader.pointerSize;
  const array = reader.pointer(reader.pointer(files + BigInt(table)) + BigInt(p));
  return Array.from({ length: MOST_FILES }, (_unused, index) => index)
    .slice(0, 8 * p)
    .map((index) => reader.pointer(array + BigInt(index * p)))
    .filter((file) => file !== 0n && reader.isPointer(file));
}

interface Names {
  readonly parent: number;
  readonly inode: number;
  readonly superblock: number;
  /** Of an inode: its superblock. */
  readonly inodeSuperblock: number;
  /** Of a file: its inode. */
  readonly fileInode: number | undefined;
}

/** dentry and file: a file's mount and name are of one file system, the name's inode is the file's. */
function inferNames(
  reader: Reader,
  types: InferredTypes,
  rootMount: bigint,
  opened: readonly bigint[],
): Names | undefined {
  const p = reader.pointerSize;
  const top = reader.some(reader.pointer(rootMount), BYTES.dentry);
  const system = reader.pointer(rootMount + BigInt(p));
  // The first of each: behind a dentry others lie
  const [parent] = places(p, BYTES.dentry, p, (at) => top.pointer(at) === top.base);
  const [superblock] = places(p, BYTES.dentry, p, (at) => top.pointer(at) === system);
  if (parent === undefined || superblock === undefined) return undefined;
  // f_path, f_inode
  const nameAt = (file: Snapshot, at: number): Snapshot => reader.some(file.pointer(at + p), BYTES.dentry);
  const files = opened.map((at) => reader.some(at, BYTES.file));
  const paths = places(0, BYTES.file - 3 * p, p, (at) =>
    files.every((file) => {
      const mount = file.pointer(at);
      if (!reader.isPointer(mount) || !reader.isPointer(file.pointer(at + p))) return false;
      return nameAt(file, at).pointer(superblock) === reader.pointer(mount + BigInt(p));
    }),
  );
  const path = files.length === 0 ? undefined : firstOf(paths);
  if (path === undefined) return undefined;
  const dentries = files.map((file) => nameAt(file, path));
  // d_name: a hash, a length and where the text is, which for a short one is in the dentry itself
  const text = single(
    places(
      parent + p,
      superblock,
      p,
      (at) =>
        [top, ...dentries].every((dentry) => {
          const place = dentry.pointer(at);
          if (!reader.isPointer(place, 1)) return false;
          const length = dentry.u32(at - 4);
          const bytes = reader.text(place, LONGEST_NAME);
          return length > 0 ? bytes.length === length : bytes === '';
        }) &&
        top.pointer(at) > top.base &&
        top.pointer(at) < top.base + BigInt(BYTES.dentry),
    ),
  );
  if (text === undefined) return undefined;
  const inode = text + p;
  const inodes = dentries.map((dentry) => reader.some(dentry.pointer(inode), BYTES.inode));
  const inodeSuperblock = single(
    places(0, 128, p, (at) => inodes.every((node, index) => node.pointer(at) === dentries[index].pointer(superblock))),
  );
  if (inodeSuperblock === undefined) return undefined;
  types.add('qstr', [
    ['len', 4, types.u32],
    ['name', 8, types.pointer()],
  ]);
  types.add('dentry', [
    ['d_hash', parent - 2 * p, types.named('hlist_bl_node')],
    ['d_parent', parent, types.pointer('dentry')],
    ['d_name', text - 8, types.named('qstr')],
    ['d_inode', inode, types.pointer('inode')],
    ['d_sb', superblock, types.pointer('super_block')],
  ]);
  const fields: InferredField[] = [['f_path', path, types.named('path')]];
  const place = firstOf(
    places(0, BYTES.file, p, (at) => files.every((file, index) => file.pointer(at) === inodes[index].base)),
  );
  if (place !== undefined) fields.push(['f_inode', place, types.pointer('inode')]);
  // How it was opened, and what may be done with it, say the same in two ways
  const saysTheSame = (at: number, apart: number): boolean =>
    files.every((file) => {
      const [how, mode] = [file.u32(at), file.u32(at + apart)];
      return (mode & OPENED) !== 0 && how >= 0 && how < 1 << 25 && ((how + 1) & 3) === (mode & 3);
    });
  const flags = firstOf(places(4, BYTES.file, 4, (at) => saysTheSame(at, 4) !== saysTheSame(at, -4)));
  if (flags !== undefined)
    fields.push(['f_flags', flags, types.u32], ['f_mode', flags + (saysTheSame(flags, 4) ? 4 : -4), types.u32]);
  types.add('file', fields);
  return { parent, inode, superblock, inodeSuperblock, fileInode: place };
}

interface FoundMount {
  /** Of its root. */
  readonly inode: bigint;
  readonly system: string;
}

/** mount, super_block and the list of a mount namespace: every mount of the list has a root of its own file system, which has a name. */
function inferMounts(
  reader: Reader,
  types: InferredTypes,
  spaces: bigint,
  rootMount: bigint,
  names: Names,
): FoundMount[] {
  const p = reader.pointerSize;
  // What vfsmount is in: mnt_hash, mnt_parent and mnt_mountpoint come before it
  const before = BigInt(4 * p);
  const first = rootMount - before;
  const system = reader.some(reader.pointer(rootMount + BigInt(p)), BYTES.superblock);
  const type = single(
    places(0, BYTES.superblock, p, (at) => {
      const place = reader.pointer(system.pointer(at));
      return reader.isPointer(place, 1) && ['rootfs', 'tmpfs', 'ramfs'].includes(reader.text(place, 32));
    }),
  );
  if (type === undefined) return [];
  types.add('file_system_type', [['name', 0, types.pointer()]]);
  const superblock: InferredField[] = [
    ['s_dev', 2 * p, types.u32],
    ['s_type', type, types.pointer('file_system_type')],
  ];
  // Four tables of operations, flags, more flags, the number that the file system is known by, its root
  const magic = type + 7 * p;
  if (MAGIC.includes(system.u32(magic)) && system.pointer(magic + p) === reader.pointer(rootMount))
    superblock.push(['s_flags', magic - 2 * p, types.word], ['s_magic', magic, types.word]);
  types.add('super_block', superblock);
  types.add('vfsmount', [
    ['mnt_root', 0, types.pointer('dentry')],
    ['mnt_sb', p, types.pointer('super_block')],
    ['mnt_flags', 2 * p, types.i32],
  ]);
  const fields: InferredField[] = [
    ['mnt_parent', 2 * p, types.pointer('mount')],
    ['mnt_mountpoint', 3 * p, types.pointer('dentry')],
    ['mnt', 4 * p, types.named('vfsmount')],
  ];
  // Each mount of the list is mounted on a name of its parent's file system; the root is its own parent
  const isMount = (at: bigint): boolean => {
    const mount = reader.snapshot(at, BYTES.mount);
    if (mount === undefined) return false;
    const [above, point, root, block] = [2, 3, 4, 5].map((word) => mount.pointer(word * p));
    return (
      [above, point, root, block].every((value) => reader.isPointer(value)) &&
      reader.pointer(root + BigInt(names.superblock)) === block &&
      reader.pointer(point + BigInt(names.superblock)) === reader.pointer(above + before + BigInt(p)) &&
      reader.text(reader.pointer(reader.pointer(block + BigInt(type))), 32) !== ''
    );
  };
  if (reader.pointer(first + BigInt(2 * p)) !== first || !isMount(first)) return [];
  const space = reader.pointer(spaces + BigInt(3 * p));
  const lists: { list: number; node: number; mounts: bigint[] }[] = [];
  for (let list = 0; list < BYTES.mounts; list += p) {
    const head = space + BigInt(list);
    const next = reader.pointer(head);
    for (let node = 6 * p; node < BYTES.mount; node += p) {
      // The root is the first of the list
      if (next - BigInt(node) !== first) continue;
      const mounts: bigint[] = [];
      let at = next,
        back = head;
      while (
        at !== head &&
        mounts.length < MOST_MOUNTS &&
        reader.pointer(at + BigInt(p)) === back &&
        isMount(at - BigInt(node))
      ) {
        mounts.push(at - BigInt(node));
        back = at;
        at = reader.pointer(at);
      }
      if (at === head && mounts.length > 1) lists.push({ list, node, mounts });
    }
  }
  const one = single(lists);
  if (one !== undefined) {
    // Its name, of a device or of whatever was given instead, stands before the list
    fields.push(['mnt_list', one.node, types.named('list_head')]);
    if (one.mounts.every((mount) => reader.text(reader.pointer(mount + BigInt(one.node - p)), LONGEST_NAME) !== ''))
      fields.push(['mnt_devname', one.node - p, types.pointer()]);
    types.add('mnt_namespace', [['list', one.list, types.named('list_head')]]);
    types.add('nsproxy', [['mnt_ns', 3 * p, types.pointer('mnt_namespace')]]);
  }
  types.add('mount', fields);
  return (one?.mounts ?? []).map((mount) => ({
    inode: reader.pointer(reader.pointer(mount + before) + BigInt(names.inode)),
    system: reader.text(reader.pointer(reader.pointer(reader.pointer(mount + before + BigInt(p)) + BigInt(type))), 32),
  }));
}

/** inode: its kind is first; its number is behind its own mapping, and 1 for the roots of some file systems. */
function inferInodes(
  reader: Reader,
  types: InferredTypes,
  mounts: readonly FoundMount[],
  { inodeSuperblock, inode }: Names,
  rootMount: bigint,
): void {
  const p = reader.pointerSize;
  const top = reader.some(reader.pointer(reader.pointer(rootMount) + BigInt(inode)), BYTES.inode);
  if ((top.u16(0) & S_IFMT) !== S_IFDIR) return;
  const fields: InferredField[] = [
    ['i_mode', 0, types.u16],
    ['i_sb', inodeSuperblock, types.pointer('super_block')],
  ];
  const roots = mounts
    .filter(({ system }) => ROOT_IS_FIRST.includes(system))
    .map(({ inode: at }) => reader.some(at, BYTES.inode));
  const mapping = inodeSuperblock + p;
  const isMapped = [top, ...roots].every((node) => {
    const place = node.pointer(mapping);
    return place > node.base && place < node.base + BigInt(BYTES.inode);
  });
  const number = single(
    places(mapping + p, mapping + 3 * p, p, (at) => roots.length > 0 && roots.every((node) => node.pointer(at) === 1n)),
  );
  if (isMapped && number !== undefined) fields.push(['i_ino', number, types.word]);
  types.add('inode', fields);
}
