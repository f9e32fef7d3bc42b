/** How code is translated, when, and what has been. */
import type { ProcessorExports } from '../module.js';

export interface TranslatorOptions {
  /** Executions after which a block is translated, at least 1; 5000 by default. */
  threshold?: number;
  /** Regions in a module, 1 to 64, if they become hot soon enough one after another; 32 by default. */
  batch?: number;
  /** Regions at most, 8192 by default; with more the older half of them goes: a guest may make new code for ever. */
  most?: number;
  /**
   * Interprets in the place of each region too, after it, and stops by VERIFY_DIFFERENCE at the first difference. For those who look for a fault of the
   * translator: it is some fifty times slower. The processor must be one that tells of its stores (processorModule).
   */
  verify?: boolean;
}

/** What the translator has done. */
export interface TranslatorFigures {
  regions: number;
  /** Those of them that an earlier run had made. */
  kept: number;
  /** Blocks that could not be translated. */
  refused: number;
  /** Regions that were given up so that there are not too many. */
  evicted: number;
  /** Modules that the host did not compile. */
  failed: number;
  /** Guest instructions in regions. */
  instructions: number;
  modules: number;
  /** Of WebAssembly. */
  bytes: number;
  /** Time in milliseconds for finding and writing regions, and for compiling their modules. */
  emitting: number;
  compiling: number;
}

/** Formed later, a region knows more of what has run, and there are fewer of them. */
const DEFAULT_THRESHOLD = 5000;
const DEFAULT_BATCH = 32;
/** Executions of blocks that wait which cost as much as making another module does. */
const MOST_PATIENCE = 20_000;

/** Executions after which a block is translated with these options. */
export const thresholdOf = ({ threshold = DEFAULT_THRESHOLD }: TranslatorOptions): number => threshold;

/** From now on the processor counts executions, and asks for a {@link Translator} with these options when code has become hot. */
export function countExecutions(exports: ProcessorExports, options: TranslatorOptions): void {
  const { batch = DEFAULT_BATCH } = options,
    threshold = thresholdOf(options);
  exports.setSecondTier(threshold, batch, Math.min(MOST_PATIENCE, threshold * batch));
}
