/** What a boot loader is given and does. */
import type { GuestMemory, InitialState } from '@visorkit/core';
import type { MemoryMapEntry } from './memory-map.js';

export interface BootModule {
  readonly name: string;
  readonly data: Uint8Array;
}

/** The part of a vCPU that a loader may touch. */
export interface BootVcpu {
  setInitialState(state: InitialState): void;
}

/** What the firmware would have left behind. */
export interface FirmwareTables {
  /** Guest-physical address of the ACPI RSDP. */
  readonly rsdp: number;
}

export interface BootContext {
  readonly image: Uint8Array;
  /** Path or name, for messages. */
  readonly imageName: string;
  readonly commandLine: string;
  /** Multiboot modules; the first is the initial RAM disk of Linux. */
  readonly modules: readonly BootModule[];
  readonly memory: GuestMemory;
  readonly vcpu: BootVcpu;
  /** The e820 map: RAM and what is reserved in it, sorted, without overlaps. */
  readonly memoryMap: readonly MemoryMapEntry[];
  /** Undefined when no plugin makes firmware tables. */
  readonly firmwareTables?: FirmwareTables;
  /**
   * Puts read-only memory outside RAM that the guest can execute from, as a firmware image below 4 GiB; `gpa` and the
   * length are multiples of 4096. Left out by a machine whose backend cannot.
   */
  mapRom?(gpa: number, bytes: Uint8Array): void;
  /** There is a VGA in text mode 3: 80 columns and 25 rows at B8000H. */
  readonly textScreen?: boolean;
  /** Tells the user what may be otherwise than expected; a sentence without its full stop. */
  warn?(sentence: string): void;
  /** Options for the loader, such as `address` and `mode` of a flat binary. */
  readonly options: Readonly<Record<string, unknown>>;
}

/** Puts an image in memory and sets vCPU 0's first state; recognises its own formats. */
export interface BootLoader {
  readonly name: string;
  /**
   * Names of the options that it reads from `BootContext.options`; other names are refused. If undefined, the loader
   * checks the names itself.
   */
  readonly takes?: readonly string[];
  /** False when the loader cannot pass a command line to the guest; a command line is refused then. */
  readonly takesCommandLine?: boolean;
  /** The image is firmware: it finds the devices as after power-on, and sets them up itself. */
  readonly startsFirmware?: boolean;
  /** Whether the content looks like an image for this loader. Must not throw for any input. */
  recognises(image: Uint8Array): boolean;
  /**
   * What the loader assumes when it was chosen by content and the content says little ("its 12 bytes are run as …").
   * The user gets it as a warning. Undefined when nothing is assumed.
   */
  assumes?(image: Uint8Array): string | undefined;
  /**
   * What an image that no loader recognises looks like ("a file compressed with gzip"), for the error; undefined when
   * that is unknown.
   */
  describe?(image: Uint8Array): string | undefined;
  /** Throws a VisorkitError for an image it recognises and cannot load. */
  load(context: BootContext): void | Promise<void>;
}

/**
 * The loaders of a machine. A loader with a higher `priority` is asked earlier, so specific formats come first; a
 * loader that accepts anything (flat binaries) has a negative priority.
 */
export class BootLoaders {
  #entries: { loader: BootLoader; priority: number }[] = [];

  add(loader: BootLoader, priority = 0): () => void {
    const entry = { loader, priority };
    this.#entries = [...this.#entries, entry].sort((a, b) => b.priority - a.priority);
    return () => {
      this.#entries = this.#entries.filter((other) => other !== entry);
    };
  }

  /** The first that recognises the image. */
  find(image: Uint8Array): BootLoader | undefined {
    return this.#entries.find(({ loader }) => loader.recognises(image))?.loader;
  }

  /** What the image looks like to the first loader that can say. */
  describe(image: Uint8Array): string | undefined {
    for (const { loader } of this.#entries) {
      const what = loader.describe?.(image);
      if (what !== undefined) return what;
    }
    return undefined;
  }

  named(name: string): BootLoader | undefined {
    return this.#entries.find(({ loader }) => loader.name === name)?.loader;
  }

  get names(): string[] {
    return this.#entries.map(({ loader }) => loader.name);
  }
}
