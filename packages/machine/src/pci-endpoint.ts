/**
 * What the author of a PCI device works with: a function on the bus whose base address registers are claimed on the machine's
 * buses while software has them decoded, with an interrupt pin and message-signalled interrupts.
 */
import { fail } from '@visorkit/core';
import type { Logger, Token } from '@visorkit/core';
import { token } from '@visorkit/core';
import * as v from 'valibot';
import type { LineSource } from './interrupts.js';
import type { LocalApics } from './local-apic.js';
import type { MmioBus, MmioDevice } from './mmio-bus.js';
import type { PciBar } from './pci-bar.js';
import { PCI_CONFIG_STATE, PciConfigSpace } from './pci-config.js';
import type { PciConfigState, PciIdentity } from './pci-config.js';
import { PciCommand, PciHeader } from './pci-header.js';
import { PciInterruptPin, pciPinGsi } from './pci-interrupts.js';
import { PciMsi } from './pci-msi.js';
import { PciMsix } from './pci-msix.js';
import type { MsixPlace, MsixState } from './pci-msix.js';
import type { PciBus } from './pci.js';
import type { PortBus, PortDevice } from './port-bus.js';

export interface PciEndpointOptions extends PciIdentity {
  readonly name: string;
  /** The first free one unless given. */
  readonly slot?: number;
  /** Function in the slot, 0 to 7; 0 unless given. */
  readonly function?: number;
}

export interface PciEndpointState {
  config: PciConfigState;
  /** Whether the device asks for its pin's interrupt. */
  pin: boolean;
  msix: MsixState | null;
}

/** What a machine gives its PCI devices. */
export interface PciSurroundings {
  readonly bus: PciBus;
  readonly ports: PortBus;
  readonly mmio: MmioBus;
  readonly lines: LineSource;
  /** Undefined in a machine without local APICs: messages go nowhere. */
  readonly apics?: Pick<LocalApics, 'sendMessage'>;
  readonly logger: Pick<Logger, 'warn'>;
  /** Registers what to do when the plugin that owns the device is disposed of. */
  onDispose(undo: () => void): void;
}

/** Makes endpoints for one plugin; they leave the bus when the plugin is disposed of. */
export interface PciEndpoints {
  /** Throws `PCI_SLOT_RANGE` and `PCI_SLOT_CONFLICT`. */
  make(options: PciEndpointOptions): PciEndpoint;
}

/** Each plugin has its own. */
export const PciEndpointsToken: Token<PciEndpoints> = token('pci-endpoints', '@visorkit/devices-pc');

/** Addresses of interrupt messages (SDM 3A, 11.11.1). A message to any other address would be a write to memory, which no device here makes. */
const MESSAGES = { first: 0xfee0_0000, last: 0xfeef_ffff } as const;

export class PciEndpoint {
  readonly config: PciConfigSpace;
  readonly slot: number;
  #pin: PciInterruptPin | undefined;
  #msi: PciMsi | undefined;
  #msix: PciMsix | undefined;
  /** The memory of base address registers, by number, with the parts in which something else answers. */
  readonly #memory = new Map<number, BarMemory>();

  constructor(
    options: PciEndpointOptions,
    private readonly around: PciSurroundings,
  ) {
    const { name, interruptPin = 0 } = options;
    this.config = new PciConfigSpace(name, options);
    const { slot, detach } = around.bus.attach(this.config, options.slot, options.function);
    around.onDispose(detach);
    this.slot = slot;
    if (interruptPin > 0) {
      const control = {
        showInterrupt: (pending: boolean) => this.config.showInterrupt(pending),
        isPinOn: () => this.#isPinOn(),
      };
      this.#pin = new PciInterruptPin(around.lines.line(pciPinGsi(slot, interruptPin - 1)), control);
    }
    this.config.onWrite = () => this.#update();
  }

  /** A base address register of ports; the device is told ports from 0 on. Throws `PCI_BAR_SIZE` and `PCI_BAR_INDEX`. */
  addPorts(index: number, size: number, device: PortDevice): void {
    const claim = this.around.ports.movable(size, device, this.config.name, (why) => this.#warn(index, why));
    this.around.onDispose(() => claim.move(undefined));
    this.config.addBar(index, { kind: 'io', size, place: (address) => claim.move(address) });
  }

  /** A base address register of memory; with 64 bits it takes the next one too. Throws `PCI_BAR_SIZE` and `PCI_BAR_INDEX`. */
  addMemory(index: number, options: Pick<PciBar, 'size' | 'bits' | 'prefetchable'>, device: MmioDevice): void {
    const memory = new BarMemory(options.size, device);
    const claim = this.around.mmio.movable(options.size, memory, this.config.name, (why) => this.#warn(index, why));
    this.around.onDispose(() => claim.move(undefined));
    this.config.addBar(index, { ...options, kind: 'memory', place: (address) => claim.move(address) });
    this.#memory.set(index, memory);
  }

  /** Offers `vectors` (1, 2, 4, 8, 16 or 32) message-signalled interrupts. Throws `PCI_VECTORS`. */
  addMsi(vectors: number): void {
    this.#msi = new PciMsi(this.config, vectors, this.#send);
  }

  /**
   * Offers `vectors` (1 to 2048) extended message-signalled interrupts. The table and the pending bits are in the memory of base address
   * register `bar`, at the given offsets; if the device has that register already, they answer there instead of the device, else it is added.
   * Throws `PCI_VECTORS` and `PCI_MSIX_PLACE`.
   */
  addMsix(vectors: number, { bar, table = 0, pendingBits }: Partial<MsixPlace> & { bar: number }): void {
    const tableSize = 16 * vectors;
    const place = { bar, table, pendingBits: pendingBits ?? table + tableSize };
    const msix = new PciMsix(this.config, vectors, place, this.#send);
    const end = Math.max(place.table + msix.tableLength, place.pendingBits + msix.pendingLength);
    if (!this.#memory.has(bar)) {
      this.addMemory(bar, { size: Math.max(4096, 2 ** Math.ceil(Math.log2(end))) }, NOTHING);
    }
    const memory = this.#memory.get(bar)!;
    if (end > memory.size) {
      fail(
        'PCI_MSIX_PLACE',
        `The MSI-X table and pending bits of ${this.config.name} end at ${end}, behind the ${memory.size} bytes of base address register ${bar}.`,
        { bar, end },
      );
    }
    memory.overlay(place.table, msix.tableLength, msix.table);
    memory.overlay(place.pendingBits, msix.pendingLength, msix.pendingBits);
    this.#msix = msix;
  }

  /** Asks for the interrupt of the function's pin until `setPin(false)`; has no effect without a pin, or while software uses messages. */
  setPin(asked: boolean): void {
    this.#pin?.set(asked);
  }

  /**
   * Signals a vector as software has set it up: by MSI-X, else by MSI. False when neither is on: then the pin is the way.
   * `vector` counts from 0.
   */
  signal(vector: number): boolean {
    if (this.#msix?.enabled) this.#msix.signal(vector);
    else if (this.#msi?.enabled) this.#msi.signal(vector);
    else return false;
    return true;
  }

  /** Whether software lets the function read and write memory. */
  get busMaster(): boolean {
    return this.config.busMaster;
  }

  /** What a state of it must be, once its capabilities have been added. */
  get schema(): v.GenericSchema<PciEndpointState> {
    return v.strictObject({
      config: PCI_CONFIG_STATE,
      pin: v.boolean(),
      msix: this.#msix === undefined ? v.null() : this.#msix.schema,
    });
  }

  reset(): void {
    this.#pin?.set(false);
    this.#msix?.reset();
    this.config.reset();
  }

  /** What firmware does: it tells the operating system the pin's interrupt. Addresses are given by the operating system. */
  setUp(): void {
    const pin = this.config.readConfig(PciHeader.interruptPin, 1);
    if (pin > 0) this.config.writeConfig(PciHeader.interruptLine, 1, pciPinGsi(this.slot, pin - 1));
  }

  save(): PciEndpointState {
    return { config: this.config.save(), pin: this.#pin?.asked ?? false, msix: this.#msix?.save() ?? null };
  }

  restore({ config, pin, msix }: PciEndpointState): void {
    this.config.restore(config);
    if (msix !== null) this.#msix?.restore(msix);
    this.#pin?.set(pin);
  }

  /** A function that uses messages must not use its pin (6.8.1). */
  #isPinOn(): boolean {
    return (
      (this.config.command & PciCommand.interruptDisable) === 0 &&
      this.#msi?.enabled !== true &&
      this.#msix?.enabled !== true
    );
  }

  /** Software wrote the configuration space. */
  #update(): void {
    this.#pin?.update();
    this.#msi?.update();
    this.#msix?.update();
  }

  readonly #send = (address: number, data: number): void => {
    if (address >= MESSAGES.first && address <= MESSAGES.last) this.around.apics?.sendMessage(address, data);
  };

  #warn(index: number, why: string): void {
    this.around.logger.warn(
      `the guest placed base address register ${index} of ${this.config.name} where it cannot be reached: ${why}`,
    );
  }
}

/** The memory of a base address register: the device's, with parts that others answer for. */
class BarMemory implements MmioDevice {
  readonly #overlays: { readonly offset: number; readonly end: number; readonly device: MmioDevice }[] = [];

  constructor(
    readonly size: number,
    private readonly device: MmioDevice,
  ) {}

  overlay(offset: number, length: number, device: MmioDevice): void {
    this.#overlays.push({ offset, end: offset + length, device });
  }

  readMmio(offset: number, size: 1 | 2 | 4, vcpu: number): number {
    const overlays = this.#overlays;
    for (let i = 0; i < overlays.length; i++) {
      const { offset: first, end, device } = overlays[i];
      if (offset >= first && offset < end) return device.readMmio(offset - first, size, vcpu);
    }
    return this.device.readMmio(offset, size, vcpu);
  }

  writeMmio(offset: number, size: 1 | 2 | 4, value: number, vcpu: number): void {
    const overlays = this.#overlays;
    for (let i = 0; i < overlays.length; i++) {
      const { offset: first, end, device } = overlays[i];
      if (offset >= first && offset < end) return device.writeMmio(offset - first, size, value, vcpu);
    }
    this.device.writeMmio(offset, size, value, vcpu);
  }
}

/** What answers where a base address register holds nothing. */
const NOTHING: MmioDevice = { readMmio: () => 0, writeMmio: () => {} };
