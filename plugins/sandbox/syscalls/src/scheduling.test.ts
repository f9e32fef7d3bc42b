/** Policies and priorities are kept and told. */
import { beforeEach, expect, it } from 'vitest';
import { Errno, TestSandbox } from './testing.js';

let sandbox: TestSandbox;
beforeEach(() => {
  sandbox = new TestSandbox();
});
const BATCH = 3,
  RR = 2;
const parameters = (priority: number): Uint8Array => Uint8Array.of(priority, 0, 0, 0);

it('a process may make itself nicer, and only root the other way; a child is as nice', () => {
  const set = (nice: number): number => sandbox.call('setpriority', 0, 0, nice);
  const nice = (): number => 20 - sandbox.call('getpriority', 0, 0);
  expect([set(50), nice(), set(3), set(19)]).toEqual([0, 19, -Errno.EACCES, 0]);
  sandbox.fork(5);
  expect(nice()).toBe(19);
  sandbox = new TestSandbox({ uid: 0 });
  expect([set(-3), nice(), set(-99), nice()]).toEqual([0, -3, 0, -20]);
  expect([sandbox.call('setpriority', 3, 0, 0), sandbox.call('getpriority', 3, 0)]).toEqual([
    -Errno.EINVAL,
    -Errno.EINVAL,
  ]);
});

it('a policy without priorities is taken, one of real time is not', () => {
  expect([
    sandbox.call('sched_setscheduler', 0, BATCH, parameters(0)),
    sandbox.call('sched_getscheduler', 0),
    sandbox.call('sched_setscheduler', 0, BATCH, parameters(1)),
    sandbox.call('sched_setscheduler', 0, RR, parameters(1)),
    sandbox.call('sched_setscheduler', 0, RR, parameters(0)),
    sandbox.call('sched_setscheduler', 0, 4, parameters(0)),
    sandbox.call('sched_setparam', 0, parameters(0)),
  ]).toEqual([0, BATCH, -Errno.EINVAL, -Errno.EPERM, -Errno.EINVAL, -Errno.EINVAL, 0]);
  expect([sandbox.call('sched_get_priority_max', RR), sandbox.call('sched_get_priority_min', 4)]).toEqual([
    99,
    -Errno.EINVAL,
  ]);
});

it('negative numbers are nobody', () => {
  const at = sandbox.memory.room(16);
  expect([
    sandbox.call('sched_getscheduler', -1),
    sandbox.call('sched_getparam', -1, at),
    sandbox.call('sched_rr_get_interval', -1, at),
    sandbox.call('sched_getaffinity', -1, 8, at),
    sandbox.call('sched_rr_get_interval', 0, at),
  ]).toEqual([-Errno.EINVAL, -Errno.EINVAL, -Errno.EINVAL, -Errno.ESRCH, 0]);
  expect(sandbox.memory.readU64(at + 8)).toBe(5_000_000);
});
