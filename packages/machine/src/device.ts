/** The interface of every device model. */

/**
 * A device: register offsets and bits named in its file, ports for what it needs from outside (an interrupt line, an
 * output, a clock) given to its constructor, and plain-data state.
 */
export interface Device<State = unknown> {
  /** Unique within the machine: `uart0`, `pic`, … */
  readonly name: string;
  /** Back to the state after power-on or a reset of the machine. */
  reset(): void;
  /**
   * Does what firmware would have done to the device, for a system that is started without firmware. Called after a
   * reset, before the image is loaded. Most devices do not need it.
   */
  setUp?(): void;
  /** All state that the guest can observe, as plain data that JSON can represent; Uint8Array is allowed too. */
  save(): State;
  /** Restores a state that `save` returned. Throws a VisorkitError for anything else. */
  restore(state: State): void;
}

/** The list of a machine's devices, which resets and saves them. */
export class DeviceList {
  readonly #devices = new Map<string, Device>();

  /** Adds a device; a second one of the same name gets a number. Returns the function that takes it away. */
  add(device: Device): () => void {
    let name = device.name;
    for (let n = 2; this.#devices.has(name); n++) name = `${device.name}#${n}`;
    this.#devices.set(name, device);
    return () => {
      this.#devices.delete(name);
    };
  }

  reset(): void {
    for (const device of this.#devices.values()) device.reset();
  }

  setUp(): void {
    for (const device of this.#devices.values()) device.setUp?.();
  }

  save(): Record<string, unknown> {
    return Object.fromEntries([...this.#devices].map(([name, device]) => [name, device.save()]));
  }

  restore(state: Readonly<Record<string, unknown>>): void {
    for (const [name, device] of this.#devices) if (name in state) device.restore(state[name]);
  }

  get(name: string): Device | undefined {
    return this.#devices.get(name);
  }

  [Symbol.iterator](): IterableIterator<Device> {
    return this.#devices.values();
  }
}
