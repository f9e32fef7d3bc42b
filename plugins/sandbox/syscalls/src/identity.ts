/** Who a process is: users, groups, limits, scheduling, prctl. All processes have one identity, and it stays. */
import { formats } from '@visorkit/linux-abi';
import type { SystemCall, SystemCallDefinition } from '@visorkit/linux-abi';
import { Errno } from '@visorkit/sandbox-fs';
import { group } from './group.js';
import { schedulingRows } from './scheduling.js';

const { int, oneOf, pointer, size } = formats;

/** Setting an identity succeeds when it changes nothing; -1 means "as it is". */
const same =
  (which: 'uid' | 'gid', count: number) =>
  (call: SystemCall): number => {
    for (let i = 0; i < count; i++)
      if (call.i32(i) !== -1 && call.u32(i) !== call.process.identity[which]) return -Errno.EPERM;
    return 0;
  };

const three =
  (which: 'uid' | 'gid') =>
  (call: SystemCall): number => {
    for (let i = 0; i < 3; i++) call.memory.prepare(call.u64(i), 4, true);
    for (let i = 0; i < 3; i++) call.memory.writeU32(call.u64(i), call.process.identity[which]);
    return 0;
  };

/** pid 0 and the process itself are the same; limits of another are not there to be seen. */
const self = (call: SystemCall, result: number): number =>
  call.i32(0) === 0 || call.i32(0) === call.process.pid ? result : -Errno.ESRCH;

// ---- limits

const LIMITS = [
  'CPU',
  'FSIZE',
  'DATA',
  'STACK',
  'CORE',
  'RSS',
  'NPROC',
  'NOFILE',
  'MEMLOCK',
  'AS',
  'LOCKS',
  'SIGPENDING',
  'MSGQUEUE',
  'NICE',
  'RTPRIO',
  'RTTIME',
];
const limitName = oneOf(Object.fromEntries(LIMITS.map((name, i) => [i, `RLIMIT_${name}`])));
const INFINITE = (1n << 64n) - 1n;
const STACK = 3;
const CORE = 4;
const NOFILE = 7;

function limit(call: SystemCall, which: number): [bigint, bigint] {
  const set = call.process.rlimits.get(which);
  if (set !== undefined) return set;
  switch (which) {
    case STACK:
      return [8n << 20n, INFINITE];
    case CORE:
      return [0n, 0n];
    case NOFILE:
      return [1024n, 4096n];
    default:
      return [INFINITE, INFINITE];
  }
}

function prlimit(call: SystemCall, which: number, newAt: number, oldAt: number): number {
  if (which < 0 || which >= LIMITS.length) return -Errno.EINVAL;
  const before = limit(call, which);
  let next: [bigint, bigint] | undefined;
  if (newAt !== 0) {
    next = [
      BigInt.asUintN(64, BigInt(call.memory.readI64(newAt))),
      BigInt.asUintN(64, BigInt(call.memory.readI64(newAt + 8))),
    ];
    if (next[0] > next[1]) return -Errno.EINVAL;
    if (next[1] > before[1] && (call.process.identity.uid !== 0 || which === NOFILE)) return -Errno.EPERM;
  }
  if (oldAt !== 0) {
    call.memory.prepare(oldAt, 16, true);
    call.memory.writeU64(oldAt, before[0]);
    call.memory.writeU64(oldAt + 8, before[1]);
  }
  if (next !== undefined) {
    call.process.rlimits.set(which, next);
    if (which === NOFILE) call.process.files.limit = Number(next[0]);
  }
  return 0;
}

// ---- prctl

const PR = {
  SET_PDEATHSIG: 1,
  GET_PDEATHSIG: 2,
  GET_DUMPABLE: 3,
  SET_DUMPABLE: 4,
  SET_NAME: 15,
  GET_NAME: 16,
  GET_SECCOMP: 21,
  CAPBSET_READ: 23,
  SET_NO_NEW_PRIVS: 38,
  GET_NO_NEW_PRIVS: 39,
  GET_TID_ADDRESS: 40,
  SET_VMA: 0x53564d41,
} as const;

function prctl(call: SystemCall): number {
  switch (call.i32(0)) {
    case PR.SET_NAME:
      call.process.comm = call.memory.readString(call.u64(1), 4096).slice(0, 15);
      return 0;
    case PR.GET_NAME: {
      const bytes = new Uint8Array(16);
      bytes.set(Buffer.from(call.process.comm, 'latin1'));
      call.memory.write(call.u64(1), bytes);
      return 0;
    }
    case PR.SET_PDEATHSIG:
    case PR.SET_NO_NEW_PRIVS:
    case PR.SET_VMA:
      return 0;
    case PR.GET_PDEATHSIG:
      call.memory.writeU32(call.u64(1), 0);
      return 0;
    case PR.GET_DUMPABLE:
      return 1;
    case PR.SET_DUMPABLE:
      return call.u64(1) > 1 ? -Errno.EINVAL : 0;
    case PR.GET_SECCOMP:
      return 0;
    case PR.GET_NO_NEW_PRIVS:
      return 0;
    case PR.CAPBSET_READ:
      return call.u64(1) > 40 ? -Errno.EINVAL : 0;
    default:
      return -Errno.EINVAL;
  }
}

/** One processor, as a mask of 8 bytes. */
/** `struct __user_cap_data_struct` twice, all clear: a sandboxed program has no rights. */
function capget(call: SystemCall): number {
  const version = call.memory.readU32(call.u64(0));
  const known = version === 0x20080522 || version === 0x20071026 || version === 0x19980330;
  if (!known) {
    call.memory.writeU32(call.u64(0), 0x20080522);
    return call.u64(1) === 0 ? 0 : -Errno.EINVAL;
  }
  if (call.u64(1) !== 0) call.memory.write(call.u64(1), new Uint8Array(version === 0x19980330 ? 12 : 24));
  return 0;
}

const definitions: SystemCallDefinition[] = [
  { name: 'getuid', args: [], serve: (call) => call.process.identity.uid },
  { name: 'geteuid', args: [], serve: (call) => call.process.identity.uid },
  { name: 'getgid', args: [], serve: (call) => call.process.identity.gid },
  { name: 'getegid', args: [], serve: (call) => call.process.identity.gid },
  { name: 'getresuid', args: [pointer, pointer, pointer], serve: three('uid') },
  { name: 'getresgid', args: [pointer, pointer, pointer], serve: three('gid') },
  { name: 'setuid', args: [int], serve: same('uid', 1) },
  { name: 'setgid', args: [int], serve: same('gid', 1) },
  { name: 'setreuid', args: [int, int], serve: same('uid', 2) },
  { name: 'setregid', args: [int, int], serve: same('gid', 2) },
  { name: 'setresuid', args: [int, int, int], serve: same('uid', 3) },
  { name: 'setresgid', args: [int, int, int], serve: same('gid', 3) },
  { name: 'setfsuid', args: [int], serve: (call) => call.process.identity.uid },
  { name: 'setfsgid', args: [int], serve: (call) => call.process.identity.gid },
  {
    name: 'getgroups',
    args: [int, pointer],
    serve(call) {
      if (call.i32(0) < 0) return -Errno.EINVAL;
      if (call.i32(0) > 0) call.memory.writeU32(call.u64(1), call.process.identity.gid);
      return 1;
    },
  },
  { name: 'setgroups', args: [size, pointer], serve: () => -Errno.EPERM },
  {
    name: 'prctl',
    args: [
      oneOf(Object.fromEntries(Object.entries(PR).map(([name, value]) => [value, `PR_${name}`]))),
      pointer,
      pointer,
      pointer,
      pointer,
    ],
    serve: prctl,
  },
  { name: 'getrlimit', args: [limitName, pointer], serve: (call) => prlimit(call, call.i32(0), 0, call.u64(1)) },
  { name: 'setrlimit', args: [limitName, pointer], serve: (call) => prlimit(call, call.i32(0), call.u64(1), 0) },
  {
    name: 'prlimit64',
    args: [int, limitName, pointer, pointer],
    serve: (call) => (self(call, 0) !== 0 ? -Errno.ESRCH : prlimit(call, call.i32(1), call.u64(2), call.u64(3))),
  },
  ...schedulingRows,
  { name: 'capget', args: [pointer, pointer], serve: capget },
  { name: 'capset', args: [pointer, pointer], serve: () => -Errno.EPERM },
  {
    name: 'personality',
    args: [formats.unsigned],
    serve: (call) => (call.u32(0) === 0xffff_ffff || call.u32(0) === 0 ? 0 : -Errno.EINVAL),
  },
  {
    name: 'getcpu',
    args: [pointer, pointer, pointer],
    serve(call) {
      for (const i of [0, 1]) if (call.u64(i) !== 0) call.memory.writeU32(call.u64(i), 0);
      return 0;
    },
  },
];

export const identity = () => group('identity', definitions);
