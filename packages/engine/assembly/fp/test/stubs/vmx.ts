/** Stands for assembly/vmx/controls.ts, exits.ts and intercepts.ts in the tests of this folder: nothing exits. */
export const SECONDARY_XSAVES: u32 = 1 << 20;
export function secondaryControl(bit: u32): bool { return true; }
export function xssIntercepted(requested: u64): bool { return false; }
export const TYPE_HARDWARE_EXCEPTION: u32 = 3;
export function exitException(type: u32, vector: u32, error: u32, hasError: bool, length: u32): i32 { return 3; }
export function vmexit(pc: usize, reason: u32, qualification: u64): i32 { return 3; }
export function vmexitInfo(info: u32): void {}
