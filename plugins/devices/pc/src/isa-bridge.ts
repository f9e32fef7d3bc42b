/**
 * The PCI-to-ISA bridge of a PC with a 440FX: Intel's 82371SB (PIIX3), function 0. Firmware knows by it that there are ISA devices, such as serial
 * ports; the power management function of the same slot belongs to ACPI.
 */
import { PciConfigSpace, PciHeader } from '@visorkit/machine';

/** Where chipsets of this kind have the bridge. */
export const ISA_BRIDGE_SLOT = 1;

const MULTIFUNCTION = 0x80;
/** PIRQRC[A:D] (82371SB, 4.1.10): where a PCI interrupt goes among the ISA ones; bit 7 set: nowhere. */
const PIRQ_ROUTE = 0x60;
const NOT_ROUTED = 0x80;

/** The bridge's configuration space. Its interrupt routes are kept for software and route nothing: pins are wired to lines, see `pciPinGsi`. */
export function isaBridge(): PciConfigSpace {
  const bridge = new PciConfigSpace('piix3', { vendor: 0x8086, device: 0x7000, classCode: 0x06_0100 });
  bridge.set(PciHeader.headerType, 1, MULTIFUNCTION);
  for (let pin = 0; pin < 4; pin++) {
    bridge.set(PIRQ_ROUTE + pin, 1, NOT_ROUTED);
    bridge.allow(PIRQ_ROUTE + pin, 1, 0x8f);
  }
  return bridge;
}
