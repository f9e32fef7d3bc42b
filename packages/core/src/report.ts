/** What is left of a run: plain data, fit for JSON. */
import type { Backend } from './backend.js';
import type { EndOutcome } from './exit.js';
import type { Clock } from './platform.js';
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
  /** Machine code at RIP, or what an error says it is about: disassembled when somebody provides a disassembler, else bytes in hexadecimal. */
  code: string[];
  /** The plugin that threw, when one did. */
  plugin?: string;
  /** Who could take the exit. */
  suggestion?: string;
}

/** Guest code that an error is about: its details have a list of such parts as `guestCode`. */
export interface GuestCode {
  /** Of the first instruction, hexadecimal with 0x. */
  readonly rip: string;
  readonly bits: 16 | 32 | 64;
  /** Hexadecimal. */
  readonly bytes: string;
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
  /** Million guest instructions per second of host time, without the time that the host slept. */
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

/** What a report is made of. Times in ms of host time. */
export interface ReportParts {
  readonly backend: Pick<Backend, 'name' | 'statistics'>;
  readonly clock: Clock | undefined;
  readonly instructions: number;
  readonly exits: Record<string, number>;
  readonly wallMs: number;
  readonly idleMs: number;
  /** Instructions of the runs in this process, without those that a restored VM retired before it was saved. */
  readonly retiredHere: number;
  /** Of all runs in this process, without the time that the host slept. */
  readonly busyMs: number;
}

export function makeReport(outcome: EndOutcome, parts: ReportParts): StopReport {
  const { backend, clock, instructions, exits, wallMs, idleMs, retiredHere, busyMs } = parts;
  const report: StopReport = {
    reason: outcome.reason,
    why: outcome.why,
    exitStatus: outcome.status,
    backend: backend.name,
    time: clock?.virtual ? 'virtual' : 'real',
    guestInstructions: instructions,
    guestNanoseconds: clock?.now() ?? 0,
    wallSeconds: round(wallMs / 1000),
    mips: round(retiredHere / Math.max(busyMs / 1000, 1e-9) / 1e6),
    idleSeconds: round(idleMs / 1000),
    exits,
    totalExits: Object.values(exits).reduce((sum, count) => sum + count, 0),
  };
  const statistics = clock === undefined ? undefined : backend.statistics?.();
  if (statistics !== undefined && Object.keys(statistics).length > 0) report.statistics = statistics;
  return report;
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}
