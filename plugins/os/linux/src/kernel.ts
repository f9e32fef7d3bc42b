/**
 * A Linux kernel for x86 in memory, found and read by what it says of itself: VMCOREINFO, its table of symbols, its BTF. Where it has no types, they are those that
 * were given, or what its running structures show of themselves. This file is the ground that the others stand on: its symbols and types, its lists.
 */
import { fail, isVisorkitError } from '@visorkit/core';
import { AddressSpace, Bound, Btf, requireField, StructView, SymbolList, withFields } from '@visorkit/vmi';
import type { Field, KnownOfGuest, PhysicalMemory, SymbolTable, Type, TypeTable } from '@visorkit/vmi';
import { Given, slideOf } from './given.js';
import { banners, findImage, rangesOf } from './image.js';
import type { KernelImage } from './image.js';
import { Kallsyms } from './kallsyms.js';
import { findKallsyms, placeFromInfo } from './kallsyms-place.js';
import type { FoundKallsyms } from './kallsyms-place.js';
import { inferTypes } from './infer.js';
import type { Inferred } from './infer.js';
import type { InferredTypes } from './inferred-types.js';
import type { VmCoreInfo } from './vmcoreinfo.js';

/** Elements that a list, and nodes that a tree, has at most: a hostile one has no end. */
export const MOST_ELEMENTS = 1 << 20;

/** Symbols that are needed to begin with, found in one pass. */
const FIRST_SYMBOLS = ['init_task', '__start_BTF', '__stop_BTF', 'linux_banner', '_stext', '_etext'];

export class KernelBase {
  readonly release: string;
  /** The kernel's own page tables. */
  readonly space: AddressSpace;
  readonly pointerSize: 4 | 8;
  /** What the kernel says to who reads a dump of it; without anything in it where it says nothing. */
  readonly info: VmCoreInfo;
  readonly #image: KernelImage;
  readonly #known: KnownOfGuest;
  readonly #given: Given;
  /** Undefined as long as it was not looked for. */
  #givenTask: { readonly address: bigint | undefined } | undefined;
  #symbols: SymbolTable | undefined;
  #noSymbols: Error | undefined;
  #types: TypeTable | undefined;
  /** What these are without fields that were given. */
  #typesBelow: TypeTable | undefined;
  #inferred: Inferred | undefined;
  /** The epoch of the memory when that was inferred. */
  #inferredAt = 0;
  readonly #structs = new Map<string, Type>();
  readonly #mark: Uint8Array;

  private constructor(
    readonly memory: PhysicalMemory,
    image: KernelImage,
    known: KnownOfGuest,
  ) {
    this.release = image.release;
    this.info = image.info;
    this.space = new AddressSpace(memory, image.mode, image.root);
    this.pointerSize = image.mode === '4-level' || image.mode === '5-level' ? 8 : 4;
    this.#image = image;
    this.#known = known;
    this.#given = new Given(known);
    this.#mark = this.#readMark();
  }

  /** The kernel in a memory, undefined when none is found. */
  static find(memory: PhysicalMemory, known: KnownOfGuest = {}): KernelBase | undefined {
    const image = findImage(memory, known);
    return image === undefined ? undefined : new KernelBase(memory, image, known);
  }

  /** Whether what the kernel says of itself (init_uts_ns, its banner) is where it was. */
  isThere(): boolean {
    return this.#readMark().every((byte, index) => byte === this.#mark[index]);
  }

  #readMark(): Uint8Array {
    const bytes = new Uint8Array(this.#image.mark.length);
    this.memory.read(this.#image.mark.address, bytes);
    return bytes;
  }

  /** Symbols of the kernel and of what is built into it: those that were given, or its own. Throws `LINUX_SYMBOLS`. */
  get symbols(): SymbolTable {
    return (this.#symbols ??=
      this.#known.symbols === undefined ? this.#ownSymbols() : this.#moved(this.#known.symbols));
  }

  #ownSymbols(): SymbolTable {
    // An image that has no table does not come to have one: it is not searched again
    if (this.#noSymbols !== undefined) throw this.#noSymbols;
    try {
      return this.#readSymbols();
    } catch (error) {
      if (isVisorkitError(error) && error.code === 'LINUX_SYMBOLS') this.#noSymbols = error;
      throw error;
    }
  }

  #readSymbols(): SymbolTable {
    const place = placeFromInfo(this.space, this.info, this.pointerSize);
    const table = place === undefined ? this.#searched() : new Kallsyms(this.space, place);
    table.find(FIRST_SYMBOLS);
    return table;
  }

  /** The table that is in the kernel's image, where nothing says where. */
  #searched(): Kallsyms {
    const { table, text, shift } = this.#image;
    const physical = new AddressSpace(this.memory, 'none');
    const start = Number(text + shift);
    for (const found of table === undefined
      ? findKallsyms(this.memory, physical, rangesOf(this.memory, start))
      : [table]) {
      const symbols = new Kallsyms(physical, this.#inKernel(found));
      // One that another kernel has left has its own addresses
      if (found.pointerSize === this.pointerSize && (symbols.address('_stext') ?? symbols.address('_text')) === text)
        return symbols;
    }
    return fail(
      'LINUX_SYMBOLS',
      `The kernel ${this.release} does not say where its table of symbols is, and none was found in its image; give symbols, such as a System.map of this version.`,
    );
  }

  #inKernel({ place, linear }: FoundKallsyms): FoundKallsyms['place'] {
    const { addresses } = place;
    if (linear || addresses.form !== 'place') return place;
    return { ...place, addresses: { ...addresses, linear: BigInt.asUintN(64, addresses.table - this.#image.shift) } };
  }

  /** Given symbols are as they were linked: they are moved to where the kernel is, and must fit there. */
  #moved(symbols: SymbolTable): SymbolTable {
    const { text } = this.#image;
    const linked = symbols.address('_stext') ?? symbols.address('_text');
    const by = linked === undefined ? this.#given.slide : text - linked;
    if (by === undefined)
      return fail(
        'LINUX_SYMBOLS',
        `The symbols that were given (${symbols.source}) have no _stext, so they are no kernel's.`,
      );
    const how = `${symbols.source}, moved by ${by < 0n ? '-' : ''}0x${(by < 0n ? -by : by).toString(16)}`;
    const moved = by === 0n ? symbols : new SymbolList(how, [...symbols]).moved(by);
    for (const name of ['init_uts_ns', 'swapper_pg_dir', 'init_top_pgt', 'prb', 'node_data']) {
      const [here, there] = [this.info.symbol(name), moved.address(name)];
      if (here === undefined || there === undefined || here === there) continue;
      return fail(
        'LINUX_SYMBOLS',
        `The symbols that were given (${symbols.source}) are not those of the kernel ${this.release}: it has ${name} at 0x${here.toString(16)}, and they would have it at 0x${there.toString(16)}.`,
        { name },
      );
    }
    return moved;
  }

  /** The banner, where no symbol says where it is. Throws `LINUX_SYMBOLS`. */
  bannerInImage(): string {
    const { text, shift } = this.#image;
    const physical = new AddressSpace(this.memory, 'none');
    // Constants come first in an image, then what its log has of them. One without the number of the build is there too, of which the kernel's own was made.
    for (const { address, release } of banners(this.memory, rangesOf(this.memory, Number(text + shift)))) {
      const banner = release === this.release ? physical.text(BigInt(address)) : '';
      if (/ #\d+ .*\n$/.test(banner)) return banner;
    }
    return fail(
      'LINUX_SYMBOLS',
      `The kernel ${this.release} has no symbol "linux_banner", and no such text in its image.`,
    );
  }

  /** Address of a symbol; undefined where nothing has it. Kernels without CONFIG_KALLSYMS_ALL have few of data themselves. */
  address(name: string): bigint | undefined {
    const given = name === 'init_task' ? this.#givenInitTask() : undefined;
    return given ?? this.#tableAddress(name) ?? this.info.symbol(name) ?? this.#inferred?.symbols.get(name);
  }

  #givenInitTask(): bigint | undefined {
    this.#givenTask ??= {
      address: this.#given.initTask(this.space, this.pointerSize, [
        this.info.offset,
        slideOf(this.#image.text, this.pointerSize),
      ]),
    };
    return this.#givenTask.address;
  }

  #tableAddress(name: string): bigint | undefined {
    try {
      return this.symbols.address(name);
    } catch (error) {
      if (isVisorkitError(error) && error.code === 'LINUX_SYMBOLS' && this.#known.symbols === undefined)
        return undefined;
      throw error;
    }
  }

  /** The same; throws `LINUX_SYMBOLS` when there is none. */
  symbol(name: string): bigint {
    return (
      this.address(name) ??
      this.#inferredAddress(name) ??
      fail('LINUX_SYMBOLS', `The kernel ${this.release} has no symbol "${name}" (${this.symbols.source}).`, { name })
    );
  }

  /** Of a kernel without types of its own: what the running structures show, if enough of it runs. */
  #inferredAddress(name: string): bigint | undefined {
    if (this.#hasTypes()) return undefined;
    try {
      return this.#infer().symbols.get(name) ?? (this.#inferAgain() ? this.#infer().symbols.get(name) : undefined);
    } catch (error) {
      if (isVisorkitError(error) && error.code === 'LINUX_TYPES') return undefined;
      throw error;
    }
  }

  #hasTypes(): boolean {
    return this.address('__start_BTF') !== undefined && this.address('__stop_BTF') !== undefined;
  }

  /**
   * The kernel's types: its own, those that were given, or what its running structures show; with fields where a configuration says that they are. Throws `LINUX_TYPES` when there is none of
   * them.
   */
  get types(): TypeTable {
    if (this.#types !== undefined) return this.#types;
    this.#typesBelow = this.#ownTypes() ?? this.#known.types ?? this.#infer().types;
    return (this.#types = withFields(this.#typesBelow, this.#given.fields(this.pointerSize)));
  }

  /** Types as the running structures show them, also where the kernel has others: what does not agree is a finding, or a mistake of ours. Throws `LINUX_TYPES`. */
  inferredTypes(): InferredTypes {
    return this.#infer().types;
  }

  #ownTypes(): TypeTable | undefined {
    const start = this.address('__start_BTF'),
      end = this.address('__stop_BTF');
    if (start === undefined || end === undefined) return undefined;
    return new Btf(this.space.bytes(start, Number(end - start)), {
      source: "BTF in the kernel's memory",
      pointerSize: this.pointerSize,
    });
  }

  /** Something is not there: in a guest that has run since, there may be more to see. Returns whether that was looked for. */
  #inferAgain(): boolean {
    if (this.#inferred === undefined || this.#inferredAt === this.memory.epoch) return false;
    const wasUsed = this.#typesBelow === this.#inferred.types;
    this.#inferred = undefined;
    this.#infer();
    if (wasUsed) {
      this.#types = undefined;
      this.#structs.clear();
    }
    return true;
  }

  /** What the running structures show. Throws `LINUX_TYPES` as long as too little runs. */
  #infer(): Inferred {
    if (this.#inferred !== undefined) return this.#inferred;
    this.#inferredAt = this.memory.epoch;
    return (this.#inferred = inferTypes({
      memory: this.memory,
      space: this.space,
      pointerSize: this.pointerSize,
      release: this.release,
      image: rangesOf(this.memory, Number(this.#image.text + this.#image.shift)),
      shift: this.#image.shift,
      given: this.#given,
      address: (name) => this.address(name),
    }));
  }

  /** A structure; throws `LINUX_TYPES` when there is none. */
  type(name: string): Type {
    let type = this.#structs.get(name);
    if (type !== undefined) return type;
    type =
      this.#find(name) ??
      fail('LINUX_TYPES', `The kernel ${this.release} has no type "${name}" (${this.types.source}).`, { name });
    this.#structs.set(name, type);
    return type;
  }

  #find(name: string): Type | undefined {
    const found = this.types.type(name);
    if (found !== undefined || this.#typesBelow !== this.#inferred?.types) return found;
    return this.#inferAgain() ? this.types.type(name) : undefined;
  }

  /** Whether there is such a field, of a type that is there. */
  hasField(type: string, path: string): boolean {
    const found = this.#find(type);
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
    const bound = new Bound(this.memory, `entries of the list of ${type} at 0x${head.toString(16)}`, MOST_ELEMENTS);
    for (let node = this.pointerAt(head); node !== 0n && !seen.has(node) && bound.take(); ) {
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
    const bound = new Bound(this.memory, `nodes of the tree of ${type} at 0x${root.toString(16)}`, MOST_ELEMENTS);
    const open: bigint[] = [];
    let node = this.pointerAt(root);
    while (node !== 0n || open.length > 0) {
      if (node !== 0n && !seen.has(node)) {
        if (!bound.take()) return;
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
