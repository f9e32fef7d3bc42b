/** The TLB check in front of an access. */
import { TLB_ENTRIES, TLB_ENTRY_BYTES } from '../layout.js';
import { ENTRY, LINEAR, TABLE } from './locals.js';
import { Op } from './opcodes.js';
import { Code } from './wasm.js';

/** In an entry: the tag for writes, and what is added to a linear address. */
const TAG_WRITE = 8;
const ADDEND = 24;
const PAGE_SHIFT = 12;

/** The code of checks, by table and by bytes * 2 + write: from the linear address to the host address, and above it 1 if it does not hold. */
const checks = new Map<number, (Uint8Array | undefined)[]>();

export function checkFor(tlb: number, bytes: number, write: boolean): Uint8Array {
  let known = checks.get(tlb);
  if (known === undefined) checks.set(tlb, (known = []));
  return (known[bytes * 2 + (write ? 1 : 0)] ??= makeCheck(tlb, bytes, write));
}
function makeCheck(tlb: number, bytes: number, write: boolean): Uint8Array {
  const code = new Code();
  code
    .tee(LINEAR)
    .op(Op.i32_wrap_i64)
    .get(LINEAR)
    .op(Op.i32_wrap_i64)
    .i32(PAGE_SHIFT - Math.log2(TLB_ENTRY_BYTES))
    .op(Op.i32_shr_u)
    .i32((TLB_ENTRIES - 1) * TLB_ENTRY_BYTES)
    .op(Op.i32_and);
  if (tlb === 0) code.get(TABLE).op(Op.i32_add);
  code
    .tee(ENTRY)
    .access(Op.i32_load, tlb + ADDEND)
    .op(Op.i32_add);
  code
    .get(ENTRY)
    .access(Op.i64_load, tlb + (write ? TAG_WRITE : 0))
    .get(LINEAR);
  if (bytes > 1) code.i64(bytes - 1).op(Op.i64_add);
  code
    .i64(-(1 << PAGE_SHIFT))
    .op(Op.i64_and)
    .op(Op.i64_ne);
  return code.written().slice();
}
