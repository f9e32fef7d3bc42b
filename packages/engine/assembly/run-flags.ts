/**
 * Bits of RUN_FLAGS: what has happened since the VM entry that the run loop must know. VM entry clears them.
 */

/** A VM exit has been recorded: the run loop leaves. */
export const EXIT_RECORDED: u32 = 1;
/** RIP is final: the run loop must not set it back to the instruction. */
export const RIP_FINAL: u32 = 2;
/** The instruction with logged memory-mapped accesses has been started again. */
export const MMIO_STARTED: u32 = 4;
/** The last instruction ran by itself with something to check behind it ... */
export const STEPPED: u32 = 8;
/** ... and with the trap flag set before it. */
export const STEPPED_TF: u32 = 16;
export const DEADLINE_REACHED: u32 = 32;
/** The monitor trap flag has seen the start of an instruction. */
export const MTF_ARMED: u32 = 64;
/** An event was delivered instead of an instruction: counts as the monitor trap flag's instruction boundary, not as a stepped instruction. */
export const EVENT_DELIVERED: u32 = 128;
/** The instruction in flight is an IRET that has ended blocking by NMI (SDM 3C 28.2.3, bit 12 of several fields). */
export const NMI_UNBLOCKED: u32 = 256;
/** The instruction that the framework has given is being executed. */
export const SUPPLIED_STARTED: u32 = 1024;
/** The instruction in flight has asserted a bus lock, and the VMM wants to know. */
export const BUS_LOCKED: u32 = 2048;
/** ... and is done: an exit that comes before the one for the bus lock tells of it. */
export const BUS_LOCK_DONE: u32 = 4096;
/** PAUSE was executed at CPL 0. */
export const PAUSED: u32 = 512;
