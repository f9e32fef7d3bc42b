/**
 * The pci-testdev of QEMU (QEMU documentation, "QEMU PCI test device"): a function whose BARs begin with a header that
 * names a place to write to, and count the writes that hit it. Test programs measure accesses with it.
 */
import { inject, injectable, token } from '@visorkit/core';
import type { Token } from '@visorkit/core';
import { PciCommand, PciEndpointsToken, PciHeader, unsigned, wholeNumber } from '@visorkit/machine';
import type { Device, PciEndpoint, PciEndpointState, PciEndpoints } from '@visorkit/machine';
import * as v from 'valibot';

const IDENTITY = {
  vendor: 0x1b36,
  device: 0x0005,
  classCode: 0x00_ff00,
  subsystemVendor: 0x1af4,
  subsystem: 0x1100,
} as const;
/** The header lies in the first half of a BAR, the places to write to in the second. */
const MEMORY_HALF = 2048;
const IO_HALF = 128;
export const MEMORY_BAR = { index: 0, size: 2 * MEMORY_HALF } as const;
export const IO_BAR = { index: 1, size: 2 * IO_HALF } as const;

/** Offsets in the header. */
const HEADER_TEST = 0;
const HEADER_WIDTH = 1;
const HEADER_OFFSET = 4;
const HEADER_DATA = 8;
const HEADER_COUNT = 12;
const HEADER_NAME = 16;

/** What the tests write, and whether only that value counts. */
const DATA_ANY = 0xce;
const DATA_EXACT = 0xfa;
const TESTS = ['no-eventfd', 'wildcard-eventfd', 'datamatch-eventfd'] as const;
const MATCHES_DATA = (test: number): boolean => TESTS[test] !== 'wildcard-eventfd';

type Kind = 'mmio' | 'portio';

export interface PciTestDeviceState {
  pci: PciEndpointState;
  current: { kind: Kind; test: number } | null;
  count: number;
}

/** Where it is. */
export interface PciTestSettings {
  /** The first free one when undefined. */
  readonly slot: number | undefined;
  /** Where the BARs are before software moves them, as a firmware would have placed them. */
  readonly memoryAddress: number;
  readonly ioAddress: number;
}

export const PciTestSettingsToken: Token<PciTestSettings> = token('pci-test-settings');

@injectable()
export class PciTestDevice implements Device<PciTestDeviceState> {
  readonly name = 'pci-testdev';
  readonly schema: v.GenericSchema<PciTestDeviceState>;
  readonly #pci: PciEndpoint;
  #current: { kind: Kind; test: number } | undefined;
  #count = 0;

  constructor(
    @inject(PciTestSettingsToken) { slot, memoryAddress, ioAddress }: PciTestSettings,
    @inject(PciEndpointsToken) endpoints: PciEndpoints,
  ) {
    const pci = (this.#pci = endpoints.make({ name: this.name, ...IDENTITY, slot }));
    pci.addMemory(
      MEMORY_BAR.index,
      { size: MEMORY_BAR.size },
      {
        readMmio: (offset, size) => this.#read(offset, size),
        writeMmio: (offset, size, value) => this.#write('mmio', offset, size, value),
      },
    );
    pci.addPorts(IO_BAR.index, IO_BAR.size, {
      readPort: (port, size) => this.#read(port, size),
      writePort: (port, size, value) => this.#write('portio', port, size, value),
    });
    pci.config.set(PciHeader.bar0 + 4 * MEMORY_BAR.index, 4, memoryAddress);
    pci.config.set(PciHeader.bar0 + 4 * IO_BAR.index, 4, ioAddress | 1);
    pci.config.set(PciHeader.command, 2, PciCommand.io | PciCommand.memory);
    pci.reset();
    this.schema = v.strictObject({
      pci: pci.schema,
      current: v.nullable(
        v.strictObject({ kind: v.picklist(['mmio', 'portio']), test: wholeNumber(0, TESTS.length - 1) }),
      ),
      count: unsigned(32),
    });
  }

  /** Writes that hit since the test was started. */
  get count(): number {
    return this.#count;
  }

  reset(): void {
    this.#current = undefined;
    this.#count = 0;
    this.#pci.reset();
  }

  save(): PciTestDeviceState {
    return { pci: this.#pci.save(), current: this.#current ? { ...this.#current } : null, count: this.#count };
  }

  restore(state: PciTestDeviceState): void {
    this.#pci.restore(state.pci);
    this.#current = state.current ?? undefined;
    this.#count = state.count;
  }

  #read(offset: number, size: number): number {
    const header = this.#header();
    let value = 0;
    for (let byte = 0; byte < size; byte++) value |= (header[offset + byte] ?? 0) << (8 * byte);
    return value >>> 0;
  }

  #write(kind: Kind, offset: number, size: number, value: number): void {
    for (let byte = 0; byte < size; byte++) this.#writeByte(kind, offset + byte, (value >>> (8 * byte)) & 0xff);
  }

  #writeByte(kind: Kind, offset: number, value: number): void {
    if (offset === HEADER_TEST) {
      this.#current = value < TESTS.length ? { kind, test: value } : undefined;
      this.#count = 0;
      return;
    }
    const current = this.#current;
    if (current === undefined || offset !== testOffset(current.kind, current.test)) return;
    if (MATCHES_DATA(current.test) && value !== DATA_EXACT) return;
    this.#count = (this.#count + 1) >>> 0;
  }

  /** The header of the present test; empty when none was started. */
  #header(): Uint8Array {
    const current = this.#current;
    if (current === undefined) return new Uint8Array(0);
    const name = `${current.kind}-${TESTS[current.test]}`;
    const bytes = new Uint8Array(HEADER_NAME + name.length + 1);
    const view = new DataView(bytes.buffer);
    bytes[HEADER_TEST] = (current.kind === 'mmio' ? 0 : TESTS.length) + current.test;
    bytes[HEADER_WIDTH] = 1;
    view.setUint32(HEADER_OFFSET, testOffset(current.kind, current.test), true);
    bytes[HEADER_DATA] = MATCHES_DATA(current.test) ? DATA_EXACT : DATA_ANY;
    view.setUint32(HEADER_COUNT, this.#count, true);
    for (let index = 0; index < name.length; index++) bytes[HEADER_NAME + index] = name.charCodeAt(index);
    return bytes;
  }
}

/** The byte that a test has to write to; the tests' bytes follow each other in the BAR's second half. */
const testOffset = (kind: Kind, test: number): number =>
  kind === 'mmio' ? MEMORY_HALF + test : IO_HALF + TESTS.length + test;
