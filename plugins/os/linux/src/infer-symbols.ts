/** Variables of a kernel that has symbols of its functions only (without CONFIG_KALLSYMS_ALL), told by the functions that they point to, or by a name that they have. */
import type { InferFrom } from './infer.js';
import type { ImageWords } from './infer-image.js';
import { single } from './infer-reader.js';
import type { Reader } from './infer-reader.js';
import type { InferredTypes } from './inferred-types.js';

/** How the table of 32-bit system calls begins (arch/x86/entry/syscalls/syscall_32.tbl), and what stands before the names of its functions. */
const FIRST_CALLS = ['restart_syscall', 'exit', 'fork', 'read', 'write', 'open', 'close'];
const PREFIXES = ['__ia32_sys_', 'sys_'];
/** So many of what is known of a table have to be there: some may be what an intruder has changed. */
const enough = (count: number): number => count - 2;
/** Functions of exceptions by their vector. */
const EXCEPTIONS: readonly (readonly [vector: number, name: string])[] = [
  [0, 'divide_error'],
  [3, 'int3'],
  [4, 'overflow'],
  [6, 'invalid_op'],
  [13, 'general_protection'],
  [14, 'page_fault'],
  [16, 'coprocessor_error'],
];
const PAGE = 4096n;
/** IORESOURCE_MEM, and what the outermost of its kind is called (kernel/resource.c). */
const IORESOURCE_MEM = 0x200;
const OUTERMOST = 'PCI mem';

/** Adds the symbols sys_call_table, idt_table and iomem_resource, and the type that the last one has. */
export function inferSymbols(
  from: InferFrom,
  words: ImageWords,
  reader: Reader,
  types: InferredTypes,
  symbols: Map<string, bigint>,
): void {
  const found = {
    sys_call_table: from.address('sys_call_table') ?? callTable(from, reader, words),
    idt_table: from.address('idt_table') ?? interruptTable(from, reader, words),
    iomem_resource: resources(reader, words, types),
  };
  for (const [name, address] of Object.entries(found)) if (address !== undefined) symbols.set(name, address);
}

/** The single table with enough of these functions as its first entries. */
function callTable(from: InferFrom, reader: Reader, words: ImageWords): bigint | undefined {
  if (reader.pointerSize === 8) return undefined; // those kernels have symbols of all
  const functions = FIRST_CALLS.map((name) =>
    PREFIXES.map((prefix) => from.address(prefix + name)).find((address) => address !== undefined),
  );
  const place = (index: number): bigint => BigInt(index * reader.pointerSize);
  const tables = new Set<bigint>();
  functions.forEach((address, index) => {
    if (address !== undefined) for (const at of words.equal(address)) tables.add(at - place(index));
  });
  const fits = (table: bigint): boolean => {
    const right = functions.filter((address, index) => address === reader.pointer(table + place(index)));
    return right.length >= enough(functions.length);
  };
  return single([...tables].filter(fits));
}

/** Gates for interrupts in the table that begins at a page (SDM 3A, 6.11). */
function interruptTable(from: InferFrom, reader: Reader, words: ImageWords): bigint | undefined {
  if (reader.pointerSize === 8) return undefined;
  const functions = EXCEPTIONS.map(([, name]) => from.address(`asm_exc_${name}`) ?? from.address(name));
  const target = (at: bigint): bigint => {
    const [low, high] = [reader.u32(at), reader.u32(at + 4n)];
    return BigInt(((low & 0xffff) | (high & 0xffff_0000)) >>> 0);
  };
  const fits = (table: bigint): boolean => {
    const right = EXCEPTIONS.filter(([vector], index) => target(table + BigInt(8 * vector)) === functions[index]);
    return right.length >= enough(EXCEPTIONS.length);
  };
  return single(words.pages(PAGE).filter(fits));
}

/** A resource from 0 to the last address, called as the outermost of memory is, whose first part says that it is in it. */
function resources(reader: Reader, words: ImageWords, types: InferredTypes): bigint | undefined {
  const p = reader.pointerSize;
  const found: { at: bigint; width: number }[] = [];
  for (const text of words.texts(OUTERMOST))
    for (const place of words.equal(text))
      for (const width of new Set([p, 8])) {
        // start and end; name, flags, desc; parent, sibling, child
        const at = place - BigInt(2 * width);
        const resource = reader.snapshot(at, 2 * width + 6 * p);
        if (resource === undefined) continue;
        const [start, end] =
          width === 8 ? [resource.u64(0), resource.u64(8)] : [resource.pointer(0), resource.pointer(4)];
        const [flags, parent, child] = [1, 3, 5].map((word) => resource.pointer(2 * width + word * p));
        const parentOfChild = reader.pointer(child + BigInt(2 * width + 3 * p));
        const isWhole = start === 0n && end > 0xffff_0000n && (end & (end + 1n)) === 0n;
        if (isWhole && flags === BigInt(IORESOURCE_MEM) && parent === 0n && parentOfChild === at)
          found.push({ at, width });
      }
  const one = single(found);
  if (one === undefined) return undefined;
  const address = one.width === 8 ? types.u64 : types.word;
  const behind = 2 * one.width;
  const pointer = types.pointer('resource');
  types.add('resource', [
    ['start', 0, address],
    ['end', one.width, address],
    ['name', behind, types.pointer()],
    ['flags', behind + p, types.word],
    ['desc', behind + 2 * p, types.word],
    ['parent', behind + 3 * p, pointer],
    ['sibling', behind + 4 * p, pointer],
    ['child', behind + 5 * p, pointer],
  ]);
  return one.at;
}
