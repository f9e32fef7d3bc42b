/** What is left of a run: plain data, fit for JSON. */
import type { VcpuSnapshot } from './vcpu.js';

/** Why a run ended. */
export type StopReason =
  | 'power-off'
  | 'reset'
  | 'exit'
  | 'halted'
  | 'triple-fault'
  | 'unhandled-exit'
  | 'plugin-error'
  | 'backend-error'
  | 'max-instructions'
  | 'timeout'
  | 'aborted'
  | 'paused'
  | 'stopped';

/** Exit statuses of runs that end badly. Even numbers: isa-debug-exit gives odd ones. */
export const EXIT_STATUS = {
  'triple-fault': 70,
  'unhandled-exit': 72,
  'plugin-error': 74,
  'backend-error': 76,
  'max-instructions': 122,
  timeout: 124,
  aborted: 130,
} as const;

/** An exit, copied for a report. */
export interface ExitSummary {
  reason: number;
  name: string;
  title: string;
  qualification: string;
  instructionLength: number;
  gpa?: string;
  guestLinear?: string;
  io?: { port: string; size: number; direction: 'in' | 'out'; value: string };
  mmio?: { gpa: string; size: number; direction: 'read' | 'write'; value: string };
  interruption?: string;
  idtVectoring?: string;
}

/** What went wrong, when something did. */
export interface FailureReport {
  exit: ExitSummary;
  vcpu: VcpuSnapshot;
  /** Machine code at RIP: disassembled when somebody provides a disassembler, else bytes in hexadecimal. */
  code: string[];
  /** The plugin that threw, when one did. */
  plugin?: string;
  /** Who could take the exit. */
  suggestion?: string;
}

/** An error as a report has it. */
export interface ReportedError {
  code: string;
  message: string;
  details?: unknown;
  /** What caused it, one line each; what the message says already is left out. */
  causes?: string[];
  /** Where it was thrown: `FILE:LINE:COLUMN`, in the plugin rather than in the kernel that the plugin called. */
  at?: string;
  /** The calls that led there, innermost first, as `at FUNCTION (FILE:LINE:COLUMN)`. */
  stack?: string[];
}

export interface StopReport {
  reason: StopReason | (string & {});
  /** A sentence. */
  why: string;
  exitStatus: number;
  backend: string;
  time: 'virtual' | 'real';
  /** Instructions the guest retired, over all vCPUs and all runs of this VM. */
  guestInstructions: number;
  /** Guest time at the end, ns. */
  guestNanoseconds: number;
  /** Host time spent in `run`, s. */
  wallSeconds: number;
  /** Million guest instructions per second of host time that was not slept away. */
  mips: number;
  /** Seconds of wallSeconds that the host slept because the guest was halted. */
  idleSeconds: number;
  /** Number of exits by the name of their reason. */
  exits: Record<string, number>;
  totalExits: number;
  /** What the backend counts beside exits. */
  statistics?: Readonly<Record<string, number>>;
  failure?: FailureReport;
  error?: ReportedError;
}
