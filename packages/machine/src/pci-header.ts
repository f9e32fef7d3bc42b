/** The header of a PCI function's configuration space (PCI Local Bus specification 3.0, 6.1 and 6.2). */

/** Offsets of the header. */
export const PciHeader = {
  vendor: 0x00,
  device: 0x02,
  command: 0x04,
  status: 0x06,
  revision: 0x08,
  classCode: 0x09,
  headerType: 0x0e,
  bar0: 0x10,
  subsystemVendor: 0x2c,
  subsystem: 0x2e,
  capabilities: 0x34,
  interruptLine: 0x3c,
  interruptPin: 0x3d,
} as const;

/** Bits of the command register (6.2.2). */
export const PciCommand = { io: 1 << 0, memory: 1 << 1, busMaster: 1 << 2, interruptDisable: 1 << 10 } as const;

/** Bits of the status register (6.2.3). */
export const PciStatus = { interrupt: 1 << 3, capabilities: 1 << 4 } as const;
