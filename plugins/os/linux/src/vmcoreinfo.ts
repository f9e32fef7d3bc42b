/**
 * VMCOREINFO (Linux, Documentation/admin-guide/kdump/vmcoreinfo.rst): lines of text that the kernel keeps for who reads a dump of it. It says
 * where the kernel lies, and where its table of symbols is.
 */
import { Bound, searched } from '@visorkit/vmi';
import type { PhysicalMemory } from '@visorkit/vmi';

/** The text begins with this key. */
const BEGIN = new TextEncoder().encode('OSRELEASE=');
/** Shorter texts are leftovers: a page that was used again, or the key in somebody's program. */
const LEAST = 800;
const MOST = 16 << 10;
/** Places with the key that are looked at: a sound guest has some ten, and one that is full of them must not hold its reader up. */
const MOST_PLACES = 10_000;
const BLOCK = 1 << 20;

export class VmCoreInfo {
  readonly #values = new Map<string, string>();

  constructor(readonly text: string) {
    for (const line of text.split('\n')) {
      const at = line.indexOf('=');
      if (at > 0) this.#values.set(line.slice(0, at), line.slice(at + 1));
    }
  }

  /** The kernel's version, as `uname -r` has it. */
  get release(): string {
    return this.#values.get('OSRELEASE') ?? '';
  }

  /** Linear address of a symbol; undefined when it is not among those that the text has. */
  symbol(name: string): bigint | undefined {
    return hexadecimal(this.#values.get(`SYMBOL(${name})`));
  }

  /** What the kernel was moved by from where it was linked. */
  get offset(): bigint | undefined {
    return hexadecimal(this.#values.get('KERNELOFFSET'));
  }

  /** A number that the text has in decimal. */
  number(name: string): bigint | undefined {
    return decimal(this.#values.get(`NUMBER(${name})`));
  }

  /** Bytes of a structure. */
  sizeOf(structure: string): number | undefined {
    return small(this.#values.get(`SIZE(${structure})`));
  }

  /** Offset of a field in bytes, by the path that the text has: `printk_info.text_len`. */
  offsetOf(path: string): number | undefined {
    return small(this.#values.get(`OFFSET(${path})`));
  }

  /** A line of another kind, by its name: `CONFIG_X86_PAE`. */
  value(name: string): string | undefined {
    return this.#values.get(name);
  }
}

const hexadecimal = (text: string | undefined): bigint | undefined =>
  text !== undefined && /^[0-9a-f]{1,16}$/.test(text) ? BigInt(`0x${text}`) : undefined;

const decimal = (text: string | undefined): bigint | undefined =>
  text !== undefined && /^-?\d+$/.test(text) ? BigInt(text) : undefined;
const small = (text: string | undefined): number | undefined =>
  text !== undefined && /^\d{1,9}$/.test(text) ? Number(text) : undefined;

/** Where the text stands in a page of its own, and behind the head of an ELF note: kernels since 4.14 give it such pages. */
const IN_PAGE = [0, 24] as const;
const PAGE = 4096;
/** 'OSRE', as a number. */
const BEGIN_WORD = 0x4552_534f;

/**
 * Every text in memory that looks whole; there are copies, and one may come twice. The first that come are those at the start of a page, which are found by a look
 * at each page. Returns whether all of memory has been searched; it stops where too many places have the key.
 */
export function* findVmCoreInfo(memory: PhysicalMemory): Generator<VmCoreInfo, boolean, undefined> {
  const text = new Uint8Array(MOST);
  for (const { start, end } of searched(memory, 'VMCOREINFO')) {
    for (let page = Math.ceil(start / PAGE) * PAGE; page < end; page += PAGE) {
      for (const place of IN_PAGE) {
        if (memory.u32(page + place) !== BEGIN_WORD) continue;
        const bytes = text.subarray(0, memory.read(page + place, text));
        const info = find(bytes, 0) === 0 ? textAt(bytes, 0) : undefined;
        if (info !== undefined) yield info;
      }
    }
  }
  return yield* searchEverywhere(memory);
}

function* searchEverywhere(memory: PhysicalMemory): Generator<VmCoreInfo, boolean, undefined> {
  const bound = new Bound(memory, 'places that have the key of VMCOREINFO', MOST_PLACES);
  const block = new Uint8Array(BLOCK + MOST);
  for (const { start, end, range } of searched(memory, 'VMCOREINFO that is nowhere in a page of its own')) {
    const bytes = block.subarray(0, memory.read(start, block.subarray(0, Math.min(block.length, range.end - start))));
    for (let place = find(bytes, 0); place >= 0 && place < end - start; place = find(bytes, place + 1)) {
      if (!bound.take()) return false;
      const info = textAt(bytes, place);
      if (info !== undefined) yield info;
    }
  }
  return true;
}

function textAt(bytes: Uint8Array, place: number): VmCoreInfo | undefined {
  const end = bytes.subarray(place, place + MOST).indexOf(0);
  if (end < LEAST) return undefined;
  const text = String.fromCharCode(...bytes.subarray(place, place + end));
  return /^[\x20-\x7e\n]+$/.test(text) && text.includes('\nSYMBOL(') ? new VmCoreInfo(text) : undefined;
}

/** Place of the first key at or behind `from`, -1 for none. */
function find(bytes: Uint8Array, from: number): number {
  for (let at = bytes.indexOf(BEGIN[0], from); at >= 0; at = bytes.indexOf(BEGIN[0], at + 1)) {
    let same = 1;
    while (same < BEGIN.length && bytes[at + same] === BEGIN[same]) same++;
    if (same === BEGIN.length) return at;
  }
  return -1;
}
