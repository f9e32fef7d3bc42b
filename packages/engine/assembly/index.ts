/**
 * The processor's exports: what the TypeScript wrapper calls.
 */
import { initTlb } from "./tlb";
import { resetBlocks } from "./blocks";

export { enter } from "./run";
export { invalidateCode } from "./blocks";
export { flushTlb } from "./tlb";
export { invalidateGuestPage, invalidateGuestPages } from "./guest-pages";
export { observe } from "./mmu";
export { modeChanged } from "./mode";
export { ioBreakpoints } from "./system/debug";
export { performTaskSwitch } from "./system/taskswitch";
export * from "./vmx/index";

/** Call once on fresh memory, before anything else. */
export function initialise(): void {
  initTlb();
  resetBlocks();
}
