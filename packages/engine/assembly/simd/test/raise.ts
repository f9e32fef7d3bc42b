import { EXC_ERROR, EXC_VECTOR } from "../../src/layout";
/** Stand-in for system/raise.ts: notes the vector. */
export function raise(vector: u32): i32 { store<u32>(EXC_VECTOR, vector); return 1; }
export function raiseError(vector: u32, error: u32): i32 { store<u32>(EXC_VECTOR, vector); store<u32>(EXC_ERROR, error); return 1; }
