/**
 * What an instruction handler tells the run loop. Guest faults travel as return values: wasm exceptions and traps cost
 * microseconds, a compare costs nothing.
 */

/** Done; go on with the next record. */
export const OK: i32 = 0;
/** An exception was raised (system/raise.ts). The instruction has changed nothing. */
export const FAULT: i32 = 1;
/** Done; RIP holds the next instruction's address (a jump, or state changed so that code must be looked up anew). */
export const JUMP: i32 = 2;
/** A VM exit was recorded and the guest state is final: leave run(). */
export const EXIT: i32 = 3;
/** Done; like OK, but look the next instruction up anew (mode, paging or flags changed). RIP is set by the run loop. */
export const END: i32 = 4;
/** One iteration of a repeated string instruction done, more to come: RIP stays; events are looked at. */
export const REPEAT: i32 = 5;
