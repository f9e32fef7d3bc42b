/**
 * A Windows kernel in memory: where it is, which build it is, its symbols and types, its lists. This file is the ground that the others stand on.
 */
import { fail } from '@visorkit/core';
import { AddressSpace, Bound, fieldOf, readUnicodeString, requireField, StructView, withFields } from '@visorkit/vmi';
import type {
  AbsentEntry,
  Field,
  KnownOfGuest,
  PeImage,
  PhysicalMemory,
  SymbolTable,
  Type,
  TypeTable,
} from '@visorkit/vmi';
import { absentEntryOf } from './absent-entry.js';
import { findKernel } from './find/find.js';
import type { FoundKernel } from './find/find.js';
import { givenFields, givenSystem, typesOfGiven } from './given.js';
import { kernelStart, unlessRefused } from './find/image.js';
import type { Kdbg } from './find/kdbg.js';
import { builtInTypes } from './layouts/layouts.js';
import type { WindowsBuild } from './layouts/layouts.js';
import { SharedData } from './shared-data.js';
import { kernelSymbols } from './symbols.js';

/** Elements that a list, and nodes that a tree, has at most: a hostile one has no end. */
export const MOST_ELEMENTS = 1 << 20;
/** Characters of a name: paths of objects have 32,767 at most. */
const LONGEST_NAME = 1 << 15;
/** Builds by the version in the image's headers, where nothing says which it is: the last of each. */
const BUILDS: Readonly<Record<string, number>> = {
  '5.1': 2600,
  '5.2': 3790,
  '6.0': 6002,
  '6.1': 7601,
  '6.2': 9200,
  '6.3': 9600,
};

export class KernelBase {
  /** The kernel's own address space: System's. Pages in transition are read too. */
  readonly space: AddressSpace;
  readonly pointerSize: 4 | 8;
  /** Undefined where its headers are not in memory. */
  readonly image: PeImage | undefined;
  readonly kdbg: Kdbg | undefined;
  /** How it was found, for people. */
  readonly how: string;
  readonly symbols: SymbolTable;
  readonly build: WindowsBuild;
  readonly types: TypeTable;
  readonly shared: SharedData;
  readonly absentEntry: AbsentEntry;
  readonly #known: KnownOfGuest;
  readonly #structs = new Map<string, Type>();
  readonly #mark: { readonly address: number; readonly bytes: Uint8Array };

  private constructor(
    readonly memory: PhysicalMemory,
    found: FoundKernel,
    known: KnownOfGuest,
  ) {
    this.pointerSize = found.pointerSize;
    this.image = found.image;
    this.kdbg = found.kdbg;
    this.how = found.how;
    this.absentEntry = absentEntryOf(found.space);
    this.space = new AddressSpace(memory, found.space.mode, found.space.root, this.absentEntry);
    this.symbols = kernelSymbols(known, this.image, this.kdbg, (address) => this.wrap(address));
    this.shared = new SharedData(this.space, this.pointerSize);
    this.build = this.#findBuild();
    this.#known = known;
    const types =
      known.types ??
      builtInTypes(this.pointerSize, this.build) ??
      typesOfGiven(known, this.pointerSize) ??
      fail(
        'WINDOWS_TYPES',
        `There are no built-in offsets for build ${this.build.number} of ${8 * this.pointerSize}-bit Windows; give its types (PDB ${this.pdb}).`,
        { build: this.build.number },
      );
    this.types = withFields(types, givenFields(known));
    // Tables of some process were found: System's live as long as the kernel
    const root = unlessRefused(() => this.#systemRoot());
    if (root !== undefined) this.space = new AddressSpace(memory, this.space.mode, root, this.absentEntry);
    this.#mark = this.#readMark();
  }

  /** The kernel in a memory, undefined when none is found. Throws `WINDOWS_TYPES` for one of a version that is not known. */
  static find(memory: PhysicalMemory, known: KnownOfGuest = {}): KernelBase | undefined {
    const found = findKernel(memory, known);
    return found === undefined ? undefined : new KernelBase(memory, found, known);
  }

  /** Whether its image, or its block for debuggers, is where it was. Cheap. */
  isThere(): boolean {
    const bytes = new Uint8Array(this.#mark.bytes.length);
    this.memory.read(this.#mark.address, bytes);
    return bytes.every((byte, index) => byte === this.#mark.bytes[index]);
  }

  /** As `ver` has it: 6.1.7601. */
  get release(): string {
    const { number, revision } = this.build;
    const [major, minor] = this.image?.osVersion ?? this.shared.version ?? [0, 0];
    return `${major}.${minor}.${number}${number >= 6000 && revision !== 0 ? `.${revision}` : ''}`;
  }

  /** Which PDB file belongs to it: GUID and age in hexadecimal, and name. Empty where it does not say. */
  get pdb(): string {
    const view = this.image?.codeView();
    return view === undefined ? '' : `${view.path} ${view.guid}${view.age.toString(16)}`;
  }

  // ── Symbols and types

  /** Address of a symbol; throws `WINDOWS_SYMBOLS` when there is none. */
  symbol(name: string): bigint {
    return (
      this.symbols.address(name) ??
      fail(
        'WINDOWS_SYMBOLS',
        `The kernel ${this.release} has no symbol "${name}" in ${this.symbols.source}; give its symbols${this.pdb === '' ? '' : ` (${this.pdb})`}.`,
        { name },
      )
    );
  }

  /** A structure; throws `WINDOWS_TYPES` when there is none. */
  type(name: string): Type {
    let type = this.#structs.get(name);
    if (type !== undefined) return type;
    type =
      this.types.type(name) ??
      fail('WINDOWS_TYPES', `The kernel ${this.release} has no type "${name}" (${this.types.source}).`, { name });
    this.#structs.set(name, type);
    return type;
  }

  /** Whether there is such a field, of a type that is there. */
  hasField(type: string, path: string): boolean {
    const found = this.types.type(type);
    return found !== undefined && fieldOf(found, path) !== undefined;
  }

  field(type: string, path: string): Field {
    return requireField(this.type(type), path);
  }

  /** A structure at an address, in the kernel's address space or a process's. */
  struct(type: string, address: bigint, space = this.space): StructView {
    return new StructView(space, this.type(type), this.wrap(address));
  }

  /** Address of the EPROCESS of System, the first process of the list. Throws `WINDOWS_SYMBOLS`, `VMI_UNMAPPED`. */
  get system(): bigint {
    const links = (): number => this.field('_EPROCESS', 'ActiveProcessLinks').offset;
    const given = givenSystem(this.space, this.#known, this.pointerSize, links);
    if (given !== undefined) return given;
    const head = this.symbols.address('PsActiveProcessHead');
    if (head === undefined || this.symbols.address('PsInitialSystemProcess') !== undefined)
      return this.pointerAt(this.symbol('PsInitialSystemProcess'));
    return this.wrap(this.pointerAt(head) - BigInt(links()));
  }

  // ── Memory

  pointerAt(address: bigint, space = this.space): bigint {
    return this.pointerSize === 8 ? space.u64(address) : BigInt(space.u32(address));
  }

  /** An address as wide as the kernel's. */
  wrap(address: bigint): bigint {
    return BigInt.asUintN(8 * this.pointerSize, address);
  }

  /** Whether an address is one of the kernel's half. */
  isKernel(address: bigint): boolean {
    return address >= kernelStart(this.space);
  }

  /** What a UNICODE_STRING holds; empty where it cannot be read. */
  unicode(address: bigint, space = this.space): string {
    const text = unlessRefused(() => readUnicodeString(space, address, this.pointerSize)) ?? '';
    return text.length > LONGEST_NAME ? '' : text;
  }

  /**
   * The elements of a list whose head (LIST_ENTRY) is at `head`, each of type `type` and in the list by its field `path`. Where the way forward is broken the list is
   * gone through from its other end too. Ends at the first that comes again: a damaged list has loops.
   */
  *list(head: bigint, type: string, path: string, space = this.space): Generator<StructView, void, undefined> {
    const offset = BigInt(this.field(type, path).offset);
    const seen = new Set([this.wrap(head)]);
    const bound = new Bound(this.memory, `entries of the list of ${type} at 0x${head.toString(16)}`, MOST_ELEMENTS);
    for (const direction of [0n, BigInt(this.pointerSize)]) {
      let node: bigint | undefined = head;
      while (bound.take()) {
        const at: bigint = node;
        node = unlessRefused(() => this.pointerAt(this.wrap(at + direction), space));
        if (node === head) return;
        if (node === undefined || node === 0n || seen.has(node)) break;
        seen.add(node);
        if (space.translate(node) === undefined) break;
        yield this.struct(type, node - offset, space);
      }
    }
  }

  // ── Which kernel it is

  #findBuild(): WindowsBuild {
    const label = this.#label();
    const exported = this.#number('NtBuildNumber');
    const number =
      (exported === undefined ? undefined : exported & 0xffff) ??
      label?.number ??
      this.shared.build ??
      BUILDS[(this.image?.osVersion ?? this.shared.version ?? []).join('.')];
    if (number === undefined || number === 0)
      return fail(
        'WINDOWS_TYPES',
        `A Windows kernel is there (${this.how}), but which build it is cannot be told; give its symbols and types${this.pdb === '' ? '' : ` (${this.pdb})`}.`,
      );
    // Up to Server 2003 layouts go by service packs
    const pack = number < 6000 ? ((this.#number('CmNtCSDVersion') ?? 0) >> 8) & 0xff : 0;
    const revision = label !== undefined && label.number === number ? label.revision : 0;
    return { number, revision: pack === 0 ? revision : pack };
  }

  #number(symbol: string): number | undefined {
    const address = this.symbols.address(symbol);
    return address === undefined ? undefined : unlessRefused(() => this.space.u32(address));
  }

  /** What NtBuildLab says: `7601.17514.x86fre.win7sp1_rtm.101119-1850`, `2600.xpsp_sp2_rtm.040803-2158`. */
  #label(): WindowsBuild | undefined {
    const address = this.symbols.address('NtBuildLab');
    const text = address === undefined ? undefined : unlessRefused(() => this.space.text(address, 128));
    const number = Number(/^\d{4,5}(?=\.)/.exec(text ?? '')?.[0]);
    if (text === undefined || Number.isNaN(number)) return undefined;
    const revision = number < 6000 ? /_sp(\d)/.exec(text)?.[1] : /^\d+\.(\d+)\./.exec(text)?.[1];
    return { number, revision: Number(revision ?? 0) };
  }

  #systemRoot(): bigint | undefined {
    const { system } = this;
    if (!this.isKernel(system)) return undefined;
    const root = this.pointerAt(this.struct('_EPROCESS', system).at('Pcb.DirectoryTableBase'));
    const space = new AddressSpace(this.memory, this.space.mode, root);
    return space.translate(system) === this.space.translate(system) ? root : undefined;
  }

  #readMark(): { address: number; bytes: Uint8Array } {
    const address = this.space.translate(this.image?.base ?? this.kdbg?.address ?? 0n) ?? -1;
    const bytes = new Uint8Array(64);
    this.memory.read(address, bytes);
    return { address, bytes };
  }
}
