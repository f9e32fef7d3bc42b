/** Policies and priorities: they are kept and told, and change nothing, since all threads of the sandbox take turns. */
import { formats, timespec } from '@visorkit/linux-abi';
import type { SystemCall, SystemCallDefinition } from '@visorkit/linux-abi';
import { Errno, raise } from '@visorkit/sandbox-fs';

const { int, oneOf, pointer, size } = formats;

const SCHED = { OTHER: 0, FIFO: 1, RR: 2, BATCH: 3, IDLE: 5, DEADLINE: 6 } as const;
const REAL_TIME = new Set<number>([SCHED.FIFO, SCHED.RR]);
const RESET_ON_FORK = 0x4000_0000;
const MOST_REAL_TIME = 99;
/** A turn of the guest kernel, in ns. */
const TURN = 5_000_000n;
const NICEST = 19,
  LEAST_NICE = -20;
/** PRIO_PROCESS, PRIO_PGRP, PRIO_USER. */
const MOST_WHICH = 2;

/** The process that an argument names: the caller's own, whatever thread or process it is. Throws EINVAL. */
const named = (call: SystemCall): SystemCall['process'] => (call.i32(0) < 0 ? raise('EINVAL') : call.process);
/** Throws EINVAL. */
const policyOf = (call: SystemCall, index: number): number => {
  const policy = call.i32(index) & ~RESET_ON_FORK;
  return Object.values<number>(SCHED).includes(policy) ? policy : raise('EINVAL');
};

function setPolicy(call: SystemCall, policy: number, parameter: number): number {
  const process = named(call),
    priority = call.memory.readI32(call.u64(parameter));
  const isRealTime = REAL_TIME.has(policy);
  if (isRealTime ? priority < 1 || priority > MOST_REAL_TIME : priority !== 0) return -Errno.EINVAL;
  if (isRealTime || policy === SCHED.DEADLINE) return -Errno.EPERM;
  process.policy = policy;
  return 0;
}

function setPriority(call: SystemCall): number {
  const nice = Math.max(LEAST_NICE, Math.min(NICEST, call.i32(2))),
    { process } = call;
  if (call.u32(0) > MOST_WHICH) return -Errno.EINVAL;
  if (nice < process.nice && process.identity.uid !== 0) return -Errno.EACCES;
  process.nice = nice;
  return 0;
}

function affinity(call: SystemCall): number {
  if (call.i32(0) < 0) return -Errno.ESRCH;
  if (call.u64(1) < 8 || call.u64(1) % 8 !== 0) return -Errno.EINVAL;
  call.memory.writeU64(call.u64(2), 1);
  return 8;
}

const policy = oneOf({
  0: 'SCHED_OTHER',
  1: 'SCHED_FIFO',
  2: 'SCHED_RR',
  3: 'SCHED_BATCH',
  5: 'SCHED_IDLE',
  6: 'SCHED_DEADLINE',
});
const limit = (call: SystemCall, ofRealTime: number): number => (REAL_TIME.has(policyOf(call, 0)) ? ofRealTime : 0);

export const schedulingRows: readonly SystemCallDefinition[] = [
  { name: 'sched_getaffinity', args: [int, size, pointer], serve: affinity },
  {
    name: 'sched_setaffinity',
    args: [int, size, pointer],
    serve: (call) => (call.i32(0) < 0 ? -Errno.ESRCH : (call.memory.readU8(call.u64(2)) & 1) === 0 ? -Errno.EINVAL : 0),
  },
  { name: 'sched_getscheduler', args: [int], serve: (call) => named(call).policy },
  {
    name: 'sched_setscheduler',
    args: [int, policy, pointer],
    serve: (call) => setPolicy(call, policyOf(call, 1), 2),
  },
  {
    name: 'sched_getparam',
    args: [int, pointer],
    serve(call) {
      named(call);
      call.memory.writeU32(call.u64(1), 0);
      return 0;
    },
  },
  { name: 'sched_setparam', args: [int, pointer], serve: (call) => setPolicy(call, named(call).policy, 1) },
  { name: 'sched_get_priority_max', args: [policy], serve: (call) => limit(call, MOST_REAL_TIME) },
  { name: 'sched_get_priority_min', args: [policy], serve: (call) => limit(call, 1) },
  {
    name: 'sched_rr_get_interval',
    args: [int, pointer],
    serve(call) {
      named(call);
      call.memory.write(call.u64(1), timespec(TURN));
      return 0;
    },
  },
  {
    name: 'getpriority',
    args: [int, int],
    serve: (call) => (call.u32(0) > MOST_WHICH ? -Errno.EINVAL : 20 - call.process.nice),
  },
  { name: 'setpriority', args: [int, int, int], serve: setPriority },
];
