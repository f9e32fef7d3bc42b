/**
 * Page tables of Windows found in memory alone. The stub below 1 MiB by which other processors are started has the address of System's tables (x64); and
 * every set of tables has an entry that leads back to itself, by which the kernel reaches its own entries.
 */
import { Bound, searched } from '@visorkit/vmi';
import type { PageMode, PhysicalMemory } from '@visorkit/vmi';

/** Tables that may be the kernel's. */
export interface Root {
  readonly mode: PageMode;
  readonly root: bigint;
  /** An address in the kernel's image, where one came along. */
  readonly hint?: bigint;
  /** How they were found, for people. */
  readonly how: string;
}

const PAGE = 4096;
/** Tables of System lie low: this much is searched first, then up to the second figure. */
const SEARCHED = [64 << 20, 2 ** 32] as const;
/** Pages of each kind that are kept of one search: each costs a search for a kernel. */
const MOST_ROOTS = 16;
const BLOCK = 1 << 20;

/** Offsets in the stub (PROCESSOR_START_BLOCK): its first jump, the address where the kernel takes over, and CR3. */
const Stub = { JUMP: 0, KERNEL_ENTRY: 0x70, CR3: 0xa0 } as const;

/** What the stub of 64-bit Windows says. With 57 bits of linear addresses the same field leads to tables of 5 levels. */
export function* lowStub(memory: PhysicalMemory): Generator<Root, void, undefined> {
  for (let page = PAGE; page < 0x10_0000; page += PAGE) {
    // JMP rel32 of less than 256 bytes, then the two numbers that tell the stub's state
    if (!memory.pair(page + Stub.JUMP) || memory.high !== 1 || (memory.low & 0xffff_00ff) !== 0x0006_00e9) continue;
    const entry = memory.big(page + Stub.KERNEL_ENTRY),
      root = memory.big(page + Stub.CR3);
    if (entry === undefined || (entry & 0xffff_f800_0000_0003n) !== 0xffff_f800_0000_0000n) continue;
    if (root === undefined || root === 0n || (root & 0xffff_ff00_0000_0fffn) !== 0n) continue;
    for (const mode of ['4-level', '5-level'] as const)
      yield { mode, root, hint: entry, how: `the stub for processors at 0x${page.toString(16)}` };
  }
}

/** Pages that look like the outermost tables of a process, those of 64-bit Windows first, the lowest first. */
export function* selfReferences(memory: PhysicalMemory): Generator<Root, void, undefined> {
  let from = 0;
  for (const to of SEARCHED) {
    const found: Record<'4-level' | 'pae' | '32-bit', bigint[]> = { '4-level': [], pae: [], '32-bit': [] };
    const bound = (): Bound => new Bound(memory, 'pages that look like the tables of a process', MOST_ROOTS);
    const bounds = { '4-level': bound(), pae: bound(), '32-bit': bound() };
    const keep = (mode: keyof typeof found, address: number): void => {
      if (bounds[mode].take()) found[mode].push(BigInt(address));
    };
    for (const { address, words } of pages(memory, from, to)) {
      if (isPml4(address, words)) keep('4-level', address);
      if (isDirectory(address, words)) keep('32-bit', address);
      for (const at of paeRoots(memory, words)) keep('pae', address + at);
    }
    for (const mode of ['4-level', 'pae', '32-bit'] as const)
      for (const root of found[mode])
        yield { mode, root, how: `tables at 0x${root.toString(16)} that lead back to themselves` };
    from = to;
  }
}

/** Bits of an entry: present, writable, large. */
const KIND = 0x83;
const TABLE = 0x03;

/** Exactly one entry of the upper half leads back, and others lead elsewhere. */
function isPml4(address: number, words: Uint32Array): boolean {
  const low = address % 2 ** 32,
    high = Math.floor(address / 2 ** 32);
  let back = 0,
    others = 0;
  for (let index = 512; index < 1024; index += 2) {
    const entry = words[index];
    if ((entry & KIND) !== TABLE) continue;
    if ((entry & ~0xfff) >>> 0 === low && (words[index + 1] & 0xf_ffff) === high) back++;
    else others++;
  }
  return back === 1 && others > 0;
}

/** Tables without PAE are reached at 0xc0000000: entry 0x300 leads back. */
function isDirectory(address: number, words: Uint32Array): boolean {
  const entry = words[0x300];
  return (entry & KIND) === TABLE && (entry & ~0xfff) >>> 0 === address;
}

/** With PAE the four page directories are reached at 0xc0600000: the first entries of the fourth are the four again. Windows has many roots in a page. */
function* paeRoots(memory: PhysicalMemory, words: Uint32Array): Generator<number, void, undefined> {
  for (let at = 0; at < 1024; at += 8) {
    if ((words[at] & 0xfff) !== 1 || (words[at + 2] & 0xfff) !== 1) continue;
    if ((words[at + 4] & 0xfff) !== 1 || (words[at + 6] & 0xfff) !== 1) continue;
    const directories = [0, 2, 4, 6].map((part) => (words[at + part + 1] & 0xf_ffff) * 2 ** 32 + words[at + part] - 1);
    if (directories.every((directory, index) => leadsTo(memory, directories[3] + 8 * index, directory))) yield at * 4;
  }
}

function leadsTo(memory: PhysicalMemory, entry: number, table: number): boolean {
  return (
    memory.pair(entry) &&
    (memory.low & KIND) === TABLE &&
    (memory.high & 0xf_ffff) * 2 ** 32 + ((memory.low & ~0xfff) >>> 0) === table
  );
}

/** Every whole page that is there. The same array each time. */
function* pages(
  memory: PhysicalMemory,
  from: number,
  to: number,
): Generator<{ address: number; words: Uint32Array }, void, undefined> {
  const block = new Uint8Array(BLOCK);
  const ranges = memory.ranges
    .map(({ start, end }) => ({ start: Math.ceil(Math.max(start, from) / PAGE) * PAGE, end: Math.min(end, to) }))
    .filter(({ start, end }) => start + PAGE <= end);
  for (const { start, end } of searched(memory, "Windows' page tables", ranges)) {
    const there = memory.read(start, block.subarray(0, end - start));
    for (let page = 0; page + PAGE <= there; page += PAGE)
      yield { address: start + page, words: new Uint32Array(block.buffer, page, PAGE / 4) };
  }
}
