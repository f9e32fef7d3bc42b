/**
 * Who has called the kernel's code that a vCPU runs.
 *
 * Kernels for x86-64 keep no frame pointers; since 4.14 they have tables that say for each place in their code where the caller's stack pointer and frame
 * pointer are (ORC; Documentation/arch/x86/orc-unwinder.rst, arch/x86/kernel/unwind_orc.c). Code that the tables do not know is taken to keep frame pointers, as the
 * kernel itself does.
 */
import { isVisorkitError } from '@visorkit/core';
import type { CodeFrame } from '@visorkit/vmi';
import type { KernelBase } from './kernel.js';

/** More callers than this have no stack that holds them: it is a loop. */
const MOST_CALLERS = 128;
/** Bytes of struct orc_entry. */
const ENTRY = 6;
/** Where kernel addresses begin. */
const KERNEL = 0xffff_8000_0000_0000n;

/** Registers that entries name (ORC_REG_). */
const UNDEFINED = 0,
  PREVIOUS_SP = 1,
  BP = 4,
  SP = 5,
  BP_INDIRECT = 8,
  SP_INDIRECT = 9;

/** Fields of struct pt_regs, and of the part of it that the processor pushes. */
const REGS = { bp: 32n, ip: 128n, cs: 136n, sp: 152n };
const PUSHED = { ip: 0n, cs: 8n, sp: 24n };

/** Sorted addresses of code, each relative to its own place, and the entry of each. */
interface OrcTable {
  readonly addresses: bigint;
  readonly entries: bigint;
  readonly count: number;
}

interface OrcEntry {
  readonly spOffset: bigint;
  readonly bpOffset: bigint;
  readonly spRegister: number;
  readonly bpRegister: number;
  readonly kind: 'call' | 'registers' | 'pushed' | 'end';
}

/** What code without an entry is taken for: PUSH RBP; MOV RBP, RSP at its start. */
const FRAME_POINTER: OrcEntry = {
  spOffset: 16n,
  bpOffset: -16n,
  spRegister: BP,
  bpRegister: PREVIOUS_SP,
  kind: 'call',
};

/** Return addresses, innermost first, up to the bottom of the stack, to a program's code, or to what cannot be told. */
export function* callers(kernel: KernelBase, { rip, rsp, rbp }: CodeFrame): Generator<bigint, void, undefined> {
  if (kernel.pointerSize === 4) return;
  let ip = rip,
    sp = rsp,
    bp = rbp,
    // The address behind a call may belong to the next function; that of an interrupted instruction cannot
    exact = true;
  try {
    for (let count = 0; count < MOST_CALLERS; count++) {
      const entry = entryOf(kernel, exact ? ip : ip - 1n) ?? FRAME_POINTER;
      const before = entry.kind === 'end' ? undefined : stackBefore(kernel, entry, sp, bp);
      if (before === undefined) return;
      const { u64 } = reader(kernel);
      let nextBp = bp;
      if (entry.bpRegister === PREVIOUS_SP) nextBp = u64(before + entry.bpOffset);
      else if (entry.bpRegister === BP) nextBp = u64(bp + entry.bpOffset);
      if (entry.kind === 'call') {
        ip = u64(before - 8n);
        sp = before;
        exact = false;
      } else {
        const frame = entry.kind === 'registers' ? REGS : PUSHED;
        if ((u64(before + frame.cs) & 3n) !== 0n) return; // a program was interrupted
        ip = u64(before + frame.ip);
        sp = u64(before + frame.sp);
        if (entry.kind === 'registers' && entry.bpRegister === UNDEFINED) nextBp = u64(before + REGS.bp);
        exact = true;
      }
      bp = nextBp;
      if (ip < KERNEL) return;
      yield ip;
    }
  } catch (error) {
    if (!isVisorkitError(error)) throw error; // the stack leads to where no memory is
  }
}

const reader = ({ space }: KernelBase) => ({ u64: (at: bigint): bigint => space.u64(BigInt.asUintN(64, at)) });

/** The stack pointer of the caller; undefined where it is in a register that only the innermost frame has. */
function stackBefore(kernel: KernelBase, entry: OrcEntry, sp: bigint, bp: bigint): bigint | undefined {
  const { u64 } = reader(kernel);
  switch (entry.spRegister) {
    case SP:
      return BigInt.asUintN(64, sp + entry.spOffset);
    case BP:
      return BigInt.asUintN(64, bp + entry.spOffset);
    case SP_INDIRECT:
      return BigInt.asUintN(64, u64(sp) + entry.spOffset);
    case BP_INDIRECT:
      return u64(bp + entry.spOffset);
    default:
      return undefined;
  }
}

/** The entry of a place in the code of the kernel or of a module. */
function entryOf(kernel: KernelBase, address: bigint): OrcEntry | undefined {
  for (const table of tables(kernel)) {
    const at = indexOf(kernel, table, address);
    if (at !== undefined) return readEntry(kernel, table.entries + BigInt(at * ENTRY));
  }
  return undefined;
}

/** The tables of the kernel and of its modules; modules come and go, so those are read anew. */
function* tables(kernel: KernelBase): Generator<OrcTable, void, undefined> {
  const start = kernel.address('__start_orc_unwind_ip'),
    stop = kernel.address('__stop_orc_unwind_ip'),
    entries = kernel.address('__start_orc_unwind');
  if (start !== undefined && stop !== undefined && entries !== undefined)
    yield { addresses: start, entries, count: Number(stop - start) / 4 };
  if (!kernel.hasField('module', 'arch.orc_unwind_ip')) return;
  for (const module of kernel.list(kernel.symbol('modules'), 'module', 'list')) {
    const count = module.number('arch.num_orcs');
    if (count > 0) yield { addresses: module.big('arch.orc_unwind_ip'), entries: module.big('arch.orc_unwind'), count };
  }
}

/** The last address of the table that is not behind `address`; undefined where the table is of other code. */
function indexOf({ space }: KernelBase, { addresses, count }: OrcTable, address: bigint): number | undefined {
  const at = (index: number): bigint => {
    const place = addresses + BigInt(index * 4);
    return BigInt.asUintN(64, place + BigInt(space.u32(place) | 0));
  };
  if (count === 0 || address < at(0)) return undefined;
  let low = 0,
    high = count;
  while (low + 1 < high) {
    const middle = (low + high) >>> 1;
    if (at(middle) <= address) low = middle;
    else high = middle;
  }
  // The last entry of a table ends its code
  return low === count - 1 ? undefined : low;
}

/**
 * An entry, whose last 16 bits changed in 6.4 (fb799447ae29): before, two bits of type and one for the end of the stack; since, three bits of type, of
 * which 0 and 1 end it.
 */
function readEntry(kernel: KernelBase, at: bigint): OrcEntry | undefined {
  const bytes = kernel.space.bytes(at, ENTRY);
  const view = new DataView(bytes.buffer, bytes.byteOffset, ENTRY);
  const flags = view.getUint16(4, true);
  const spRegister = flags & 15;
  const isNew = newTypes(kernel);
  const type = isNew ? ((flags >>> 8) & 7) - 2 : (flags >>> 8) & 3;
  const ends = isNew ? type < 0 : spRegister === UNDEFINED;
  return {
    spOffset: BigInt(view.getInt16(0, true)),
    bpOffset: BigInt(view.getInt16(2, true)),
    spRegister,
    bpRegister: (flags >>> 4) & 15,
    kind: ends ? 'end' : type === 1 ? 'registers' : type === 2 ? 'pushed' : 'call',
  };
}

function newTypes(kernel: KernelBase): boolean {
  if (kernel.hasField('orc_entry', 'type')) return kernel.field('orc_entry', 'type').bits?.size === 3;
  const [major, minor] = kernel.release.split('.').map(Number);
  return major > 6 || (major === 6 && minor >= 4);
}
