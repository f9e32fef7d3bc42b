/**
 * Calls that the guest kernel serves itself: memory, signals, threads, processes. The rows are for traces. The host only watches
 * the timeouts: the other way out of a wait, a wake-up, is the guest kernel's.
 */
import { formats, readTimespec } from '@visorkit/linux-abi';
import type { SystemCall, SystemCallDefinition } from '@visorkit/linux-abi';
import { Errno } from '@visorkit/sandbox-fs';
import { group } from './group.js';
import { waitUntil } from './readiness.js';
import { readClock } from './time.js';

const { flags, int, offset, oneOf, pointer, signal, size } = formats;

const prot = flags({ PROT_READ: 1, PROT_WRITE: 2, PROT_EXEC: 4 }, 'PROT_NONE');
const mapFlags = flags({
  MAP_SHARED_VALIDATE: 3,
  MAP_SHARED: 1,
  MAP_PRIVATE: 2,
  MAP_FIXED: 0x10,
  MAP_ANONYMOUS: 0x20,
  MAP_GROWSDOWN: 0x100,
  MAP_DENYWRITE: 0x800,
  MAP_NORESERVE: 0x4000,
  MAP_POPULATE: 0x8000,
  MAP_STACK: 0x20000,
  MAP_HUGETLB: 0x40000,
  MAP_FIXED_NOREPLACE: 0x100000,
});

const memoryRows: SystemCallDefinition[] = [
  { name: 'mmap', args: [pointer, size, prot, mapFlags, int, offset], result: 'address' },
  { name: 'munmap', args: [pointer, size] },
  { name: 'mprotect', args: [pointer, size, prot] },
  {
    name: 'mremap',
    args: [pointer, size, size, flags({ MREMAP_MAYMOVE: 1, MREMAP_FIXED: 2 }), pointer],
    result: 'address',
  },
  { name: 'brk', args: [pointer], result: 'address' },
  {
    name: 'madvise',
    args: [
      pointer,
      size,
      oneOf({
        0: 'MADV_NORMAL',
        1: 'MADV_RANDOM',
        2: 'MADV_SEQUENTIAL',
        3: 'MADV_WILLNEED',
        4: 'MADV_DONTNEED',
        8: 'MADV_FREE',
        14: 'MADV_HUGEPAGE',
        15: 'MADV_NOHUGEPAGE',
      }),
    ],
  },
  { name: 'msync', args: [pointer, size, flags({ MS_ASYNC: 1, MS_INVALIDATE: 2, MS_SYNC: 4 })] },
  { name: 'mincore', args: [pointer, size, pointer] },
  { name: 'mlock', args: [pointer, size] },
  { name: 'mlock2', args: [pointer, size, int] },
  { name: 'munlock', args: [pointer, size] },
  { name: 'mlockall', args: [int] },
  { name: 'munlockall', args: [] },
];

const FUTEX_LOCK_PI = 6;
const FUTEX_WAIT_BITSET = 9;
const FUTEX_LOCK_PI2 = 13;
const FUTEX_CLOCK_REALTIME = 256;

/** futex(2): FUTEX_WAIT has a relative timeout, FUTEX_WAIT_BITSET an absolute one, and FUTEX_LOCK_PI one of CLOCK_REALTIME. */
function futexTimeout(call: SystemCall): number {
  const time = readTimespec(call.memory, call.u64(3)),
    operation = call.u32(1);
  if (Number.isNaN(time)) return -Errno.EINVAL;
  const { process } = call;
  const command = operation & 0x7f,
    absolute = command === FUTEX_WAIT_BITSET || command === FUTEX_LOCK_PI || command === FUTEX_LOCK_PI2,
    realTime = command === FUTEX_LOCK_PI || (operation & FUTEX_CLOCK_REALTIME) !== 0;
  const relative = absolute ? time - Number(readClock(process, realTime ? 0 : 1)!) : time;
  return waitUntil(call, () => process.clock + relative, -Errno.ETIMEDOUT);
}

function signalTimeout(call: SystemCall): number {
  const time = readTimespec(call.memory, call.u64(2));
  return Number.isNaN(time) ? -Errno.EINVAL : waitUntil(call, () => call.process.clock + time, -Errno.EAGAIN);
}

const signalRows: SystemCallDefinition[] = [
  { name: 'rt_sigaction', args: [signal, pointer, pointer, size] },
  {
    name: 'rt_sigprocmask',
    args: [oneOf({ 0: 'SIG_BLOCK', 1: 'SIG_UNBLOCK', 2: 'SIG_SETMASK' }), pointer, pointer, size],
  },
  { name: 'rt_sigreturn', args: [] },
  { name: 'rt_sigpending', args: [pointer, size] },
  { name: 'rt_sigsuspend', args: [pointer, size] },
  { name: 'rt_sigtimedwait', args: [pointer, pointer, pointer, size], serve: signalTimeout },
  { name: 'sigaltstack', args: [pointer, pointer] },
  { name: 'pause', args: [] },
  { name: 'kill', args: [int, signal] },
  { name: 'tkill', args: [int, signal] },
  { name: 'tgkill', args: [int, int, signal] },
  { name: 'rt_sigqueueinfo', args: [int, signal, pointer] },
  { name: 'rt_tgsigqueueinfo', args: [int, int, signal, pointer] },
];

const cloneFlags = flags({
  CLONE_VM: 0x100,
  CLONE_FS: 0x200,
  CLONE_FILES: 0x400,
  CLONE_SIGHAND: 0x800,
  CLONE_VFORK: 0x4000,
  CLONE_THREAD: 0x10000,
  CLONE_SYSVSEM: 0x40000,
  CLONE_SETTLS: 0x80000,
  CLONE_PARENT_SETTID: 0x100000,
  CLONE_CHILD_CLEARTID: 0x200000,
  CLONE_CHILD_SETTID: 0x1000000,
});

const FUTEX_NAMES: { readonly [operation: number]: string } = {
  0: 'FUTEX_WAIT',
  1: 'FUTEX_WAKE',
  3: 'FUTEX_REQUEUE',
  4: 'FUTEX_CMP_REQUEUE',
  5: 'FUTEX_WAKE_OP',
  6: 'FUTEX_LOCK_PI',
  7: 'FUTEX_UNLOCK_PI',
  8: 'FUTEX_TRYLOCK_PI',
  9: 'FUTEX_WAIT_BITSET',
  10: 'FUTEX_WAKE_BITSET',
  13: 'FUTEX_LOCK_PI2',
};
const futexOperation = (call: SystemCall, i: number): string =>
  `${FUTEX_NAMES[call.u32(i) & 0x7f] ?? call.u32(i) & 0x7f}${(call.u32(i) & 128) !== 0 ? '_PRIVATE' : ''}${(call.u32(i) & FUTEX_CLOCK_REALTIME) !== 0 ? '|FUTEX_CLOCK_REALTIME' : ''}`;

const threadRows: SystemCallDefinition[] = [
  { name: 'exit', args: [int] },
  { name: 'futex', args: [pointer, futexOperation, int, pointer, pointer, int], serve: futexTimeout },
  { name: 'sched_yield', args: [] },
  { name: 'gettid', args: [] },
  { name: 'set_tid_address', args: [pointer] },
  { name: 'set_robust_list', args: [pointer, size] },
  {
    name: 'arch_prctl',
    args: [
      oneOf({ 0x1001: 'ARCH_SET_GS', 0x1002: 'ARCH_SET_FS', 0x1003: 'ARCH_GET_FS', 0x1004: 'ARCH_GET_GS' }),
      pointer,
    ],
  },
];

const waitOptions = flags({
  WNOHANG: 1,
  WSTOPPED: 2,
  WEXITED: 4,
  WCONTINUED: 8,
  WNOWAIT: 0x1000000,
  __WALL: 0x40000000,
  __WCLONE: 0x80000000,
});

/** The rows of the guest kernel among those of processes; execve is in executing.ts. */
export const processRows: readonly SystemCallDefinition[] = [
  { name: 'clone', args: [cloneFlags, pointer, pointer, pointer, pointer] },
  { name: 'fork', args: [] },
  { name: 'vfork', args: [] },
  { name: 'exit_group', args: [int] },
  { name: 'wait4', args: [int, pointer, waitOptions, pointer] },
  { name: 'waitid', args: [oneOf({ 0: 'P_ALL', 1: 'P_PID', 2: 'P_PGID' }), int, pointer, waitOptions, pointer] },
  { name: 'getpid', args: [] },
  { name: 'getppid', args: [] },
  { name: 'getpgrp', args: [] },
  { name: 'getpgid', args: [int] },
  { name: 'setpgid', args: [int, int] },
  { name: 'getsid', args: [int] },
  { name: 'setsid', args: [] },
];

export const memory = () => group('memory', memoryRows);
export const signals = () => group('signals', signalRows);
export const threads = () => group('threads', threadRows);
