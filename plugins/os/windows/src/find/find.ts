/** Where a Windows kernel is: its page tables, its image, its block for debuggers. By what is known of the guest, or by its memory alone. */
import { AddressSpace, Bound, configured, configuredOffset, knownValue } from '@visorkit/vmi';
import type { KnownOfGuest, KnownRegisters, PeImage, PhysicalMemory } from '@visorkit/vmi';
import { pagingMode } from '@visorkit/x86';
import { KERNEL_PDBS, imageAround, kernelImageAt, kernelStart, linearOf, scan, searchImage } from './image.js';
import { findKdbg, kdbgAt, scanKdbg } from './kdbg.js';
import type { Kdbg } from './kdbg.js';
import { lowStub, selfReferences } from './page-tables.js';
import type { Root } from './page-tables.js';
import { givenSystem, rootOfSystem } from '../given.js';
import { placed } from '../symbols.js';

export interface FoundKernel {
  readonly space: AddressSpace;
  readonly pointerSize: 4 | 8;
  /** Undefined where its headers are not in memory, and something else told where the kernel is. */
  readonly image: PeImage | undefined;
  readonly kdbg: Kdbg | undefined;
  /** How it was found, for people. */
  readonly how: string;
}

/** Where 32-bit Windows up to Vista has the control region of the first processor (KPCR), whatever the registers say. */
const FIXED_KPCR = 0xffdf_f000n;
/** Offsets in KPCR, and in _DBGKD_GET_VERSION64, that all versions have. */
const KPCR = {
  4: { SELF: 0x1cn, VERSION: 0x34n, IDT: 0x38n },
  8: { SELF: 0x18n, VERSION: 0x108n, IDT: 0x38n },
} as const;
const VERSION_KERN_BASE = 0x10n;
/** Records of debug directories, and KDBG blocks, that are followed. */
const MOST_RECORDS = 64;
/** Tables that are gone through for a root; the right one is among the first, and each costs time when a hostile guest has many. */
const FIRST_ROOTS = 2;
const TABLES = { first: 1 << 13, later: 1 << 8 } as const;

/** The kernel in a memory; undefined where none is found. */
export function findKernel(memory: PhysicalMemory, known: KnownOfGuest): FoundKernel | undefined {
  const search = new Search(memory, known);
  for (const root of roots(memory, known)) {
    const found = search.in(root);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Page tables to try: what is known first, then what is found. */
function* roots(memory: PhysicalMemory, known: KnownOfGuest): Generator<Root, void, undefined> {
  for (const name of ['DirectoryTableBase', 'kpgd']) {
    const root = knownValue(known, name);
    // Which mode it is nobody says
    if (root !== undefined)
      for (const mode of ['4-level', 'pae', '32-bit', '5-level'] as const)
        yield { mode, root, how: `the value ${name}` };
  }
  for (const [pointerSize, modes] of [
    [8, ['4-level', '5-level']],
    [4, ['pae', '32-bit']],
  ] as const) {
    const root = rootOfSystem(memory, known, pointerSize);
    if (root !== undefined) for (const mode of modes) yield { mode, root, how: 'the value win_sysproc' };
  }
  const { cr0, cr3, cr4, efer } = known.registers ?? {};
  if (cr3 !== undefined && cr0 !== undefined) {
    const mode = pagingMode(cr0, cr4 ?? 0n, efer ?? 0n);
    if (mode !== 'none') yield { mode, root: cr3, how: 'CR3' };
  }
  yield* lowStub(memory);
  yield* selfReferences(memory);
}

class Search {
  /** Places in memory that name the kernel's PDB file, and those of KDBG blocks. */
  #marks: { readonly records: ReadonlySet<number>; readonly blocks: ReadonlySet<number> } | undefined;
  #roots = 0;

  constructor(
    private readonly memory: PhysicalMemory,
    private readonly known: KnownOfGuest,
  ) {}

  in({ mode, root, hint, how }: Root): FoundKernel | undefined {
    const space = new AddressSpace(this.memory, mode, root);
    const pointerSize = mode === 'pae' || mode === '32-bit' ? 4 : 8;
    const found = (image: PeImage | undefined, kdbg: Kdbg | undefined, by: string): FoundKernel => ({
      space,
      pointerSize,
      image,
      kdbg: kdbg ?? (image && this.#kdbgOf(space, image)),
      how: `${how}, ${by}`,
    });

    for (const { base, address, by } of this.#hints(space, pointerSize, hint)) {
      const image = base === undefined ? imageAround(space, address) : kernelImageAt(space, base);
      if (image !== undefined) return found(image, undefined, by);
    }
    const tables = ++this.#roots > FIRST_ROOTS ? TABLES.later : TABLES.first;
    const image = searchImage(space, tables);
    if (image !== undefined) return found(image, undefined, 'its image');
    const given = this.#knownBlock(space, pointerSize);
    if (given !== undefined) return found(undefined, given, 'the given KDBG');
    const head = knownValue(this.known, 'PsActiveProcessHead');
    if (head !== undefined && space.translate(BigInt.asUintN(8 * pointerSize, head)) !== undefined)
      return found(undefined, undefined, 'the value PsActiveProcessHead');
    const links = configuredOffset(this.known, 'win_tasks');
    if (links !== undefined && givenSystem(space, this.known, pointerSize, () => links) !== undefined)
      return found(undefined, undefined, 'the value win_sysproc');
    const mark = this.#marked(space, pointerSize, tables);
    return mark && found(mark.image, mark.kdbg, mark.image ? 'its debug directory' : 'KDBG');
  }

  #kdbgOf(space: AddressSpace, image: PeImage): Kdbg | undefined {
    const { symbols } = this.known;
    const offset = knownValue(this.known, 'win_kdbg');
    const given = offset === undefined ? undefined : kdbgAt(space, image.base + offset, image.bits === 64 ? 8 : 4);
    if (given?.kernelBase === image.base) return given;
    return findKdbg(space, image, symbols === undefined ? undefined : placed(symbols, image));
  }

  /** Addresses in the kernel's image, or where it begins. */
  *#hints(
    space: AddressSpace,
    pointerSize: 4 | 8,
    hint: bigint | undefined,
  ): Generator<{ base?: bigint; address: bigint; by: string }, void, undefined> {
    for (const name of ['KernBase', 'win_ntoskrnl_va']) {
      const base = knownValue(this.known, name);
      if (base !== undefined)
        yield { base: BigInt.asUintN(8 * pointerSize, base), address: base, by: `the value ${name}` };
    }
    const physical = configured(this.known, 'win_ntoskrnl');
    if (physical !== undefined)
      for (const { linear } of linearOf(space, [Number(physical)], TABLES.later))
        yield { base: linear, address: linear, by: 'the value win_ntoskrnl' };
    const block = this.#knownBlock(space, pointerSize);
    if (block !== undefined) yield { base: block.kernelBase, address: block.kernelBase, by: 'the given KDBG' };
    if (hint !== undefined) yield { address: hint, by: 'the entry of the kernel in it' };
    const isKernel = (address: bigint | undefined): address is bigint =>
      address !== undefined && address >= kernelStart(space) && (pointerSize === 8 || address <= 0xffff_ffffn);
    const registers: KnownRegisters = this.known.registers ?? {};
    if (pointerSize === 8) {
      if (isKernel(registers.lstar)) yield { address: registers.lstar, by: 'LSTAR' };
      if (isKernel(registers.cstar)) yield { address: registers.cstar, by: 'CSTAR' };
    }
    const regions = pointerSize === 8 ? [registers.gsBase, registers.kernelGsBase] : [registers.fsBase, FIXED_KPCR];
    const offset = configured(this.known, 'win_kpcr');
    for (const kpcr of regions) {
      const image = isKernel(kpcr) && offset !== undefined ? kpcr - offset : undefined;
      if (isKernel(image)) yield { base: image, address: image, by: 'the value win_kpcr' };
      if (!isKernel(kpcr) || pointerAt(space, kpcr + KPCR[pointerSize].SELF, pointerSize) !== kpcr) continue;
      const version = pointerAt(space, kpcr + KPCR[pointerSize].VERSION, pointerSize);
      const base = isKernel(version) ? pointerAt(space, version + VERSION_KERN_BASE, pointerSize) : undefined;
      if (isKernel(base)) yield { base, address: base, by: 'KPCR' };
      const handler = gateAt(space, pointerAt(space, kpcr + KPCR[pointerSize].IDT, pointerSize), pointerSize);
      if (isKernel(handler)) yield { address: handler, by: 'the IDT of KPCR' };
    }
    const handler = gateAt(space, registers.idtr, pointerSize);
    if (isKernel(handler)) yield { address: handler, by: 'IDTR' };
  }

  #knownBlock(space: AddressSpace, pointerSize: 4 | 8): Kdbg | undefined {
    const address = knownValue(this.known, 'KdDebuggerDataBlock') ?? knownValue(this.known, 'win_kdvb');
    return address === undefined ? undefined : kdbgAt(space, BigInt.asUintN(8 * pointerSize, address), pointerSize);
  }

  /**
   * The kernel by what else tells it: the image whose debug directory names the kernel's PDB file, or a block whose lists are mapped, where the headers are not in
   * memory.
   */
  #marked(space: AddressSpace, pointerSize: 4 | 8, tables: number): { image?: PeImage; kdbg?: Kdbg } | undefined {
    this.#marks ??= {
      records: new Set(recordsIn(this.memory)),
      blocks: new Set(first(scanKdbg(this.memory), new Bound(this.memory, 'KDBG blocks', MOST_RECORDS))),
    };
    const { records, blocks } = this.#marks;
    for (const { physical, linear } of linearOf(space, [...records, ...blocks], tables)) {
      if (records.has(physical)) {
        const image = imageAround(space, linear);
        if (image !== undefined) return { image };
        continue;
      }
      const kdbg = kdbgAt(space, linear, pointerSize);
      const head = kdbg?.fields.get('PsActiveProcessHead');
      if (head !== undefined && head >= kernelStart(space) && space.translate(head) !== undefined) return { kdbg };
    }
    return undefined;
  }
}

/** Places of CodeView records (`RSDS`, GUID, age, name) that name the kernel's PDB file. */
export function* recordsIn(memory: PhysicalMemory): Generator<number, void, undefined> {
  const name = new Uint8Array(16);
  const bound = new Bound(memory, "records that name the kernel's PDB file", MOST_RECORDS);
  for (const at of scan(memory, Uint8Array.of(0x52, 0x53, 0x44, 0x53))) {
    const there = memory.read(at + 24, name);
    const text = String.fromCharCode(...name.subarray(0, there)).replace(/\0.*$/s, '');
    if (!KERNEL_PDBS.includes(text.toLowerCase())) continue;
    if (!bound.take()) return;
    yield at;
  }
}

/** The handler of vector 0 (SDM 3A, 6.11 and 6.14.1). */
function gateAt(space: AddressSpace, idt: bigint | undefined, pointerSize: 4 | 8): bigint | undefined {
  if (idt === undefined) return undefined;
  const gate = new Uint8Array(2 * pointerSize);
  if (space.read(idt, gate) < gate.length) return undefined;
  const view = new DataView(gate.buffer);
  const low = BigInt(view.getUint16(0, true)) | (BigInt(view.getUint16(6, true)) << 16n);
  return pointerSize === 4 ? low : low | (BigInt(view.getUint32(8, true)) << 32n);
}

function pointerAt(space: AddressSpace, address: bigint, pointerSize: 4 | 8): bigint | undefined {
  const bytes = new Uint8Array(8);
  if (space.read(address, bytes.subarray(0, pointerSize)) < pointerSize) return undefined;
  return new DataView(bytes.buffer).getBigUint64(0, true);
}

function first<T>(items: Iterable<T>, bound: Bound): T[] {
  const kept: T[] = [];
  for (const item of items) {
    if (!bound.take()) break;
    kept.push(item);
  }
  return kept;
}
