/** The vocabulary of exits, which is the architecture's: see `@visorkit/x86`. */
export {
  EXIT_NAMES,
  EXIT_REASON_COUNT,
  ExitReason,
  exitReasonByName,
  exitReasonEntry,
  exitReasonName,
} from '@visorkit/x86';
export type { ExitName, ExitReasonEntry } from '@visorkit/x86';
