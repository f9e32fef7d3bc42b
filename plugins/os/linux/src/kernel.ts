/**
 * A Linux kernel for x86 in memory, found and read by what it says of itself: VMCOREINFO, its table of symbols, its BTF. This file is the ground that the
 * others stand on: where the kernel is, its symbols and types, its lists.
 */
import { fail } from '@visorkit/core';
import { AddressSpace, Btf, StructView, requireField } from '@visorkit/vmi';
import type { Field, KnownOfGuest, PageMode, PhysicalMemory, SymbolTable, Type, TypeTable } from '@visorkit/vmi';
import { Kallsyms } from './kallsyms.js';
import { findVmCoreInfo } from './vmcoreinfo.js';
import type { VmCoreInfo } from './vmcoreinfo.js';

/** Where the kernel's image is mapped (Documentation/arch/x86/x86_64/mm.rst). */
const START_KERNEL_MAP = 0xffff_ffff_8000_0000n;
/** Where a 32-bit kernel maps all low memory, its image too (CONFIG_PAGE_OFFSET): the usual split first. */
const PAGE_OFFSETS_32 = [0xc000_0000n, 0x8000_0000n, 0x4000_0000n, 0xb000_0000n, 0x7800_0000n];
/** Elements that a list, and nodes that a tree, has at most: a hostile one has no end. */
export const MOST_ELEMENTS = 1 << 20;

/** Symbols that are needed to begin with, found in one pass. */
const FIRST_SYMBOLS = ['init_task', '__start_BTF', '__stop_BTF', 'linux_banner', '_stext', '_etext'];

export class KernelBase {
  readonly release: string;
  /** The kernel's own page tables. */
  readonly space: AddressSpace;
  readonly pointerSize: 4 | 8;
  readonly #known: KnownOfGuest;
  #symbols: SymbolTable | undefined;
  #types: TypeTable | undefined;
  readonly #structs = new Map<string, Type>();
  readonly #banner: { readonly address: number; readonly bytes: Uint8Array };

  private constructor(
    readonly memory: PhysicalMemory,
    readonly info: VmCoreInfo,
    { mode, root, imageShift }: Image,
    known: KnownOfGuest,
  ) {
    this.release = info.release;
    this.space = new AddressSpace(memory, mode, root);
    this.pointerSize = mode === '4-level' || mode === '5-level' ? 8 : 4;
    this.#known = known;
    this.#banner = readMark(memory, Number(BigInt.asIntN(64, info.symbol('init_uts_ns')! + imageShift)));
  }

  /** The kernel in a memory, undefined when none is found. */
  static find(memory: PhysicalMemory, known: KnownOfGuest = {}): KernelBase | undefined {
    for (const info of findVmCoreInfo(memory)) {
      const text = info.symbol('_stext');
      if (text === undefined || info.symbol('init_uts_ns') === undefined) continue;
      for (const image of imagesOf(info)) {
        const space = new AddressSpace(memory, image.mode, image.root);
        // A copy that a kernel before this one has left leads nowhere, or elsewhere
        if (space.translate(text) === Number(text + image.imageShift))
          return new KernelBase(memory, info, image, known);
      }
    }
    return undefined;
  }

  /** Whether the names and versions that the kernel keeps (init_uts_ns) are where they were. */
  isThere(): boolean {
    const { address, bytes } = this.#banner;
    return readMark(this.memory, address).bytes.every((byte, index) => byte === bytes[index]);
  }

  /** All symbols of the kernel and of what is built into it. Throws `LINUX_SYMBOLS`. */
  get symbols(): SymbolTable {
    if (this.#symbols !== undefined) return this.#symbols;
    if (this.info.symbol('kallsyms_names') === undefined && this.#known.symbols !== undefined)
      return (this.#symbols = this.#known.symbols);
    const place = (name: string): bigint =>
      this.info.symbol(`kallsyms_${name}`) ??
      fail(
        'LINUX_SYMBOLS',
        `The kernel ${this.release} does not say where its table of symbols is (kallsyms_${name}).`,
      );
    const table = new Kallsyms(
      this.space,
      {
        names: place('names'),
        count: place('num_syms'),
        tokenTable: place('token_table'),
        tokenIndex: place('token_index'),
        offsets: place('offsets'),
        relativeBase: place('relative_base'),
      },
      this.pointerSize,
    );
    table.find(FIRST_SYMBOLS);
    return (this.#symbols = table);
  }

  /** Address of a symbol; throws `LINUX_SYMBOLS` when there is none. */
  symbol(name: string): bigint {
    return (
      this.symbols.address(name) ??
      fail('LINUX_SYMBOLS', `The kernel ${this.release} has no symbol "${name}".`, { name })
    );
  }

  /** The kernel's types. Throws `LINUX_TYPES` when it has none and none were given. */
  get types(): TypeTable {
    if (this.#types !== undefined) return this.#types;
    const start = this.symbols.address('__start_BTF'),
      end = this.symbols.address('__stop_BTF');
    if (start !== undefined && end !== undefined)
      return (this.#types = new Btf(this.space.bytes(start, Number(end - start)), {
        source: "BTF in the kernel's memory",
        pointerSize: this.pointerSize,
      }));
    if (this.#known.types !== undefined) return (this.#types = this.#known.types);
    return fail(
      'LINUX_TYPES',
      `The kernel ${this.release} has no description of its types (BTF) in memory; give one, such as an ISF of this version.`,
    );
  }

  /** A structure; throws `LINUX_TYPES` when there is none. */
  type(name: string): Type {
    let type = this.#structs.get(name);
    if (type !== undefined) return type;
    type =
      this.types.type(name) ??
      fail('LINUX_TYPES', `The kernel ${this.release} has no type "${name}" (${this.types.source}).`, { name });
    this.#structs.set(name, type);
    return type;
  }

  /** Whether there is such a field, of a type that is there. */
  hasField(type: string, path: string): boolean {
    const found = this.types.type(type);
    return found !== undefined && new StructView(this.space, found, 0n).has(path);
  }

  field(type: string, path: string): Field {
    return requireField(this.type(type), path);
  }

  /** Offset of a field in bytes. */
  offset(type: string, path: string): bigint {
    return BigInt(this.field(type, path).offset);
  }

  /** A structure at an address. */
  struct(type: string, address: bigint): StructView {
    return new StructView(this.space, this.type(type), address);
  }

  /** The structure that has `path` in it at `address`. */
  containing(type: string, path: string, address: bigint): StructView {
    return this.struct(type, this.wrap(address - this.offset(type, path)));
  }

  pointerAt(address: bigint): bigint {
    return this.pointerSize === 8 ? this.space.u64(address) : BigInt(this.space.u32(address));
  }

  /** An address as wide as the kernel's. */
  wrap(address: bigint): bigint {
    return BigInt.asUintN(8 * this.pointerSize, address);
  }

  /**
   * The elements of a list whose head (a list_head) is at `head`, each of type `type` and in the list by its field `path`. Ends at the first that comes again, too:
   * a damaged list has loops.
   */
  *list(head: bigint, type: string, path: string): Generator<StructView, void, undefined> {
    const offset = this.offset(type, path);
    const seen = new Set([head]);
    for (let node = this.pointerAt(head); node !== 0n && !seen.has(node) && seen.size < MOST_ELEMENTS; ) {
      seen.add(node);
      yield this.struct(type, this.wrap(node - offset));
      node = this.pointerAt(node);
    }
  }

  /** The nodes of a red-black tree in order, each as the structure that has it as its field `path`. `root`: address of the rb_root. */
  *tree(root: bigint, type: string, path: string): Generator<StructView, void, undefined> {
    const left = this.offset('rb_node', 'rb_left'),
      right = this.offset('rb_node', 'rb_right'),
      offset = this.offset(type, path);
    const seen = new Set<bigint>();
    const open: bigint[] = [];
    let node = this.pointerAt(root);
    while ((node !== 0n || open.length > 0) && seen.size < MOST_ELEMENTS) {
      if (node !== 0n && !seen.has(node)) {
        seen.add(node);
        open.push(node);
        node = this.pointerAt(node + left);
        continue;
      }
      const next = open.pop();
      if (next === undefined) return;
      yield this.struct(type, this.wrap(next - offset));
      node = this.pointerAt(next + right);
    }
  }
}

/** How a kernel may be mapped. */
interface Image {
  readonly mode: PageMode;
  /** Physical address of its page tables. */
  readonly root: bigint;
  /** What has to be added to a linear address of its image for the physical one. */
  readonly imageShift: bigint;
}

function imagesOf(info: VmCoreInfo): Image[] {
  const tables = info.symbol('swapper_pg_dir') ?? info.symbol('init_top_pgt');
  if (tables === undefined) return [];
  if (tables > 0xffff_ffffn) {
    const imageShift = (info.number('phys_base') ?? 0n) - START_KERNEL_MAP;
    const mode = info.number('pgtable_l5_enabled') === 1n ? '5-level' : '4-level';
    return [{ mode, root: tables + imageShift, imageShift }];
  }
  const mode = info.value('CONFIG_X86_PAE') === 'y' ? 'pae' : '32-bit';
  return PAGE_OFFSETS_32.filter((offset) => offset <= tables).map((offset) => ({
    mode,
    root: tables - offset,
    imageShift: -offset,
  }));
}

/** Bytes that tell whether a kernel still is there: release and version in init_uts_ns, not its names of hosts, which change. */
function readMark(memory: PhysicalMemory, address: number): { address: number; bytes: Uint8Array } {
  const bytes = new Uint8Array(112);
  memory.read(address + 144, bytes);
  return { address, bytes };
}
