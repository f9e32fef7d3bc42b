/** Starting programs, in processes that there are: execve, execveat. What the guest kernel does about processes has its rows here. */
import { AT_FDCWD, FileTable, formats } from '@visorkit/linux-abi';
import type { SystemCall, SystemCallDefinition } from '@visorkit/linux-abi';
import { Errno, FileMode, isDirectory, raise } from '@visorkit/sandbox-fs';
import type { FsNode, Resolved } from '@visorkit/sandbox-fs';
import { group } from './group.js';
import { processRows } from './kernel-calls.js';
import { ContentFile, nodeOf } from './open-files.js';
import { permits } from './status.js';

const { directory, int, path, pointer } = formats;

/** Linux follows so many scripts whose interpreter is a script, and reads so much of the first line (fs/exec.c, binfmt_script.c). */
const MOST_SCRIPTS = 4;
const FIRST_LINE = 256;
/** One argument or entry of the environment (MAX_ARG_STRLEN), and all of them together. */
const LONGEST = 131_072;
const MOST_BYTES = 2 << 20;
const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_EMPTY_PATH = 0x1000;
const X_OK = 1;

/** A NULL-terminated array of strings. Throws E2BIG, PagesNeeded. */
function readStrings(call: SystemCall, at: number): string[] {
  const { memory } = call,
    strings: string[] = [];
  if (at === 0) return strings;
  let bytes = 0;
  for (let i = 0; ; i++) {
    const pointer = memory.readU64(at + 8 * i);
    if (pointer === 0) return strings;
    const text = memory.readString(pointer, LONGEST, 'E2BIG');
    bytes += text.length + 9;
    if (bytes > MOST_BYTES) raise('E2BIG');
    strings.push(text);
  }
}

/** The interpreter of a script and its one argument; undefined: it is none. */
export function scriptInterpreter(start: Uint8Array): readonly string[] | undefined {
  if (start[0] !== 0x23 || start[1] !== 0x21) return undefined;
  const line = Buffer.from(start.subarray(2)).toString('latin1').split('\n')[0];
  const [, name, argument] = /^[ \t]*([^ \t]+)[ \t]*(.*?)[ \t]*$/s.exec(line) ?? [];
  if (name === undefined) raise('ENOEXEC');
  return argument === '' ? [name] : [name, argument];
}

function mayRun(call: SystemCall, node: FsNode): boolean {
  const stat = node.stat();
  return (stat.mode & FileMode.TYPE) === FileMode.REGULAR && permits(stat, call.process.identity, X_OK);
}

/** The file behind what was named: `/proc/self/fd/N` and `/proc/self/exe` lead to others. */
function target(call: SystemCall, found: Resolved): { node: FsNode; path: string } {
  const node = found.node ?? raise('ENOENT');
  const path = `/${found.names.join('/')}`;
  if (isDirectory(node)) raise('EACCES');
  if (node.kind === 'symlink') raise('ELOOP');
  if (node.kind !== 'descriptor') return { node, path: node.standsFor ?? path };
  const file = call.process.files.get(node.descriptor!);
  return { node: nodeOf(file), path: file.name };
}

function execute(
  call: SystemCall,
  descriptor: number,
  name: string,
  flags: number,
  args: readonly string[],
  env: readonly string[],
  depth = 0,
): number {
  if (depth > MOST_SCRIPTS) return -Errno.ELOOP;
  const found = call.process.resolve(descriptor, name, (flags & AT_SYMLINK_NOFOLLOW) === 0);
  try {
    const { node, path } = target(call, found);
    if (!mayRun(call, node)) return -Errno.EACCES;
    const file = new ContentFile(0, node.open(0), path);
    file.references++;
    try {
      const start = new Uint8Array(FIRST_LINE),
        length = file.readAt(start, 0),
        script = scriptInterpreter(start.subarray(0, Math.max(0, length)));
      if (script !== undefined)
        return execute(call, AT_FDCWD, script[0], 0, [...script, name, ...args.slice(1)], env, depth + 1);
      return call.process.options.exec(call.process, { file, node: file.handle.node, path, execName: name, args, env });
    } finally {
      FileTable.release(file);
    }
  } finally {
    found.close();
  }
}

function execveat(call: SystemCall): number {
  const name = call.memory.readString(call.u64(1)),
    flags = call.u32(4);
  if ((flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) !== 0) return -Errno.EINVAL;
  if (name !== '')
    return execute(call, call.i32(0), name, flags, readStrings(call, call.u64(2)), readStrings(call, call.u64(3)));
  if ((flags & AT_EMPTY_PATH) === 0) return -Errno.ENOENT;
  call.process.files.get(call.i32(0));
  const through = `/proc/self/fd/${call.i32(0)}`;
  return execute(call, AT_FDCWD, through, 0, readStrings(call, call.u64(2)), readStrings(call, call.u64(3)));
}

const definitions: SystemCallDefinition[] = [
  {
    name: 'execve',
    args: [path, pointer, pointer],
    serve: (call) =>
      execute(
        call,
        AT_FDCWD,
        call.memory.readString(call.u64(0)),
        0,
        readStrings(call, call.u64(1)),
        readStrings(call, call.u64(2)),
      ),
  },
  { name: 'execveat', args: [directory, path, pointer, pointer, int], serve: execveat },
  ...processRows,
];

/** fork, execve, wait4 and their relatives. */
export const processes = () => group('processes', definitions);
