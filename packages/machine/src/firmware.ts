/** What a machine tells its firmware and its boot loaders. */

/** Files and numbers that firmware reads through fw_cfg. */
export interface FirmwareConfig {
  /** Adds a file, at most 55 characters of name. A file of the same name is replaced. */
  addFile(name: string, data: Uint8Array): void;
  /** Sets the item of a fixed selector (0 to 0x1f). */
  setItem(selector: number, data: Uint8Array): void;
}

/** One ACPI table, or a blob with several, in the form in which firmware places it. */
export interface AcpiBlob {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** The buttons and events of a machine's power management. */
export interface PowerControl {
  /** The user presses the power button; the guest sees the ACPI fixed event. */
  pressPowerButton(): void;
}

/** Lets plugins put devices in the ACPI namespace. */
export interface AcpiNamespace {
  /** AML of one or more named objects, placed in \_SB. Before the `load` hook. */
  addToSystemBus(aml: Uint8Array): void;
}

/** The machine's real-time clock, as its power management sees it. */
export interface RealTimeClock {
  /** Told when the alarm flag rises. */
  onAlarm: (() => void) | undefined;
}
