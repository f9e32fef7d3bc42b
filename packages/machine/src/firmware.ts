/** What a machine tells its firmware and its boot loaders. */

/** Files and numbers that firmware reads through fw_cfg. */
export interface FirmwareConfig {
  /**
   * Adds a file, at most 55 characters of name. A file of the same name is replaced. A function is asked for the data each time
   * firmware selects the file or the directory: for what is known only when the guest runs.
   */
  addFile(name: string, data: Uint8Array | (() => Uint8Array)): void;
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

/** What a device in the ACPI namespace uses: fixed ports, a fixed range of memory, or an interrupt line. */
export type AcpiResource =
  | { readonly ports: readonly [first: number, count: number] }
  | { readonly memory: readonly [gpa: number, length: number]; readonly readOnly?: boolean }
  | {
      /** Line (global system interrupt); edge triggered and not shared unless given. */
      readonly interrupt: number;
      readonly level?: boolean;
      readonly shared?: boolean;
      readonly activeLow?: boolean;
    };

/** A device as ACPI describes it to an operating system. */
export interface AcpiDevice {
  /** One to four capital letters, digits and underscores, the first not a digit; unique in \_SB. */
  readonly name: string;
  /** _HID: an EISA ID such as `PNP0501`, or an ACPI ID such as `ACPI0007`. */
  readonly hardwareId: string;
  /** _CID, of the same forms. */
  readonly compatibleId?: string;
  /** _UID, where there are several of one _HID. */
  readonly uid?: number;
  /** _CRS. */
  readonly resources?: readonly AcpiResource[];
  /** _CCA: its accesses to memory are coherent with the processors' caches. Left out unless given. */
  readonly coherent?: boolean;
  /** Named objects besides, as AML. */
  readonly objects?: readonly Uint8Array[];
}

/** Lets plugins put devices in the ACPI namespace. */
export interface AcpiNamespace {
  /** Puts a device in \_SB. Before the `load` hook. Throws `ACPI_DEVICE` for a malformed name or ID, or a name that is taken already. */
  addDevice(device: AcpiDevice): void;
  /** AML of one or more named objects, placed in \_SB. Before the `load` hook. */
  addToSystemBus(aml: Uint8Array): void;
}

/** The machine's real-time clock, as its power management sees it. */
export interface RealTimeClock {
  /** Told when the alarm flag rises. */
  onAlarm: (() => void) | undefined;
}
