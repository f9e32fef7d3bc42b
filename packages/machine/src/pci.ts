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
   * Attaches a function to `slot` (device number 0-31), or to the first with nothing in it. `fn` is its number there, 0-7: software looks
   * for the others only where function 0 has bit 7 of its header type set. Returns the slot and the function that takes it away.
   * Throws `PCI_SLOT_RANGE`, and `PCI_SLOT_CONFLICT` when the place is taken.
   */
  attach(device: PciFunction, slot?: number, fn?: number): { slot: number; detach: () => void };
}
