/**
 * The firmware configuration device of QEMU's machines (QEMU documentation, "Firmware Configuration (fw_cfg) Device"):
 * numbered items and named files that firmware and test programs read through a selector and a data port, or by DMA.
 */
import { fail, inject, injectable } from '@visorkit/core';
import { GuestMemoryToken, unsigned } from '@visorkit/machine';
import type { Device, FirmwareConfig, GuestMemory, PortDevice } from '@visorkit/machine';
import * as v from 'valibot';

export const FW_CFG_SELECTOR_PORT = 0x510;
export const FW_CFG_DATA_PORT = 0x511;
export const FW_CFG_DMA_PORT = 0x514;
/** Selector, data, two unused ports, and the eight of the DMA address. */
export const FW_CFG_PORTS = 12;

/** Selectors of the fixed items. */
export const FwCfgItem = {
  signature: 0x00,
  id: 0x01,
  uuid: 0x02,
  ramSize: 0x03,
  noGraphics: 0x04,
  cpuCount: 0x05,
  kernelAddress: 0x07,
  kernelSize: 0x08,
  initrdAddress: 0x0a,
  initrdSize: 0x0b,
  bootDevice: 0x0c,
  numa: 0x0d,
  bootMenu: 0x0e,
  maxCpus: 0x0f,
  kernelEntry: 0x10,
  kernelData: 0x11,
  initrdData: 0x12,
  kernelCommandLineAddress: 0x13,
  kernelCommandLineSize: 0x14,
  kernelCommandLine: 0x15,
  setupAddress: 0x16,
  setupSize: 0x17,
  setupData: 0x18,
  fileDirectory: 0x19,
  irq0Override: 0x8002,
} as const;

/** Feature bits of the ID item: the port interface, and DMA. */
const ID_FEATURES = 1 | 2;
const FILE_FIRST = 0x20;
const FILE_LIMIT = 0x1000;
const FILE_NAME_SIZE = 56;
const DIRECTORY_ENTRY_SIZE = 64;
/** What a read of the DMA address register gives, big endian: "QEMU CFG". */
const DMA_SIGNATURE_HIGH = 0x5145_4d55;
const DMA_SIGNATURE_LOW = 0x2043_4647;

/** DMA control word. */
const DMA_ERROR = 1 << 0;
const DMA_READ = 1 << 1;
const DMA_SKIP = 1 << 2;
const DMA_SELECT = 1 << 3;
const DMA_WRITE = 1 << 4;
const DMA_REQUEST_SIZE = 16;

const EMPTY = new Uint8Array(0);

export interface FwCfgState {
  selected: number;
  offset: number;
  dmaHigh: number;
}

/** The device. Items are the machine's description and not part of its state: every machine makes its own. */
@injectable()
export class FwCfg implements Device<FwCfgState>, PortDevice, FirmwareConfig {
  readonly name = 'fw-cfg';
  readonly schema = v.strictObject({ selected: unsigned(16), offset: unsigned(53), dmaHigh: unsigned(32) });
  readonly #items = new Map<number, Uint8Array>();
  readonly #files = new Map<string, Uint8Array | (() => Uint8Array)>();
  /** The selected item, once it has been looked at. */
  #current: Uint8Array | undefined;
  #selected = 0;
  #offset = 0;
  #dmaHigh = 0;

  constructor(@inject(GuestMemoryToken) private readonly memory: GuestMemory) {
    this.setItem(FwCfgItem.signature, ascii('QEMU'));
    this.setItem(FwCfgItem.id, number(ID_FEATURES, 4));
  }

  setItem(selector: number, data: Uint8Array): void {
    this.#items.set(selector & 0xffff, data);
    this.#current = undefined;
  }

  addFile(name: string, data: Uint8Array | (() => Uint8Array)): void {
    if (name.length === 0 || name.length >= FILE_NAME_SIZE) {
      fail(
        'FW_CFG_FILE_NAME',
        `The fw_cfg file name "${name}" has ${name.length} characters; 1 to ${FILE_NAME_SIZE - 1} are possible.`,
        { name },
      );
    }
    if (!this.#files.has(name) && this.#files.size === FILE_LIMIT)
      fail('FW_CFG_FILES', `fw_cfg holds at most ${FILE_LIMIT} files; "${name}" is one too many.`, { name });
    this.#files.set(name, data);
    this.#current = undefined;
  }

  /** The bytes of a file, undefined when there is none of this name. */
  file(name: string): Uint8Array | undefined {
    const data = this.#files.get(name);
    return typeof data === 'function' ? data() : data;
  }

  readPort(port: number, size: 1 | 2 | 4): number {
    if (port >= FW_CFG_DMA_PORT) return this.#readDmaPort(port, size);
    if (port !== FW_CFG_DATA_PORT) return 0;
    let value = 0;
    for (let byte = 0; byte < size; byte++) value |= this.#next() << (8 * byte);
    return value >>> 0;
  }

  writePort(port: number, size: 1 | 2 | 4, value: number): void {
    if (port === FW_CFG_SELECTOR_PORT && size !== 4) this.#select(value & 0xffff);
    else if (port === FW_CFG_DMA_PORT && size === 4) this.#dmaHigh = swap(value);
    else if (port === FW_CFG_DMA_PORT + 4 && size === 4) {
      const high = this.#dmaHigh;
      this.#dmaHigh = 0;
      this.#dma(high * 2 ** 32 + swap(value));
    }
    // The data port was writable once; no item is.
  }

  reset(): void {
    this.#select(0);
    this.#dmaHigh = 0;
  }

  save(): FwCfgState {
    return { selected: this.#selected, offset: this.#offset, dmaHigh: this.#dmaHigh };
  }

  restore(state: FwCfgState): void {
    this.#select(state.selected);
    this.#offset = state.offset;
    this.#dmaHigh = state.dmaHigh;
  }

  #select(selector: number): void {
    // Bit 14 once asked for write access.
    this.#selected = selector & 0xbfff;
    this.#offset = 0;
    this.#current = undefined;
  }

  #item(): Uint8Array {
    return (this.#current ??= this.#find(this.#selected));
  }

  /** The next byte of the selected item; zeros after its end. */
  #next(): number {
    const item = this.#item();
    return this.#offset < item.length ? item[this.#offset++] : 0;
  }

  #readDmaPort(port: number, size: number): number {
    const bytes = [...bigEndian(DMA_SIGNATURE_HIGH, 4), ...bigEndian(DMA_SIGNATURE_LOW, 4)];
    let value = 0;
    for (let byte = 0; byte < size; byte++) value |= (bytes[port - FW_CFG_DMA_PORT + byte] ?? 0) << (8 * byte);
    return value >>> 0;
  }

  /** Carries out the request at `gpa`: control word, length and address, all big endian; the control word is cleared. */
  #dma(gpa: number): void {
    if (!this.memory.contains(gpa, DMA_REQUEST_SIZE)) return; // nowhere to report an error to
    const request = new DataView(this.memory.read(gpa, DMA_REQUEST_SIZE).buffer);
    const control = request.getUint32(0);
    const length = request.getUint32(4);
    const address = request.getUint32(8) * 2 ** 32 + request.getUint32(12);
    if (control & DMA_SELECT) this.#select(control >>> 16);
    let status = 0;
    if (control & DMA_READ) status = this.#dmaRead(address, length) ? 0 : DMA_ERROR;
    else if (control & DMA_WRITE)
      status = DMA_ERROR; // no item can be written
    else if (control & DMA_SKIP) this.#offset = Math.min(this.#offset + length, this.#item().length);
    this.memory.writeU32(gpa, swap(status));
  }

  /** Copies from the item, and zeros where it has ended. False when the target is not memory. */
  #dmaRead(address: number, length: number): boolean {
    if (!this.memory.contains(address, length)) return length === 0;
    const part = this.#item().subarray(this.#offset, this.#offset + length);
    this.memory.write(address, part);
    if (part.length < length) this.memory.fill(address + part.length, length - part.length, 0);
    this.#offset += part.length;
    return true;
  }

  /** Files are numbered in the order of their names, as the directory lists them. */
  #find(selector: number): Uint8Array {
    if (selector === FwCfgItem.fileDirectory) return this.#directory();
    if (selector < FILE_FIRST || selector >= FILE_FIRST + this.#files.size) return this.#items.get(selector) ?? EMPTY;
    return this.file(this.#names()[selector - FILE_FIRST]) ?? EMPTY;
  }

  #names(): string[] {
    return [...this.#files.keys()].sort();
  }

  #directory(): Uint8Array {
    const names = this.#names();
    const directory = new Uint8Array(4 + names.length * DIRECTORY_ENTRY_SIZE);
    const view = new DataView(directory.buffer);
    view.setUint32(0, names.length);
    names.forEach((name, index) => {
      const entry = 4 + index * DIRECTORY_ENTRY_SIZE;
      view.setUint32(entry, this.file(name)!.length);
      view.setUint16(entry + 4, FILE_FIRST + index);
      directory.set(ascii(name), entry + 8);
    });
    return directory;
  }
}

/** A number as items hold it, little endian. */
export function number(value: number, bytes: 1 | 2 | 4 | 8): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, index) => Math.floor(value / 2 ** (8 * index)) & 0xff);
}

const ascii = (text: string): Uint8Array => Uint8Array.from(text, (character) => character.charCodeAt(0));
const bigEndian = (value: number, bytes: number): number[] =>
  Array.from({ length: bytes }, (_, index) => (value >>> (8 * (bytes - 1 - index))) & 0xff);
const swap = (value: number): number =>
  (((value & 0xff) << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) | (value >>> 24)) >>> 0;
