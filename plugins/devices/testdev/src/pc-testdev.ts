/**
 * The pc-testdev of QEMU, by which test programs exercise a machine's I/O: scratch ports, a page-flush port, lines they may
 * drive, and memory that is a device.
 */
import type { Device, InterruptLine, MmioDevice, PortDevice } from '@visorkit/machine';

/** Four bytes that read back what was written, in accesses of any size. */
export const SCRATCH_PORT = 0xe0;
export const SCRATCH_PORTS = 4;
/** Takes the address of a page that a hypervisor should forget its mapping of; there is nothing to forget here. */
export const FLUSH_PORT = 0xe4;
export const FLUSH_PORTS = 4;
/** A write to port 0x2000 + n sets interrupt line n high (not 0) or low (0). */
export const LINE_PORT = 0x2000;
export const LINE_COUNT = 24;
/** 64 KiB that answer like memory, through the device. */
export const MMIO_BASE = 0xff00_0000;
export const MMIO_SIZE = 0x1_0000;

export interface PcTestDeviceState {
  scratch: number;
  levels: boolean[];
  memory: Uint8Array;
}

export class PcTestDevice implements Device<PcTestDeviceState>, PortDevice, MmioDevice {
  readonly name = 'pc-testdev';
  readonly #memory = new Uint8Array(MMIO_SIZE);
  readonly #view = new DataView(this.#memory.buffer);
  readonly #levels = new Array<boolean>(LINE_COUNT).fill(false);
  #scratch = 0;

  /** @param lines the machine's interrupt lines 0 to 23 */
  constructor(private readonly lines: readonly InterruptLine[]) {}

  readPort(port: number, size: 1 | 2 | 4): number {
    if (port >= LINE_PORT) return 0;
    if (port >= FLUSH_PORT && port < FLUSH_PORT + FLUSH_PORTS) return 0;
    return ((this.#scratch >>> (8 * (port & 3))) & ones(size)) >>> 0;
  }

  writePort(port: number, size: 1 | 2 | 4, value: number): void {
    if (port >= LINE_PORT) return this.#setLine(port - LINE_PORT, value !== 0);
    if (port >= FLUSH_PORT && port < FLUSH_PORT + FLUSH_PORTS) return;
    const shift = 8 * (port & 3);
    const mask = ones(size) << shift;
    this.#scratch = ((this.#scratch & ~mask) | ((value << shift) & mask)) >>> 0;
  }

  readMmio(offset: number, size: 1 | 2 | 4): number {
    if (size === 1) return this.#memory[offset];
    return size === 2 ? this.#view.getUint16(offset, true) : this.#view.getUint32(offset, true);
  }

  writeMmio(offset: number, size: 1 | 2 | 4, value: number): void {
    if (size === 1) this.#memory[offset] = value;
    else if (size === 2) this.#view.setUint16(offset, value, true);
    else this.#view.setUint32(offset, value, true);
  }

  reset(): void {
    this.#scratch = 0;
    this.#memory.fill(0);
    for (let line = 0; line < LINE_COUNT; line++) this.#setLine(line, false);
  }

  save(): PcTestDeviceState {
    return { scratch: this.#scratch, levels: [...this.#levels], memory: this.#memory.slice() };
  }

  restore(state: PcTestDeviceState): void {
    this.#scratch = state.scratch;
    this.#memory.set(state.memory);
    state.levels.forEach((level, line) => this.#setLine(line, level));
  }

  #setLine(line: number, level: boolean): void {
    if (this.#levels[line] === level) return;
    this.#levels[line] = level;
    this.lines[line].set(level);
  }
}

const ones = (size: 1 | 2 | 4): number => (size === 4 ? 0xffff_ffff : (1 << (8 * size)) - 1);
