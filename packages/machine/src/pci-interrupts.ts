/**
 * The interrupt pins of PCI functions (PCI Local Bus specification 3.0, 2.2.6): INTA to INTD, level triggered, shared. Message-signalled
 * interrupts are in `pci-msi.ts` and `pci-msix.ts`.
 */
import type { InterruptLine } from './interrupts.js';

/**
 * Lines of INTA to INTD of slot 0; every next slot begins one further, so that the first pins of neighbours differ. They are lines
 * of the 8259s too, and the same in both modes; the MADT says that they are level triggered and active high.
 */
const PIN_LINES = [10, 11, 10, 11] as const;

/** The lines that pins go to. */
export const PCI_PIN_GSIS: readonly number[] = [...new Set(PIN_LINES)];

/** The line (global system interrupt) of a slot's pin, 0 for INTA to 3 for INTD. ACPI's _PRT says the same to software. */
export const pciPinGsi = (slot: number, pin: number): number => PIN_LINES[(slot + pin) & 3];

/** What of a configuration space a pin looks at. */
interface PinControl {
  /** Whether software lets the function use it. */
  isPinOn(): boolean;
  showInterrupt(pending: boolean): void;
}

/** A function's pin: high while the function asks for it and software has neither disabled it nor turned messages on. */
export class PciInterruptPin {
  #asked = false;

  constructor(
    private readonly line: InterruptLine,
    private readonly control: PinControl,
  ) {}

  /** Whether the function asks for an interrupt; it does until its cause is gone. */
  set(asked: boolean): void {
    this.#asked = asked;
    this.update();
  }

  get asked(): boolean {
    return this.#asked;
  }

  /** Software may have changed what the pin depends on. */
  update(): void {
    this.control.showInterrupt(this.#asked);
    this.line.set(this.#asked && this.control.isPinOn());
  }
}
