/**
 * How KVM_RUN is made to return: by a signal to the thread that runs vCPUs. A timer of the kernel sends one signal at a deadline; another
 * thread sends a second signal when it wants the vCPU to return.
 *
 * The signals are blocked in the thread except inside KVM_RUN (KVM_SET_SIGNAL_MASK): no signal handler ever runs, and a signal that
 * comes a moment before KVM_RUN is not lost but makes it return at once. So neither a deadline nor a kick can be missed, and vCPUs
 * need no thread of their own.
 */
import { Errno, errno, libc } from './libc.js';
import { kvmError } from './support.js';

/** Real-time signals that neither the C library (32, 33) nor Node uses. */
const TIMER_SIGNAL = 62,
  KICK_SIGNAL = 61;

const SYS_RT_SIGPROCMASK = 14,
  SYS_GETTID = 186,
  SYS_TIMER_CREATE = 222,
  SYS_TIMER_SETTIME = 223,
  SYS_TIMER_DELETE = 226,
  SYS_TGKILL = 234;
const SYS_RT_SIGTIMEDWAIT = 128;
const SIG_BLOCK = 0,
  CLOCK_MONOTONIC = 1,
  TIMER_ABSTIME = 1,
  SIGEV_THREAD_ID = 4;
const MASK_BYTES = 8;

/** Whom to kick: plain data that can be sent to another thread. */
export interface KickTarget {
  readonly process: number;
  readonly thread: number;
  readonly signal: number;
}

/**
 * Makes the thread that runs a vCPU leave it at once; from any thread of the same process. The vCPU's `run` returns with exit 52.
 * A thread that is not in a guest returns from the next one before its first instruction.
 */
export function kick(target: KickTarget): void {
  libc().syscallNumbers(SYS_TGKILL, target.process, target.thread, target.signal);
}

/** Timer and signals of a thread that runs vCPUs; one object for all VMs of the thread. */
export class RunThread {
  readonly target: KickTarget;
  /** The argument of KVM_SET_SIGNAL_MASK: a length, then the thread's mask without the two signals. */
  readonly signalMask: Uint8Array;
  readonly #timer: number;
  readonly #libc = libc();
  /** struct itimerspec: interval, then value, each seconds and nanoseconds. */
  readonly #time = new Uint32Array(8);
  readonly #timerOnly = maskOf(TIMER_SIGNAL);
  readonly #both = maskOf(TIMER_SIGNAL, KICK_SIGNAL);
  readonly #noWait = new Uint32Array(4);
  readonly #info = new Uint8Array(128);
  /** CLOCK_MONOTONIC at which the timer will send the signal, in ns; Infinity when it is not set. */
  armed = Infinity;
  #users = 0;

  constructor() {
    const { syscallNumbers, syscallPointers } = this.#libc;
    const thread = Number(syscallNumbers(SYS_GETTID, 0, 0, 0));
    this.target = { process: process.pid, thread, signal: KICK_SIGNAL };
    const before = new Uint8Array(MASK_BYTES);
    if (Number(syscallPointers(SYS_RT_SIGPROCMASK, SIG_BLOCK, this.#both, before, MASK_BYTES)) !== 0)
      throw kvmError('signals for its thread');
    this.signalMask = new Uint8Array(4 + MASK_BYTES);
    this.signalMask[0] = MASK_BYTES;
    for (let i = 0; i < MASK_BYTES; i++) this.signalMask[4 + i] = before[i] & ~this.#both[i];
    // struct sigevent: value, signal, how, thread
    const event = new Uint32Array(16),
      id = new Int32Array(1);
    event[2] = TIMER_SIGNAL;
    event[3] = SIGEV_THREAD_ID;
    event[4] = thread;
    if (Number(syscallPointers(SYS_TIMER_CREATE, CLOCK_MONOTONIC, event, id, 0)) !== 0)
      throw kvmError('a timer for its thread');
    this.#timer = id[0];
  }

  /** The thread's own, made when the first VM of the thread needs it. */
  static acquire(): RunThread {
    current ??= new RunThread();
    current.#users++;
    return current;
  }

  release(): void {
    if (--this.#users > 0) return;
    this.#libc.syscallNumbers(SYS_TIMER_DELETE, this.#timer, 0, 0);
    this.drain();
    if (current === this) current = undefined;
  }

  /**
   * Sets the timer to send its signal at `ns` of CLOCK_MONOTONIC; at once if that has passed, never for Infinity. `now`: a reading of that clock,
   * which may be a little old. Takes two system calls, so do not call it when `ns` equals {@link armed}.
   */
  arm(ns: number, now: number): void {
    // The previous deadline passed while no guest ran: its signal is pending, and would interrupt the next entry needlessly
    if (this.armed <= now) this.#take(this.#timerOnly);
    this.armed = ns;
    const time = this.#time;
    if (ns === Infinity) time[4] = time[6] = 0;
    else {
      const whole = Math.max(1, Math.ceil(ns)),
        seconds = Math.floor(whole / 1e9);
      time[4] = seconds;
      time[6] = whole - seconds * 1e9;
    }
    this.#libc.syscallTimer(SYS_TIMER_SETTIME, this.#timer, TIMER_ABSTIME, time, null);
  }

  /** After KVM_RUN was interrupted: takes the pending signals, so that the next KVM_RUN is not interrupted. The timer has to be armed again. */
  drain(): void {
    this.armed = NaN;
    while (this.#take(this.#both));
  }

  /** Takes one signal of a set. False: none waits. */
  #take(signals: Uint8Array): boolean {
    return (
      Number(this.#libc.syscallWait(SYS_RT_SIGTIMEDWAIT, signals, this.#info, this.#noWait, MASK_BYTES)) > 0 ||
      errno() === Errno.EINTR
    );
  }
}

/** sigset_t: signal n is bit n - 1. */
function maskOf(...signals: number[]): Uint8Array {
  const mask = new Uint8Array(MASK_BYTES);
  for (const signal of signals) mask[(signal - 1) >>> 3] |= 1 << ((signal - 1) & 7);
  return mask;
}

let current: RunThread | undefined;
