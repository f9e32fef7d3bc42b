/** Whether the kernel still is what it was built as: where its tables of entries point, and what its code begins with. */
import type { GuestSymbol } from '@visorkit/vmi';
import type { KernelBase } from './kernel.js';
import { modules } from './modules.js';

/** Entries that a table of system calls has at most. */
const MOST_CALLS = 1024;
/** Entries one behind the other that may have been changed. */
const MOST_CHANGED = 16;
const IDT_ENTRIES = 256;
/** A kind of gate that 32-bit kernels have for double faults, and the selector in it (SDM 3A, 6.14; GDT_ENTRY_DOUBLEFAULT_TSS). */
const TASK_GATE = 5;
const DOUBLE_FAULT_TSS = 0xf8;

export interface TableEntryCheck {
  readonly index: number;
  readonly address: bigint;
  /** The symbol that it points to, with an offset when it points behind it. */
  readonly symbol: string;
  /** `kernel`, the name of a module, or empty for neither. */
  readonly owner: string;
  /** What is wrong with it; empty when nothing is. */
  readonly finding: string;
}

/** Who an address of code belongs to. */
class Owners {
  readonly #text: readonly [bigint, bigint][];
  readonly #modules: readonly { name: string; base: bigint; size: number }[];

  constructor(private readonly kernel: KernelBase) {
    const range = (from: string, to: string): [bigint, bigint][] => {
      const [start, end] = [kernel.address(from), kernel.address(to)];
      return start === undefined || end === undefined ? [] : [[start, end]];
    };
    this.#text = [...range('_stext', '_etext'), ...range('_sinittext', '_einittext')];
    // Kernels without CONFIG_KALLSYMS_ALL do not say where their list is: what is a module's is then nobody's
    this.#modules = kernel.address('modules') === undefined ? [] : [...modules(kernel)];
  }

  of(address: bigint): string {
    if (this.#text.some(([start, end]) => address >= start && address < end)) return 'kernel';
    const found = this.#modules.find(({ base, size }) => address >= base && address < base + BigInt(size));
    return found?.name ?? '';
  }

  entry(index: number, address: bigint, isRight: (name: string) => boolean): TableEntryCheck {
    const owner = this.of(address);
    const near = owner === 'kernel' ? this.kernel.symbols.nearest(address) : undefined;
    const name = near?.symbol.name ?? '';
    const symbol = near === undefined || near.offset === 0n ? name : `${name}+0x${near.offset.toString(16)}`;
    let finding = '';
    if (owner !== 'kernel') finding = owner === '' ? 'outside the kernel and its modules' : `in the module ${owner}`;
    else if (near!.offset !== 0n) finding = 'not at the start of a function';
    else if (!isRight(name)) finding = 'no function for this table';
    return { index, address, symbol, owner, finding };
  }
}

/** Tables of system calls: their symbol, and how their functions are called. */
const CALL_TABLES = [
  { abi: '64', table: 'sys_call_table', right: /^(__(x64|ia32|x32_compat|do)_)?(compat_)?(sys_|ni_sys)/ },
  {
    abi: '32',
    table: 'ia32_sys_call_table',
    right: /^(__(x64|ia32|ia32_compat|do|do_compat)_)?(compat_)?(sys_|ni_sys)/,
  },
] as const;

export interface SystemCallCheck extends TableEntryCheck {
  /** `64` or `32`: bits of the programs that call by this table. */
  readonly abi: string;
}

/** Every entry of the tables of system calls; entries end where what follows is another symbol. Throws `LINUX_SYMBOLS` where neither table has a symbol. */
export function* systemCalls(kernel: KernelBase): Generator<SystemCallCheck, void, undefined> {
  if (!CALL_TABLES.some(({ table }) => kernel.address(table) !== undefined)) kernel.symbol(CALL_TABLES[0].table);
  const owners = new Owners(kernel);
  const starts = sortedAddresses(kernel);
  for (const { abi, table, right } of CALL_TABLES) {
    const at = kernel.address(table);
    if (at === undefined) continue;
    const bits = kernel.pointerSize === 4 ? '32' : abi;
    const bytes = Number(next(starts, at) - at);
    // Where no variable has a symbol, the table ends behind the last entry that belongs there
    const isKnown = kernel.symbols.address(table) !== undefined;
    const count = isKnown
      ? Math.min(MOST_CALLS, bytes / kernel.pointerSize)
      : countOf(kernel, at, (address) => owners.entry(0, address, (name) => right.test(name)).finding === '');
    for (let index = 0; index + 1 <= count; index++) {
      const address = kernel.pointerAt(at + BigInt(index * kernel.pointerSize));
      // Padding up to the next symbol
      if (address === 0n) break;
      yield { abi: bits, ...owners.entry(index, address, (name) => right.test(name)) };
    }
  }
}

/** Entries of a table of functions that ends where none of the next few belongs to it: some may be what an intruder has changed. */
function countOf(kernel: KernelBase, table: bigint, isRight: (address: bigint) => boolean): number {
  let count = 0;
  for (let index = 0; index < MOST_CALLS && index - count < MOST_CHANGED; index++)
    if (isRight(kernel.pointerAt(table + BigInt(index * kernel.pointerSize)))) count = index + 1;
  return count;
}

/** Gates of the table that `idt_table` has, those that are present (SDM 3A, 6.14.1). */
export function* interruptTable(kernel: KernelBase): Generator<TableEntryCheck, void, undefined> {
  const owners = new Owners(kernel);
  const at = kernel.symbol('idt_table');
  const wide = kernel.pointerSize === 8;
  for (let index = 0; index < IDT_ENTRIES; index++) {
    const gate = at + BigInt(index * (wide ? 16 : 8));
    const low = kernel.space.u32(gate),
      high = kernel.space.u32(gate + 4n);
    if ((high & 0x8000) === 0) continue;
    if (!wide && ((high >>> 8) & 0x1f) === TASK_GATE) {
      const isOwn = low >>> 16 === DOUBLE_FAULT_TSS;
      yield {
        index,
        address: 0n,
        symbol: 'task gate',
        owner: isOwn ? 'kernel' : '',
        finding: isOwn ? '' : `a task gate to 0x${(low >>> 16).toString(16)}`,
      };
      continue;
    }
    let address = BigInt((low & 0xffff) | (high & 0xffff_0000)) & 0xffff_ffffn;
    if (wide) address |= BigInt(kernel.space.u32(gate + 8n)) << 32n;
    const check = owners.entry(index, address, () => true);
    // Stubs for interrupts are one behind the other after a single symbol
    const stub = check.owner === 'kernel' && check.finding === 'not at the start of a function';
    yield stub ? { ...check, finding: '' } : check;
  }
}

/** Names of the places where sections begin and end, which are no functions. */
const MARKER = /_(start|end)$/;

export interface PatchedCode {
  readonly function: string;
  readonly address: bigint;
  /** What stands at its start, in hexadecimal. */
  readonly bytes: string;
  readonly target: bigint | undefined;
  readonly finding: string;
}

/** Functions of the kernel whose first instruction leads out of its text, or is a breakpoint: hooks. Ftrace's own calls do not count. */
export function* patchedCode(kernel: KernelBase): Generator<PatchedCode, void, undefined> {
  const [start, end] = [kernel.symbol('_stext'), kernel.symbol('_etext')];
  const text = new Uint8Array(Number(end - start));
  const there = kernel.space.read(start, text);
  const owners = new Owners(kernel);
  const view = new DataView(text.buffer);
  for (const { name, type, address } of kernel.symbols) {
    if (type.toLowerCase() !== 't' || address < start || address >= end) continue;
    let at = Number(address - start);
    // ENDBR64, and the call of ftrace (5 bytes, a NOP when off), come before the first instruction of the function itself
    if (at + 16 > there) continue;
    if (view.getUint32(at) === 0xf30f_1efa) at += 4;
    const here = address + BigInt(at - Number(address - start));
    const found = leads(view, at, here);
    if (found === undefined) continue;
    const { target } = found;
    if (target === undefined && MARKER.test(name)) continue;
    if (target !== undefined && (owners.of(target) === 'kernel' || isFtrace(kernel, target))) continue;
    const owner = target === undefined ? '' : owners.of(target);
    yield {
      function: name,
      address,
      bytes: Array.from(text.subarray(at, at + 12), (byte) => byte.toString(16).padStart(2, '0')).join(''),
      target,
      finding:
        target === undefined
          ? found.why
          : `${found.why} ${owner === '' ? 'out of the kernel' : `into the module ${owner}`}`,
    };
  }
}

/** Where the instruction at `at` leads: what hooks are made of (SDM 2A: JMP, CALL, INT3; MOV to a register and JMP; PUSH and RET). */
function leads(view: DataView, at: number, address: bigint): { target: bigint | undefined; why: string } | undefined {
  const relative = (length: number): bigint =>
    BigInt.asUintN(64, address + BigInt(length) + BigInt(view.getInt32(at + length - 4, true)));
  switch (view.getUint8(at)) {
    case 0xcc:
      // More of them are what fills the space between functions
      if (view.getUint8(at + 1) === 0xcc) return undefined;
      return { target: undefined, why: 'a breakpoint' };
    case 0xe9:
      return { target: relative(5), why: 'jumps' };
    case 0xe8:
      return { target: relative(5), why: 'calls' };
    case 0x48: {
      // MOV RAX, imm64; JMP RAX or PUSH RAX, RET
      const tail = view.getUint16(at + 10);
      if (view.getUint8(at + 1) === 0xb8 && (tail === 0xffe0 || tail === 0x50c3))
        return { target: view.getBigUint64(at + 2, true), why: 'jumps' };
      return undefined;
    }
    default:
      return undefined;
  }
}

/** Trampolines that ftrace makes for itself, and those of BPF, are among the modules' addresses. */
function isFtrace(kernel: KernelBase, target: bigint): boolean {
  const head = kernel.address('ftrace_ops_trampoline_list');
  if (head === undefined || !kernel.hasField('ftrace_ops', 'trampoline')) return false;
  for (const operations of kernel.list(head, 'ftrace_ops', 'list')) {
    const start = operations.big('trampoline');
    if (target >= start && target < start + operations.big('trampoline_size')) return true;
  }
  return false;
}

function sortedAddresses(kernel: KernelBase): BigUint64Array {
  return BigUint64Array.from([...kernel.symbols].map(({ address }: GuestSymbol) => address)).sort();
}

/** The first address behind `address` that a symbol has. */
function next(addresses: BigUint64Array, address: bigint): bigint {
  let low = 0,
    high = addresses.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (addresses[middle] <= address) low = middle + 1;
    else high = middle;
  }
  return addresses[low] ?? address;
}
