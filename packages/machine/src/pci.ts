/** PCI functions and where they attach (PCI Local Bus specification 3.0, chapter 6). The bus itself is a plugin. */

/** Configuration space of one function: 256 bytes. Offsets are naturally aligned for `size`. */
export interface PciFunction {
  readonly name: string;
  readConfig(offset: number, size: 1 | 2 | 4): number;
  writeConfig(offset: number, size: 1 | 2 | 4, value: number): void;
}

/** Bus 0 of a machine. */
export interface PciBus {
  /**
   * Attaches a function 0 to `slot` (device number 0-31), or to the first free one.
   * Returns the slot and the function that takes it away. Throws `PCI_SLOT_CONFLICT` when the slot is taken.
   */
  attach(device: PciFunction, slot?: number): { slot: number; detach: () => void };
}
