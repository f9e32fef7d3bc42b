/** Opening files: open, openat, openat2, creat. */
import { AT_FDCWD, PID, formats, resolveArgument } from '@visorkit/linux-abi';
import type { OpenFile, Process, SystemCall, SystemCallDefinition } from '@visorkit/linux-abi';
import { Errno, OpenFlag, isDirectory, raise } from '@visorkit/sandbox-fs';
import type { Directory, FileHandle, FsNode, Resolved } from '@visorkit/sandbox-fs';
import { IN, watchesOf } from './file-watches.js';
import { group } from './group.js';
import { ContentFile, DirectoryFile, PathFile } from './open-files.js';
import { PtySlave, TerminalNode } from './pty.js';

const { directory, octal, path, pointer, size } = formats;

const ACCESS_NAMES = ['O_RDONLY', 'O_WRONLY', 'O_RDWR', '0x3'];
const FLAG_NAMES = {
  O_TMPFILE: OpenFlag.TMPFILE,
  O_CREAT: OpenFlag.CREAT,
  O_EXCL: OpenFlag.EXCL,
  O_NOCTTY: OpenFlag.NOCTTY,
  O_TRUNC: OpenFlag.TRUNC,
  O_APPEND: OpenFlag.APPEND,
  O_NONBLOCK: OpenFlag.NONBLOCK,
  O_DIRECTORY: OpenFlag.DIRECTORY,
  O_NOFOLLOW: OpenFlag.NOFOLLOW,
  O_NOATIME: OpenFlag.NOATIME,
  O_CLOEXEC: OpenFlag.CLOEXEC,
  O_PATH: OpenFlag.PATH,
  O_LARGEFILE: OpenFlag.LARGEFILE,
};
const openFlags = (call: SystemCall, i: number): string => {
  const value = call.u32(i),
    rest = formats.flagText(value & ~3, FLAG_NAMES, '');
  return `${ACCESS_NAMES[value & 3]}${rest === '' ? '' : `|${rest}`}`;
};
/** The mode argument counts only for files that are made. */
const openMode =
  (flagsAt: number) =>
  (call: SystemCall, i: number, result: number): string =>
    (call.u32(flagsAt) & OpenFlag.CREAT) !== 0 ? octal(call, i, result) : '0';

const KEPT = ~(OpenFlag.CREAT | OpenFlag.EXCL | OpenFlag.TRUNC | OpenFlag.CLOEXEC);

/** Opens what a path leads to and gives it a descriptor. */
export function openPath(process: Process, found: Resolved, flags: number, mode: number): number {
  try {
    const file = open(process, found, flags, mode);
    return process.files.add(file, (flags & OpenFlag.CLOEXEC) !== 0);
  } finally {
    found.close();
  }
}

function open(process: Process, found: Resolved, flags: number, mode: number): OpenFile {
  const { node, parent, name, names } = found,
    { options } = process,
    watches = watchesOf(options);
  const text = `/${names.join('/')}`;
  if (node === undefined) {
    if ((flags & OpenFlag.CREAT) === 0) raise('ENOENT');
    if (found.mustBeDirectory) raise('EISDIR');
    if (parent!.readOnly) raise('EROFS');
    const handle = parent!.create(name, mode & 0o7777 & ~process.umask, flags);
    watches.created(parent!, name);
    return new ContentFile(flags & KEPT, handle, text, options);
  }
  if ((flags & OpenFlag.CREAT) !== 0 && (flags & OpenFlag.EXCL) !== 0) raise('EEXIST');
  if ((flags & OpenFlag.PATH) !== 0) {
    found.keepNode();
    return isDirectory(node)
      ? new DirectoryFile(flags & KEPT, node, names, options)
      : new PathFile(flags & KEPT, node, text);
  }
  if (isDirectory(node)) {
    if ((flags & OpenFlag.ACCESS) !== 0 || (flags & OpenFlag.CREAT) !== 0) raise('EISDIR');
    found.keepNode();
    return new DirectoryFile(flags & KEPT, node, names, options);
  }
  if ((flags & OpenFlag.DIRECTORY) !== 0) raise('ENOTDIR');
  if (node.kind === 'symlink') raise('ELOOP');
  if (node instanceof TerminalNode) return node.openFor(process, flags & KEPT);
  if (node.kind === 'descriptor') return reopen(process, node, flags);
  const file = new ContentFile(flags & KEPT, node.open(flags), text, options);
  if ((flags & OpenFlag.TRUNC) !== 0) {
    file.mapped()?.truncate(0);
    watches.about(file, IN.MODIFY);
  }
  return file;
}

/** `/dev/stdin` and `/proc/self/fd/N`: a file is opened anew, anything else is the open file itself. */
function reopen(process: Process, node: FsNode, flags: number): OpenFile {
  const file = process.files.get(node.descriptor!);
  if (file instanceof PtySlave) return file.pty.node.openFor(process, flags & KEPT);
  if (!(file instanceof ContentFile) || !file.handle.seekable) return file;
  return new ContentFile(flags & KEPT, file.handle.node.open(flags), file.name, process.options);
}

/** Makes a file and removes its name at once, so that only the open file remains. */
function nameless(folder: Directory, mode: number, flags: number): FileHandle {
  const name = `.tmpfile-${PID}-${Math.floor(Math.random() * 2 ** 48).toString(36)}`;
  const handle = folder.create(name, mode, flags);
  folder.unlink(name);
  return handle;
}

/** O_TMPFILE. */
function temporary(call: SystemCall, directoryAt: number, pathAt: number, flags: number, mode: number): number {
  const { process } = call,
    found = resolveArgument(call, directoryAt, pathAt, true);
  try {
    if (found.node === undefined) raise('ENOENT');
    if (!isDirectory(found.node)) raise('ENOTDIR');
    if ((flags & OpenFlag.ACCESS) === 0) raise('EINVAL');
    const handle = nameless(found.node, mode & 0o7777 & ~process.umask, flags & ~OpenFlag.TMPFILE);
    return process.files.add(
      new ContentFile(flags & KEPT & ~OpenFlag.TMPFILE, handle, '(deleted)', process.options),
      (flags & OpenFlag.CLOEXEC) !== 0,
    );
  } finally {
    found.close();
  }
}

const MFD = { CLOEXEC: 1, ALLOW_SEALING: 2, NOEXEC_SEAL: 8, EXEC: 16 } as const;
/** Of a name in /proc/self/fd behind "memfd:". */
const MEMFD_NAME_LIMIT = 249;

/** memfd_create(2): a file in memory that never had a name. Nothing can be sealed. */
function memoryFile(call: SystemCall): number {
  const { process } = call,
    name = call.memory.readString(call.u64(0)),
    how = call.u32(1);
  if (
    (how & ~(MFD.CLOEXEC | MFD.ALLOW_SEALING | MFD.NOEXEC_SEAL | MFD.EXEC)) !== 0 ||
    Buffer.byteLength(name) > MEMFD_NAME_LIMIT
  )
    return -Errno.EINVAL;
  if ((how & MFD.EXEC) !== 0 && (how & MFD.NOEXEC_SEAL) !== 0) return -Errno.EINVAL;
  const handle = nameless(process.options.fs.root, (how & MFD.NOEXEC_SEAL) !== 0 ? 0o666 : 0o777, OpenFlag.RDWR);
  return process.files.add(
    new ContentFile(OpenFlag.RDWR, handle, `/memfd:${name} (deleted)`, process.options),
    (how & MFD.CLOEXEC) !== 0,
  );
}

function openAt(call: SystemCall, directoryAt: number, pathAt: number, flags: number, mode: number): number {
  if ((flags & OpenFlag.TMPFILE) === OpenFlag.TMPFILE) return temporary(call, directoryAt, pathAt, flags, mode);
  const follow =
    (flags & OpenFlag.NOFOLLOW) === 0 && !((flags & OpenFlag.CREAT) !== 0 && (flags & OpenFlag.EXCL) !== 0);
  return openPath(call.process, resolveArgument(call, directoryAt, pathAt, follow), flags, mode);
}

const RESOLVE_KNOWN = 0x3f;

/** openat2(2): what `resolve` asks for beyond the sandbox's own rules is refused rather than left out. */
function openat2(call: SystemCall): number {
  const at = call.u64(2),
    length = call.u64(3);
  if (length < 24) return -Errno.EINVAL;
  if (length > 4096) return -Errno.E2BIG;
  const flags = call.memory.readU64(at),
    mode = call.memory.readU64(at + 8),
    resolve = call.memory.readU64(at + 16);
  for (let i = 24; i < length; i++) if (call.memory.readU8(at + i) !== 0) return -Errno.E2BIG;
  if (resolve > RESOLVE_KNOWN || flags > 0xffff_ffff || (mode !== 0 && (flags & OpenFlag.CREAT) === 0))
    return -Errno.EINVAL;
  return resolve === 0 ? openAt(call, 0, 1, flags | 0, mode) : -Errno.EOPNOTSUPP;
}

const definitions: SystemCallDefinition[] = [
  {
    name: 'open',
    args: [path, openFlags, openMode(1)],
    serve: (call) => openAt(call, AT_FDCWD, 0, call.i32(1), call.u32(2)),
  },
  {
    name: 'openat',
    args: [directory, path, openFlags, openMode(2)],
    serve: (call) => openAt(call, 0, 1, call.i32(2), call.u32(3)),
  },
  { name: 'openat2', args: [directory, path, pointer, size], serve: openat2 },
  {
    name: 'memfd_create',
    args: [
      path,
      formats.flags({
        MFD_CLOEXEC: MFD.CLOEXEC,
        MFD_ALLOW_SEALING: MFD.ALLOW_SEALING,
        MFD_NOEXEC_SEAL: MFD.NOEXEC_SEAL,
        MFD_EXEC: MFD.EXEC,
      }),
    ],
    serve: memoryFile,
  },
  {
    name: 'creat',
    args: [path, octal],
    serve: (call) => openAt(call, AT_FDCWD, 0, OpenFlag.CREAT | OpenFlag.WRONLY | OpenFlag.TRUNC, call.u32(1)),
  },
];

export const opening = () => group('opening', definitions);
