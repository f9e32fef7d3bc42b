/**
 * Extended message-signalled interrupts of a PCI function (PCI Local Bus specification 3.0, 6.8.2): 1 to 2048 vectors, each with
 * address, data and mask bit in a table, and pending bits; both lie in the memory of a base address register.
 */
import { fail } from '@visorkit/core';
import * as v from 'valibot';
import type { MmioDevice } from './mmio-bus.js';
import type { PciConfigSpace } from './pci-config.js';
import type { SendMessage } from './pci-msi.js';
import type { AccessSize } from './port-bus.js';
import { listOf, unsigned } from './schemas.js';

const CAPABILITY = 0x11;
const LENGTH = 12;
/** Offsets in the capability. */
const CONTROL = 2;
const TABLE = 4;
const PENDING_BITS = 8;
/** Message control. */
const ENABLE = 1 << 15;
const FUNCTION_MASK = 1 << 14;
/** Words of a table entry, and the mask bit of its vector control. */
const ENTRY_WORDS = 4;
const [ADDRESS, ADDRESS_HIGH, DATA, VECTOR_CONTROL] = [0, 1, 2, 3];
const MASKED = 1;
const ENTRY_BYTES = 16;
const MOST = 2048;

/** Where the table and the pending bits are. */
export interface MsixPlace {
  /** Number of the base address register. */
  readonly bar: number;
  /** Offsets in it, multiples of 8. */
  readonly table: number;
  readonly pendingBits: number;
}

export interface MsixState {
  /** Address, its high half, data and vector control of each vector. */
  table: number[];
  /** Words of 32 pending bits. */
  pending: number[];
}

export class PciMsix {
  readonly #at: number;
  readonly #table: Uint32Array;
  readonly #pending: Uint32Array;
  readonly schema: v.GenericSchema<MsixState>;

  /** Throws `PCI_VECTORS` and `PCI_MSIX_PLACE`. */
  constructor(
    private readonly config: PciConfigSpace,
    readonly vectors: number,
    readonly place: MsixPlace,
    private readonly send: SendMessage,
  ) {
    if (!Number.isInteger(vectors) || vectors < 1 || vectors > MOST) {
      fail('PCI_VECTORS', `${config.name} asks for ${vectors} MSI-X vectors; 1 to ${MOST} are possible.`, { vectors });
    }
    this.#table = new Uint32Array(vectors * ENTRY_WORDS);
    // Pending bits come in words of 64
    this.#pending = new Uint32Array(2 * Math.ceil(vectors / 64));
    this.schema = v.strictObject({
      table: listOf(this.#table.length, unsigned(32)),
      pending: listOf(this.#pending.length, unsigned(32)),
    });
    const { bar, table, pendingBits } = place;
    const overlap = table < pendingBits + this.pendingLength && pendingBits < table + this.tableLength;
    if (table % 8 !== 0 || pendingBits % 8 !== 0 || overlap) {
      fail(
        'PCI_MSIX_PLACE',
        `${config.name} has its MSI-X table at ${table} and its pending bits at ${pendingBits}; multiples of 8 are needed, and room for ${this.tableLength} and ${this.pendingLength} bytes.`,
        { table, pendingBits },
      );
    }
    const at = (this.#at = config.addCapability(CAPABILITY, LENGTH));
    config.set(at + CONTROL, 2, vectors - 1);
    config.allow(at + CONTROL, 2, ENABLE | FUNCTION_MASK);
    config.set(at + TABLE, 4, table + bar);
    config.set(at + PENDING_BITS, 4, pendingBits + bar);
    this.reset();
  }

  /** Bytes of the table and of the pending bits. */
  get tableLength(): number {
    return this.vectors * ENTRY_BYTES;
  }
  get pendingLength(): number {
    return this.#pending.length * 4;
  }

  get enabled(): boolean {
    return (this.#control() & ENABLE) !== 0;
  }

  /** Sends a vector's message, or notes it as pending while it or the whole function is masked. */
  signal(vector: number): void {
    if (this.#isMasked(vector)) this.#pending[vector >> 5] |= 1 << (vector & 31);
    else this.#sendVector(vector);
  }

  /** Software wrote the table or the control: what is pending and no longer masked is sent. */
  update(): void {
    if (!this.enabled) return;
    for (let vector = 0; vector < this.vectors; vector++) {
      const bit = 1 << (vector & 31);
      if (!(this.#pending[vector >> 5] & bit) || this.#isMasked(vector)) continue;
      this.#pending[vector >> 5] &= ~bit;
      this.#sendVector(vector);
    }
  }

  /** The table as memory. Software accesses whole words; parts of words are taken as such. */
  readonly table: MmioDevice = {
    readMmio: (offset, size) => readPart(this.#table, offset, size),
    writeMmio: (offset, size, value) => {
      writePart(this.#table, offset, size, value);
      this.update();
    },
  };

  /** The pending bits as memory: read only. */
  readonly pendingBits: MmioDevice = {
    readMmio: (offset, size) => readPart(this.#pending, offset, size),
    writeMmio: () => {},
  };

  reset(): void {
    this.#pending.fill(0);
    this.#table.fill(0);
    for (let vector = 0; vector < this.vectors; vector++) this.#table[vector * ENTRY_WORDS + VECTOR_CONTROL] = MASKED;
  }

  save(): MsixState {
    return { table: [...this.#table], pending: [...this.#pending] };
  }

  restore({ table, pending }: MsixState): void {
    this.#table.set(table);
    this.#pending.set(pending);
  }

  #isMasked(vector: number): boolean {
    return (
      (this.#control() & FUNCTION_MASK) !== 0 || (this.#table[vector * ENTRY_WORDS + VECTOR_CONTROL] & MASKED) !== 0
    );
  }

  #sendVector(vector: number): void {
    if (!this.config.busMaster) return;
    const entry = vector * ENTRY_WORDS;
    const address = this.#table[entry + ADDRESS_HIGH] * 2 ** 32 + ((this.#table[entry + ADDRESS] & ~3) >>> 0);
    this.send(address, this.#table[entry + DATA]);
  }

  #control(): number {
    return this.config.readConfig(this.#at + CONTROL, 2);
  }
}

function readPart(words: Uint32Array, offset: number, size: AccessSize): number {
  let value = 0;
  for (let byte = 0; byte < size; byte++) {
    const at = offset + byte;
    value |= ((words[at >> 2] >>> (8 * (at & 3))) & 0xff) << (8 * byte);
  }
  return value >>> 0;
}

function writePart(words: Uint32Array, offset: number, size: AccessSize, value: number): void {
  for (let byte = 0; byte < size; byte++) {
    const at = offset + byte;
    const shift = 8 * (at & 3);
    words[at >> 2] = (words[at >> 2] & ~(0xff << shift)) | (((value >>> (8 * byte)) & 0xff) << shift);
  }
}
