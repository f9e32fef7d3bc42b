/** A FreeBSD kernel for amd64 in memory: found by its page tables and its first process, with no file needed. */
import { fail } from '@visorkit/core';
import { AddressSpace, Bound, SymbolList } from '@visorkit/vmi';
import type {
  GuestKernel,
  GuestModule,
  GuestProcess,
  KnownOfGuest,
  PhysicalMemory,
  SymbolTable,
  TypeTable,
} from '@visorkit/vmi';
import { inferLayout, inferName, isProc0, layouts, typesOf } from './layout.js';
import type { Layout } from './layout.js';
import { KERNBASE, kernelSpaces } from './page-tables.js';
import { unlessRefused } from './refused.js';

/** Processes, threads and modules that a list has at most: a hostile list has no end. */
const MOST_ELEMENTS = 1 << 20;
/** Bytes of the kernel that are searched: text, data, and what was loaded with it. */
const SEARCHED = 256 << 20;
/** Places with the name "kernel" that are looked at. */
const MOST_NAMES = 10_000;
/** Tables that are gone through for the kernel's own part. */
const MOST_TABLES = 1 << 12;
/** `version`: FreeBSD 12.1-RELEASE r354233 GENERIC. */
const BANNER = /FreeBSD (\d{1,2}\.\d+-[A-Z]+[\w.-]*)[^\0]{0,200}/;
const LONGEST_NAME = 20;
/** struct proc: head of its threads. struct thread: its process, and its links (sys/sys/proc.h; the same from 10 to 14). */
const THREADS = 0x10n;
const TD_PROC = 8n;
const TD_PLIST = 0x10n;
/** The number of the first thread, and where in struct thread numbers may be (THREAD0_TID). */
const FIRST_TID = 100_000;
const TID_RANGE = [0x40, 0x200] as const;
/** struct linker_file (sys/sys/linker.h): links, names, number, place. */
const LINKER_FILE = { LINK: 0x18n, FILENAME: 0x28n, PATHNAME: 0x30n, ADDRESS: 0x40n, SIZE: 0x48n } as const;

export interface FreebsdThread {
  /** Undefined where it cannot be told where the number is. */
  readonly tid: number | undefined;
  /** Linear address of its struct thread. */
  readonly address: bigint;
}

export interface FreebsdModule extends GuestModule {
  readonly path: string;
}

export class FreebsdKernel implements GuestKernel {
  readonly os = 'freebsd';
  readonly types: TypeTable;
  readonly symbols: SymbolTable;
  readonly #mark: { readonly address: number; readonly text: string };
  #tid: { readonly offset: number | undefined } | undefined;

  private constructor(
    readonly memory: PhysicalMemory,
    readonly space: AddressSpace,
    /** As `uname -r` has it; empty where the kernel's banner is not in memory. */
    readonly release: string,
    /** All of it. */
    readonly banner: string,
    /** Linear address of the first process, which is the last of the list. */
    readonly proc0: bigint,
    readonly layout: Layout,
    known: KnownOfGuest,
  ) {
    this.types = known.types ?? typesOf(layout);
    this.symbols = known.symbols ?? new SymbolList('no file of symbols was given', []);
    this.#mark = { address: space.translate(proc0 + BigInt(layout.comm)) ?? -1, text: 'kernel\0' };
  }

  /** The kernel in a memory, undefined when none is found. */
  static find(memory: PhysicalMemory, known: KnownOfGuest = {}): FreebsdKernel | undefined {
    const kpgd = String(known.values?.kpgd ?? '');
    const given = [known.registers?.cr3, /^(0x[0-9a-f]+|\d+)$/i.test(kpgd) ? BigInt(kpgd) : undefined]
      .filter((root) => root !== undefined)
      .map((root) => new AddressSpace(memory, '4-level', root));
    for (const space of [...given, ...firstOf(kernelSpaces(memory))]) {
      const image = new Image(space);
      const banner = image.banner();
      const [, release = ''] = BANNER.exec(banner) ?? [];
      const found = firstProcess(image, known, release);
      if (found === undefined || (release === '' && found.layout.source.startsWith('offsets inferred'))) continue;
      return new FreebsdKernel(memory, space, release, banner, found.proc0, found.layout, known);
    }
    return undefined;
  }

  /** Whether its first process still is where it was. */
  isThere(): boolean {
    const bytes = new Uint8Array(this.#mark.text.length);
    this.memory.read(this.#mark.address, bytes);
    return String.fromCharCode(...bytes) === this.#mark.text;
  }

  /** Every process of the list (allproc), the latest first, the kernel's own the last. */
  *processes(): Generator<GuestProcess, void, undefined> {
    for (const proc of listOf(this.space, this.proc0).reverse()) {
      const process = unlessRefused(() => this.#describe(proc));
      if (process !== undefined) yield process;
    }
  }

  #describe(proc: bigint): GuestProcess {
    const { space, layout } = this;
    const parent = layout.parent === undefined ? 0n : space.u64(proc + BigInt(layout.parent));
    const vmspace = space.u64(proc + BigInt(layout.vmspace));
    const root = unlessRefused(() => space.u64(vmspace + BigInt(layout.cr3))) ?? 0n;
    return {
      pid: space.u32(proc + BigInt(layout.pid)) | 0,
      ppid: parent === 0n ? 0 : (unlessRefused(() => space.u32(parent + BigInt(layout.pid)) | 0) ?? 0),
      name: space.text(proc + BigInt(layout.comm), LONGEST_NAME),
      address: proc,
      root: root === 0n ? undefined : new AddressSpace(this.memory, space.mode, root).root,
    };
  }

  /** Threads of a process, by the address of its struct proc. */
  *threads(proc: bigint): Generator<FreebsdThread, void, undefined> {
    const { offset } = (this.#tid ??= { offset: inferTid(this.space, listOf(this.space, this.proc0)) });
    for (const address of threadsOf(this.space, proc)) {
      const tid = offset === undefined ? undefined : unlessRefused(() => this.space.u32(address + BigInt(offset)));
      yield { tid, address };
    }
  }

  /** The kernel and what is loaded into it. Throws `FREEBSD_SYMBOLS` without a symbol linker_files: it is in no table in memory. */
  *modules(): Generator<FreebsdModule, void, undefined> {
    const { space } = this;
    const head =
      this.symbols.address('linker_files') ??
      fail(
        'FREEBSD_SYMBOLS',
        `The list of modules of FreeBSD ${this.release} is not found without a symbol linker_files; give its symbols, as nm prints them.`,
      );
    const seen = new Set<bigint>();
    const bound = new Bound(this.memory, 'modules', MOST_ELEMENTS);
    const next = (at: bigint): bigint => unlessRefused(() => space.u64(at)) ?? 0n;
    for (let file = next(head); file !== 0n && !seen.has(file) && bound.take(); file = next(file + LINKER_FILE.LINK)) {
      seen.add(file);
      const at = file;
      const module = unlessRefused(() => ({
        name: space.text(space.u64(at + LINKER_FILE.FILENAME)),
        path: space.text(space.u64(at + LINKER_FILE.PATHNAME)),
        base: space.u64(at + LINKER_FILE.ADDRESS),
        size: Number(space.u64(at + LINKER_FILE.SIZE)),
      }));
      if (module !== undefined) yield module;
    }
  }
}

/** The first of the spaces that there are: each costs a search. */
function firstOf(spaces: Iterable<AddressSpace>): AddressSpace[] {
  const kept: AddressSpace[] = [];
  for (const space of spaces) {
    kept.push(space);
    if (kept.length === 8) break;
  }
  return kept;
}

/** What the kernel has mapped of itself, searched part by part. */
class Image {
  constructor(readonly space: AddressSpace) {}

  /** Bytes that lie one behind the other. A part begins with the end of the one before it, where both belong together. */
  *parts(): Generator<{ address: bigint; bytes: Uint8Array }, void, undefined> {
    const to = KERNBASE + BigInt(SEARCHED);
    const part = 1 << 20,
      overlap = 256;
    for (const { linear, length } of this.space.ranges(KERNBASE, to, MOST_TABLES))
      for (let at = 0; at < length; at += part) {
        const bytes = new Uint8Array(Math.min(part + overlap, length - at));
        const there = this.space.read(linear + BigInt(at), bytes);
        yield { address: linear + BigInt(at), bytes: bytes.subarray(0, there) };
      }
  }

  banner(): string {
    for (const { bytes } of this.parts())
      for (const at of places(bytes, 'FreeBSD ')) {
        const [text] = BANNER.exec(String.fromCharCode(...bytes.subarray(at, at + 240))) ?? [];
        if (text !== undefined) return text.trim();
      }
    return '';
  }

  /** Addresses where the name of the first process may be. */
  *names(): Generator<bigint, void, undefined> {
    const bound = new Bound(this.space.memory, 'places with the name of the first process', MOST_NAMES);
    for (const { address, bytes } of this.parts())
      for (const at of places(bytes, 'kernel\0')) {
        if (!bound.take()) return;
        yield address + BigInt(at);
      }
  }
}

function* places(bytes: Uint8Array, text: string): Generator<number, void, undefined> {
  const pattern = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
  for (let at = bytes.indexOf(pattern[0]); at >= 0; at = bytes.indexOf(pattern[0], at + 1))
    if (pattern.every((byte, index) => bytes[at + index] === byte)) yield at;
}

/** The first process, and how processes are to be read: by symbols, or by its name; with offsets that hold for it. */
function firstProcess(
  image: Image,
  known: KnownOfGuest,
  release: string,
): { proc0: bigint; layout: Layout } | undefined {
  const { space } = image;
  const tried = layouts(known, release);
  const named = known.symbols?.address('proc0') ?? lastProcess(space, known.symbols?.address('allproc'));
  for (const layout of tried) {
    if (named !== undefined && isProc0(space, named, layout))
      return { proc0: named, layout: withParent(space, named, layout) };
    for (const name of image.names()) {
      const proc0 = name - BigInt(layout.comm);
      if (isProc0(space, proc0, layout)) return { proc0, layout: withParent(space, proc0, layout) };
    }
  }
  for (const name of image.names()) {
    const comm = inferName(space, name);
    if (comm === undefined) continue;
    const proc0 = name - BigInt(comm);
    const layout = inferLayout(space, listOf(space, proc0), comm);
    if (layout !== undefined && isProc0(space, proc0, layout)) return { proc0, layout };
  }
  return undefined;
}

/** The last of the list whose head (a pointer) is at `head`. */
function lastProcess(space: AddressSpace, head: bigint | undefined): bigint | undefined {
  const seen = new Set<bigint>();
  const bound = new Bound(space.memory, 'processes', MOST_ELEMENTS);
  let last: bigint | undefined;
  let at = head === undefined ? undefined : unlessRefused(() => space.u64(head));
  while (at !== undefined && at !== 0n && !seen.has(at) && bound.take()) {
    seen.add((last = at));
    at = unlessRefused(() => space.u64(last!));
  }
  return last;
}

/** Who is whose parent is not among the built-in offsets: the processes tell. */
function withParent(space: AddressSpace, proc0: bigint, layout: Layout): Layout {
  if (layout.parent !== undefined) return layout;
  return { ...layout, parent: inferLayout(space, listOf(space, proc0), layout.comm)?.parent };
}

/** Processes from the last of the list back to the first: LIST_ENTRY has the address of the pointer that leads to it, which is where the one before begins. */
function listOf(space: AddressSpace, proc0: bigint): bigint[] {
  const list = [proc0];
  const seen = new Set(list);
  const bound = new Bound(space.memory, 'processes', MOST_ELEMENTS);
  while (bound.take()) {
    const proc = list[list.length - 1];
    const before = unlessRefused(() => space.u64(proc + 8n));
    if (before === undefined || seen.has(before)) break;
    // The head is a pointer alone: what is behind it leads nowhere back
    const isProcess = unlessRefused(() => space.u64(before) === proc && space.u64(space.u64(before + 8n)) === before);
    if (isProcess !== true) break;
    seen.add(before);
    list.push(before);
  }
  return list;
}

function threadsOf(space: AddressSpace, proc: bigint): bigint[] {
  const list = new Set<bigint>();
  const bound = new Bound(space.memory, `threads of the process at 0x${proc.toString(16)}`, MOST_ELEMENTS);
  let thread = unlessRefused(() => space.u64(proc + THREADS));
  while (thread !== undefined && thread !== 0n && !list.has(thread) && bound.take()) {
    const at = thread;
    if (unlessRefused(() => space.u64(at + TD_PROC)) !== proc) break;
    list.add(at);
    thread = unlessRefused(() => space.u64(at + TD_PLIST));
  }
  return [...list];
}

/** Where numbers of threads are: one of the kernel's has the first, all are different and not below it. */
function inferTid(space: AddressSpace, processes: readonly bigint[]): number | undefined {
  const threads = processes.slice(0, 64).flatMap((proc) => threadsOf(space, proc).slice(0, 64));
  const own = threadsOf(space, processes[0]);
  const at = (thread: bigint, offset: number): number => unlessRefused(() => space.u32(thread + BigInt(offset))) ?? 0;
  for (let offset = TID_RANGE[0]; offset < TID_RANGE[1]; offset += 4) {
    if (!own.some((thread) => at(thread, offset) === FIRST_TID)) continue;
    const numbers = threads.map((thread) => at(thread, offset));
    if (numbers.every((tid) => tid >= FIRST_TID) && new Set(numbers).size === numbers.length) return offset;
  }
  return undefined;
}
