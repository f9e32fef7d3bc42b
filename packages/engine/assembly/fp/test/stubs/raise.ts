/** Stands for assembly/system/raise.ts in the tests of this folder. */
export let raised: u32 = 0;
export function raise(vector: u32): i32 { raised = vector; return 1; }
export function raiseError(vector: u32, error: u32): i32 { raised = vector; return 1; }
