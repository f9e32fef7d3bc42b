/**
 * The processor's exports: what the TypeScript wrapper calls. Each is declared, with its meaning, in src/module.ts.
 */
import { resetBlocks } from "./code-pages";
import { initTlb } from "./tlb";

export { findBlock } from "./blocks";
export { invalidateCode } from "./code-pages";
export { enter, goOn } from "./enter";
export { settleFlags } from "./flag-kinds";
export { setSecondTier } from "./hot-blocks";
export { invalidateGuestPage, invalidateGuestPages } from "./guest-pages";
export { observe } from "./mmu";
export { modeChanged } from "./mode";
export {
  blockExecutions, codeIsCurrent, conditionHolds, confirmPages, coverCode, decodeRecord, finishRegion, finishStore, flagsFromLazy, flagsToLazy, hostPageOfCode, interpretRegion, loadSlow,
  runQuickArithmetic, runQuickCompare, runQuickFused, runQuickMove, runQuickString, runUnit, storeSlow,
} from "./second-tier";
export { dataBreakpoints, ioBreakpoints } from "./system/breakpoints";
export { supplyOnes } from "./supplied";
export { performTaskSwitch } from "./system/task-exit";
export { flushAll as flushTlb } from "./tlb";
export { applyWrites, checkEntry, processorChanged } from "./vmx/entry";
export { finishExit } from "./vmx/exit-work";
export { loadHostState } from "./vmx/host-state";
export { copyFields, guestFlags, sameFields, setGuestFlags, vmclear, vmcsReset, vmptrld, vmptrst } from "./vmx/fields";
export { invept, invvpid } from "./vmx/invalidation";
export { msrAcceptable, msrAddress } from "./vmx/msr-area";

/** Call once on fresh memory, before anything else. */
export function initialise(): void {
  initTlb();
  resetBlocks();
}
