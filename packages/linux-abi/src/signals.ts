/** Signals of Linux on x86-64 (signal(7)). */

const NAMES = [
  '',
  'HUP',
  'INT',
  'QUIT',
  'ILL',
  'TRAP',
  'ABRT',
  'BUS',
  'FPE',
  'KILL',
  'USR1',
  'SEGV',
  'USR2',
  'PIPE',
  'ALRM',
  'TERM',
  'STKFLT',
  'CHLD',
  'CONT',
  'STOP',
  'TSTP',
  'TTIN',
  'TTOU',
  'URG',
  'XCPU',
  'XFSZ',
  'VTALRM',
  'PROF',
  'WINCH',
  'IO',
  'PWR',
  'SYS',
];

const TEXTS: { readonly [signal: number]: string } = {
  1: 'Hangup',
  2: 'Interrupt',
  3: 'Quit',
  4: 'Illegal instruction',
  5: 'Trace/breakpoint trap',
  6: 'Aborted',
  7: 'Bus error',
  8: 'Floating point exception',
  9: 'Killed',
  10: 'User defined signal 1',
  11: 'Segmentation fault',
  12: 'User defined signal 2',
  13: 'Broken pipe',
  14: 'Alarm clock',
  15: 'Terminated',
};

export const Signal = {
  HUP: 1,
  INT: 2,
  QUIT: 3,
  KILL: 9,
  SEGV: 11,
  PIPE: 13,
  ALRM: 14,
  TERM: 15,
  CHLD: 17,
  CONT: 18,
  STOP: 19,
  TSTP: 20,
  TTIN: 21,
  XFSZ: 25,
  VTALRM: 26,
  PROF: 27,
  WINCH: 28,
} as const;

/** SI_*: `si_code` of signals that no exception raised (sigaction(2)). */
export const SignalCode = { USER: 0, QUEUE: -1, TIMER: -2, KERNEL: 0x80 } as const;

/** `SIGSEGV` for 11, `SIGRT_2` for 34. */
export function signalName(signal: number): string {
  if (signal >= 32) return `SIGRT_${signal - 32}`;
  return signal > 0 && signal < NAMES.length ? `SIG${NAMES[signal]}` : String(signal);
}

/** What a shell says of a program that ended by it. */
export function signalText(signal: number): string {
  return TEXTS[signal] ?? signalName(signal);
}
