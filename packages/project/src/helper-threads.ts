/** Where V8's helper threads run. */
import { readdirSync } from 'node:fs';
import { cLibrary } from './c-library.js';

/** Bytes of a cpu_set_t (sched_setaffinity(2)): a bit for each processor. */
const SET_BYTES = 128;

/**
 * Keeps the threads by which V8 compiles and collects garbage off the processor that the calling thread is on. There are four however few processors there are,
 * and one that is woken may put off a thread that is running: a guest's. That thread itself may still go anywhere.
 *
 * It takes all other threads that the process has by now, since nothing tells V8's from others in every Node: where workers run guests too, call it before they
 * are made. Resolves with whether it was done: on Linux, from the process's first thread, where the process may use more than one processor. It loads a native
 * module, some 15 ms.
 */
export async function spareThisProcessor(): Promise<boolean> {
  const { isMainThread } = process.getBuiltinModule('node:worker_threads'); // some milliseconds
  if (process.platform !== 'linux' || !isMainThread) return false;
  const library = await cLibrary();
  if (library === undefined) return false;
  const get = library.functionOf('int sched_getaffinity(int pid, size_t size, _Out_ uint8_t *set)'),
    set = library.functionOf('int sched_setaffinity(int pid, size_t size, const uint8_t *set)');
  const processors = new Uint8Array(SET_BYTES),
    here = library.functionOf('int sched_getcpu()')();
  if (get(0, SET_BYTES, processors) !== 0 || here < 0 || here >= SET_BYTES * 8) return false;
  processors[here >> 3] &= ~(1 << (here & 7));
  if (processors.every((byte) => byte === 0)) return false;
  // A thread that has ended meanwhile is refused, and not missed
  for (const thread of readdirSync('/proc/self/task'))
    if (Number(thread) !== process.pid) set(Number(thread), SET_BYTES, processors);
  return true;
}
