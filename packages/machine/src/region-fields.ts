/** The fields of a VMCS in its region, while it is not current: as `VmcsRegions` says where each is. */
import type { VmcsFields } from '@visorkit/core';
import type { VmcsRegions } from './vmcs-regions.js';

const TWO_32 = 0x1_0000_0000;
/** Encodings are below this. */
const ENCODINGS = 0x7000;

/** Where fields are, by encoding: offset in bytes, and bytes of the field. Looked up at every access, so that none calls `offsetOf`. */
interface Places {
  readonly offsets: Int16Array;
  readonly sizes: Uint8Array;
}

const placesOf = new WeakMap<VmcsRegions['offsetOf'], Places>();

function places({ offsetOf, bytesOf }: Pick<VmcsRegions, 'offsetOf' | 'bytesOf'>): Places {
  let found = placesOf.get(offsetOf);
  if (found === undefined) {
    found = { offsets: new Int16Array(ENCODINGS), sizes: new Uint8Array(ENCODINGS) };
    for (let field = 0; field < ENCODINGS; field++) {
      found.offsets[field] = offsetOf(field);
      found.sizes[field] = (field & 1) !== 0 ? 4 : bytesOf(field);
    }
    placesOf.set(offsetOf, found);
  }
  return found;
}

/** One VMCS, and another when `page` is changed. */
export class RegionFields implements VmcsFields {
  /** Host-physical address of the region; -1 none, and nothing may be read or written then. */
  page: number;
  readonly #words: Uint32Array;
  readonly #halves: Uint16Array;
  readonly #offsets: Int16Array;
  readonly #sizes: Uint8Array;

  constructor(regions: Pick<VmcsRegions, 'words' | 'offsetOf' | 'bytesOf'>, page = -1) {
    this.page = page;
    this.#words = regions.words;
    this.#halves = new Uint16Array(regions.words.buffer);
    ({ offsets: this.#offsets, sizes: this.#sizes } = places(regions));
  }

  /** A 16- or 32-bit field, or the low half of another; with an odd encoding the high half. */
  read32(field: number): number {
    const at = this.page + this.#offsets[field];
    return this.#sizes[field] === 2 ? this.#halves[at >>> 1] : this.#words[at >>> 2];
  }
  /** Writes a field; a wider one gets 0 above bit 31, unless the encoding is that of its high half. */
  write32(field: number, value: number): void {
    const at = this.page + this.#offsets[field],
      bytes = this.#sizes[field];
    if (bytes === 2) this.#halves[at >>> 1] = value;
    else {
      this.#words[at >>> 2] = value;
      if (bytes === 8) this.#words[(at >>> 2) + 1] = 0;
    }
  }
  read64(field: number): bigint {
    if (this.#sizes[field] !== 8) return BigInt(this.read32(field));
    return BigInt(this.read32(field)) | (BigInt(this.high(field)) << 32n);
  }
  write64(field: number, value: bigint): void {
    const low = Number(value & 0xffff_ffffn);
    if (this.#sizes[field] !== 8) return this.write32(field, low);
    const at = (this.page + this.#offsets[field]) >>> 2;
    this.#words[at] = low;
    this.#words[at + 1] = Number((value >> 32n) & 0xffff_ffffn);
  }

  /** Bits 63:32. */
  high(field: number): number {
    return this.#words[((this.page + this.#offsets[field]) >>> 2) + 1];
  }
  /** A 64-bit or natural-width field as an address: exact below 2^53. */
  address(field: number): number {
    const at = (this.page + this.#offsets[field]) >>> 2;
    return this.#words[at] + this.#words[at + 1] * TWO_32;
  }
  /** A 64-bit or natural-width field from its halves. */
  writeHalves(field: number, low: number, high: number): void {
    const at = (this.page + this.#offsets[field]) >>> 2;
    this.#words[at] = low;
    this.#words[at + 1] = high;
  }
  /** The field gets the value of one as wide, the same unless another is named, of another VMCS. */
  copy(field: number, from: RegionFields, source = field): void {
    const to = (this.page + this.#offsets[field]) >>> 2,
      at = (from.page + this.#offsets[source]) >>> 2;
    this.#words[to] = this.#words[at];
    this.#words[to + 1] = this.#words[at + 1];
  }
}
