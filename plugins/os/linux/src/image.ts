/**
 * Where a kernel's image lies in physical memory, and through which tables it is mapped: by what VMCOREINFO says; where there is none by the kernel's table of symbols, wherever
 * that is; by symbols that were given and the kernel's banner; or by page tables and an address that a configuration gives.
 */
import { AddressSpace, Bound, searched } from '@visorkit/vmi';
import type { KnownOfGuest, PageMode, PhysicalMemory, PhysicalRange, SymbolTable } from '@visorkit/vmi';
import { Given, slideOf } from './given.js';
import { Kallsyms } from './kallsyms.js';
import { findKallsyms } from './kallsyms-place.js';
import type { FoundKallsyms } from './kallsyms-place.js';
import { VmCoreInfo, findVmCoreInfo } from './vmcoreinfo.js';

/** Where the kernel's image is mapped (Documentation/arch/x86/x86_64/mm.rst). */
const START_KERNEL_MAP = 0xffff_ffff_8000_0000n;
/** An image is of some tens of MiB; KERNEL_IMAGE_SIZE is 1 GiB at most, which is mostly for modules. */
export const MOST_IMAGE = 128 << 20;
/** Images of 64-bit kernels are loaded at multiples of this. */
const STEP = 2 << 20;
const PAGE = 4096;
/** Where a 32-bit kernel maps all low memory, its image too (CONFIG_PAGE_OFFSET): the usual split first. */
const PAGE_OFFSETS_32 = [0xc000_0000n, 0x8000_0000n, 0x4000_0000n, 0xb000_0000n, 0x7800_0000n];
/** Pages that are tried as the outermost table, and tables that are gone through to find where one has the image. */
const MOST_ROOTS = 4096;
const MOST_TABLES = 4096;
const BANNER = /^Linux version (\S+) \(/;
const BANNER_START = new TextEncoder().encode('Linux version ');
/** Names of the outermost table: of 64-bit kernels since 4.13 and before, of 32-bit ones. */
const TABLES = ['init_top_pgt', 'init_level4_pgt', 'swapper_pg_dir'];
const TEXT = ['_stext', '_text', 'startup_64', 'startup_32'];

export interface KernelImage {
  readonly release: string;
  readonly mode: PageMode;
  /** Physical address of its page tables. */
  readonly root: bigint;
  /** What has to be added to a linear address of its image for the physical one. */
  readonly shift: bigint;
  /** Linear address of code at the start of its image. */
  readonly text: bigint;
  /** Without anything in it where the memory has none. */
  readonly info: VmCoreInfo;
  /** Physical address of a text that stays as it is while the kernel is there, and bytes. */
  readonly mark: { readonly address: number; readonly length: number };
  /** Its table of symbols when it was found before anything else. */
  readonly table?: FoundKallsyms;
}

/** The kernel in a memory, undefined when none is found. */
export function findImage(memory: PhysicalMemory, known: KnownOfGuest): KernelImage | undefined {
  return (
    imageByInfo(memory, known) ??
    imageByTable(memory) ??
    imageByGiven(memory, known.symbols) ??
    imageByTask(memory, known)
  );
}

/** The physical memory that an image can be in that has its code at `text`. */
export function rangesOf(memory: PhysicalMemory, text: number): PhysicalRange[] {
  const first = Math.max(0, text - (text % PAGE) - STEP);
  return memory.ranges
    .map(({ start, end }) => ({ start: Math.max(start, first), end: Math.min(end, first + MOST_IMAGE) }))
    .filter(({ start, end }) => start < end);
}

const isPlaced = (
  memory: PhysicalMemory,
  { mode, root, shift }: Pick<KernelImage, 'mode' | 'root' | 'shift'>,
  ...linear: readonly bigint[]
): boolean => {
  const space = new AddressSpace(memory, mode, root);
  return linear.every((address) => space.translate(address) === Number(BigInt.asIntN(64, address + shift)));
};

/** What a dump has in a note comes first: memory need not be searched for it then. */
function* infosOf(memory: PhysicalMemory, { values }: KnownOfGuest): Generator<VmCoreInfo, void, undefined> {
  if (typeof values?.VMCOREINFO === 'string') yield new VmCoreInfo(values.VMCOREINFO);
  yield* findVmCoreInfo(memory);
}

function imageByInfo(memory: PhysicalMemory, known: KnownOfGuest): KernelImage | undefined {
  for (const info of infosOf(memory, known)) {
    const text = info.symbol('_stext'),
      names = info.symbol('init_uts_ns'),
      tables = info.symbol('swapper_pg_dir') ?? info.symbol('init_top_pgt');
    if (text === undefined || names === undefined || tables === undefined) continue;
    for (const { mode, shift } of mappingsOf(info, tables)) {
      // A copy that a kernel before this one has left leads nowhere, or elsewhere
      const root = tables + shift;
      if (!isPlaced(memory, { mode, root, shift }, text)) continue;
      // Release and version in init_uts_ns, not its names of hosts, which change
      const mark = { address: Number(BigInt.asIntN(64, names + shift)) + 144, length: 112 };
      return { release: info.release, mode, root, shift, text, info, mark };
    }
  }
  return undefined;
}

function mappingsOf(info: VmCoreInfo, tables: bigint): { mode: PageMode; shift: bigint }[] {
  if (tables > 0xffff_ffffn) {
    const shift = (info.number('phys_base') ?? 0n) - START_KERNEL_MAP;
    const levels = info.number('pgtable_l5_enabled');
    const modes: PageMode[] = levels === 1n ? ['5-level'] : levels === undefined ? ['4-level', '5-level'] : ['4-level'];
    return modes.map((mode) => ({ mode, shift }));
  }
  const mode = info.value('CONFIG_X86_PAE') === 'y' ? 'pae' : '32-bit';
  return PAGE_OFFSETS_32.filter((offset) => offset <= tables).map((offset) => ({ mode, shift: -offset }));
}

/** By the kernel's table of symbols, in whose image the page tables are too. */
function imageByTable(memory: PhysicalMemory): KernelImage | undefined {
  const physical = new AddressSpace(memory, 'none');
  for (const table of findKallsyms(memory, physical)) {
    const symbols = new Kallsyms(physical, table.place);
    symbols.find([...TEXT, ...TABLES, 'linux_banner']);
    const text = first(symbols, TEXT),
      root = first(symbols, TABLES);
    if (text === undefined) continue;
    const at = Number(table.place.names);
    const image = table.linear
      ? byShifts(memory, table, text, root)
      : root === undefined
        ? undefined
        : byTables(memory, Number(text), Number(root));
    if (image === undefined || Math.abs(at - Number(image.text + image.shift)) > MOST_IMAGE) continue;
    const banner = symbols.address('linux_banner');
    const place =
      banner === undefined ? undefined : Number(BigInt.asIntN(64, table.linear ? banner + image.shift : banner));
    const found = withBanner(memory, image, place);
    if (found !== undefined) return { ...found, table };
  }
  return undefined;
}

type Mapping = Pick<KernelImage, 'mode' | 'root' | 'shift' | 'text'>;

/** A table that lies at `table` is in an image that begins not far before: every place where that can be is tried. */
function byShifts(
  memory: PhysicalMemory,
  { place, pointerSize }: FoundKallsyms,
  text: bigint,
  root: bigint | undefined,
): Mapping | undefined {
  const wide = pointerSize === 8;
  const names = place.names;
  const last = names - (names % BigInt(STEP));
  const shifts = wide
    ? Array.from(
        { length: MOST_IMAGE / STEP },
        (_unused, step) => last - BigInt(step * STEP) - (text & ~(BigInt(STEP) - 1n)),
      )
    : PAGE_OFFSETS_32.map((offset) => -offset);
  const modes: PageMode[] = wide ? ['4-level', '5-level'] : ['pae', '32-bit'];
  const bound = new Bound(memory, 'pages that look like the page tables of a kernel', MOST_ROOTS);
  for (const shift of shifts) {
    if (text + shift < 0n || text + shift > names) continue;
    const roots = root === undefined ? rootsNear(memory, Number(text + shift), text, wide) : [root + shift];
    let best: Mapping | undefined,
      most = -Infinity;
    for (const start of roots) {
      if (!bound.take()) break;
      for (const mode of modes) {
        if (!isPlaced(memory, { mode, root: start, shift }, text, names - shift)) continue;
        // There are tables for the start of the kernel too, which map little
        const used = entriesOf(memory, mode, Number(start), text);
        if (used > most) [best, most] = [{ mode, root: start, shift, text }, used];
      }
    }
    if (best !== undefined) return best;
  }
  return undefined;
}

/** How much a table maps for the kernel; less than nothing where it maps anything else, as those for the kernel's start do. */
function entriesOf(memory: PhysicalMemory, mode: PageMode, root: number, text: bigint): number {
  const size = mode === '32-bit' ? 4 : 8;
  const present = (table: number, from: number, to: number): number => {
    let count = 0;
    for (let index = from; index < to; index++) count += memory.u32(table + index * size) & 1;
    return count;
  };
  const [low, high] =
    mode === '32-bit'
      ? [present(root, 0, Number(text >> 22n)), present(root, Number(text >> 22n), 1024)]
      : mode === 'pae'
        ? [present(root, 0, topOf(text)), present((memory.u32(root + topOf(text) * 8) & ~0xfff) >>> 0, 0, 512)]
        : [present(root, 0, 256), present(root, 256, 512)];
  return low === 0 ? high : -low;
}

/** The entry of PAE's outermost table for an address. */
const topOf = (linear: bigint): number => Number(linear >> 30n) & 3;

/** Pages of the image that could be an outermost table: whose entry for the kernel's code is that of a table, and for 32 bits leads to it. */
function* rootsNear(memory: PhysicalMemory, physical: number, text: bigint, wide: boolean): Generator<bigint> {
  const leads = (table: number, shifts: readonly number[], size: 4 | 8): boolean => {
    let at = table;
    for (const shift of shifts) {
      const entry = memory.u32(at + (Number(text >> BigInt(shift)) & (PAGE / size - 1)) * size);
      if (entry < 0 || (entry & 1) === 0) return false;
      if (shift === 12 || (entry & 0x80) !== 0) return entry >>> shift === physical >>> shift;
      at = (entry & ~0xfff) >>> 0;
    }
    return false;
  };
  const could = (page: number): boolean => {
    if (wide) return (memory.u32(page + 511 * 8) & 0x81) === 1;
    const top = memory.u32(page + topOf(text) * 8);
    return leads(page, [22, 12], 4) || ((top & 0x1ff) === 1 && leads((top & ~0xfff) >>> 0, [21, 12], 8));
  };
  for (const { start, end } of rangesOf(memory, physical))
    for (let page = Math.ceil(start / PAGE) * PAGE; page < end; page += PAGE) if (could(page)) yield BigInt(page);
}

/** By physical addresses of the code and of the tables: where the tables have the code tells the rest. */
function byTables(memory: PhysicalMemory, text: number, root: number): Mapping | undefined {
  for (const mode of ['4-level', '5-level'] as const) {
    const space = new AddressSpace(memory, mode, root);
    for (const { linear, physical, length } of space.ranges(
      START_KERNEL_MAP,
      START_KERNEL_MAP + 0x4000_0000n,
      MOST_TABLES,
    )) {
      if (text < physical || text >= physical + length) continue;
      const shift = BigInt(physical) - linear;
      return { mode, root: BigInt(root), shift, text: BigInt(text) - shift };
    }
  }
  return undefined;
}

/** By symbols as they were linked, and a banner in memory: how far they are apart is how far everything is. */
function imageByGiven(memory: PhysicalMemory, symbols: SymbolTable | undefined): KernelImage | undefined {
  const banner = symbols?.address('linux_banner'),
    text = symbols === undefined ? undefined : first(symbols, TEXT),
    root = symbols === undefined ? undefined : first(symbols, TABLES);
  if (banner === undefined || text === undefined || root === undefined) return undefined;
  for (const { address, release } of banners(memory, memory.ranges)) {
    const apart = BigInt(address) - banner;
    if (text + apart < 0n || root + apart < 0n) continue;
    const mark = { address, length: 112 };
    const rest = { release, info: new VmCoreInfo(''), mark };
    if (text > 0xffff_ffffn) {
      const image = byTables(memory, Number(text + apart), Number(root + apart));
      if (image !== undefined) return { ...image, ...rest };
      continue;
    }
    // 32-bit kernels are moved by as much in linear addresses as in physical ones
    for (const offset of PAGE_OFFSETS_32)
      for (const mode of ['pae', '32-bit'] as const) {
        const mapping = { mode, root: root + apart, shift: -offset, text: text + apart + offset };
        if (isPlaced(memory, mapping, mapping.text)) return { ...mapping, ...rest };
      }
  }
  return undefined;
}

/** By page tables that were given, and init_task in what they map. */
function imageByTask(memory: PhysicalMemory, known: KnownOfGuest): KernelImage | undefined {
  const given = new Given(known);
  if (given.root === undefined) return undefined;
  for (const mode of given.modes) {
    const space = new AddressSpace(memory, mode, given.root);
    const wide = mode === '4-level' || mode === '5-level';
    const start = wide ? firstOfImage(space) : undefined;
    const task = given.initTask(space, wide ? 8 : 4, [start && slideOf(start, 8)]);
    const physical = task === undefined ? undefined : space.translate(task);
    if (task === undefined || physical === undefined) continue;
    // Without the start of the image it is what lies around init_task
    const text = linkedBefore(known.symbols, task) ?? start ?? task - BigInt(Math.min(physical, MOST_IMAGE / 2));
    const image = withBanner(
      memory,
      { mode, root: BigInt(space.root), shift: BigInt(physical) - task, text },
      undefined,
    );
    if (image !== undefined) return image;
  }
  return undefined;
}

function firstOfImage(space: AddressSpace): bigint | undefined {
  for (const { linear } of space.ranges(START_KERNEL_MAP, START_KERNEL_MAP + 0x4000_0000n, MOST_TABLES)) return linear;
  return undefined;
}

/** Where the code begins by given symbols, when init_task is at an address. */
function linkedBefore(symbols: SymbolTable | undefined, task: bigint): bigint | undefined {
  const text = symbols === undefined ? undefined : first(symbols, TEXT),
    linked = symbols?.address('init_task');
  return text === undefined || linked === undefined ? undefined : text + task - linked;
}

/** The image with what its banner says, which is at `place` if that is known. */
function withBanner(memory: PhysicalMemory, image: Mapping, place: number | undefined): KernelImage | undefined {
  const near = rangesOf(memory, Number(image.text + image.shift));
  const ranges = place === undefined ? near : [{ start: place, end: place + BANNER_START.length }];
  for (const { address, release } of banners(memory, ranges))
    return { ...image, release, info: new VmCoreInfo(''), mark: { address, length: 112 } };
  return undefined;
}

/** Banners that are found at most: they are text that anybody may have. */
const MOST_BANNERS = 1000;
const BLOCK = 1 << 20;

/** Texts that begin as the kernel's own does, and the version that each says. */
export function* banners(
  memory: PhysicalMemory,
  ranges: readonly PhysicalRange[],
): Generator<{ address: number; release: string }, void, undefined> {
  const block = new Uint8Array(BLOCK + 128);
  const bound = new Bound(memory, 'banners of Linux', MOST_BANNERS);
  for (const { start, end } of searched(memory, "Linux's banner", ranges)) {
    const bytes = block.subarray(0, memory.read(start, block));
    for (let place = bytes.indexOf(BANNER_START[0]); place >= 0 && place < end - start; ) {
      const text = bytes[place + 1] === 0x69 ? String.fromCharCode(...bytes.subarray(place, place + 120)) : '';
      const release = BANNER.exec(text)?.[1];
      if (release !== undefined) {
        if (!bound.take()) return;
        yield { address: start + place, release };
      }
      place = bytes.indexOf(BANNER_START[0], place + 1);
    }
  }
}

function first(symbols: SymbolTable, names: readonly string[]): bigint | undefined {
  for (const name of names) {
    const address = symbols.address(name);
    if (address !== undefined) return address;
  }
  return undefined;
}
