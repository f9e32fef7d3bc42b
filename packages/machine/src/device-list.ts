/** The devices of one machine: who resets, saves and restores them. */
import { VisorkitError, faultIn, instead, show } from '@visorkit/core';
import type { SavedPart } from '@visorkit/core';
import type { Device } from './device.js';
import type { InterruptLines } from './interrupts.js';

export class DeviceList implements SavedPart {
  readonly #devices = new Map<string, Device>();
  /** The states that were found right last; the kernel asks before it restores anything. */
  #checked: unknown;

  /** @param lines the machine's interrupt lines, whose sinks are told nothing while devices are restored */
  constructor(private readonly lines?: Pick<InterruptLines, 'quietly'>) {}

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

  /** The state of every device by its name. */
  save(): Record<string, unknown> {
    return Object.fromEntries([...this.#devices].map(([name, device]) => [name, device.save()]));
  }

  /**
   * Throws `DEVICE_STATE` when a state does not have the form that its device saves, when a device of this machine has no state, or when
   * a state belongs to a device that this machine lacks.
   */
  check(states: unknown): void {
    if (typeof states !== 'object' || states === null || Array.isArray(states)) {
      throw new VisorkitError(
        'DEVICE_STATE',
        `The states of devices are ${show(states)}; they must be an object with each state under its device's name.`,
      );
    }
    for (const name of Object.keys(states)) {
      if (this.#devices.has(name)) continue;
      const hint = instead(name, [...this.#devices.keys()]);
      throw new VisorkitError(
        'DEVICE_STATE',
        `There is a state of device "${name}", which this machine does not have${hint}${hint.endsWith('?') ? '' : '.'} Compose this machine as the saved one was.`,
        { device: name },
      );
    }
    for (const [name, device] of this.#devices) {
      if (Object.hasOwn(states, name)) checkState(name, device, (states as Record<string, unknown>)[name]);
      else {
        throw new VisorkitError(
          'DEVICE_STATE',
          `There is no state of device "${name}", which this machine has; leave the device out, because the saved machine did not have it.`,
          { device: name },
        );
      }
    }
    this.#checked = states;
  }

  /**
   * Restores every device from what `save` gave; the clock is back already. Throws as `check` does, and then nothing has changed.
   */
  restore(states: unknown): void {
    if (states !== this.#checked) this.check(states);
    this.#checked = undefined;
    const restore = (): void => {
      for (const [name, device] of this.#devices) device.restore((states as Record<string, unknown>)[name]);
    };
    if (this.lines === undefined) restore();
    else this.lines.quietly(restore);
  }

  get(name: string): Device | undefined {
    return this.#devices.get(name);
  }

  [Symbol.iterator](): IterableIterator<Device> {
    return this.#devices.values();
  }
}

/** Throws `DEVICE_STATE` with the first field that is wrong, its value, and what would be right. */
function checkState(name: string, { schema }: Device, state: unknown): void {
  const fault = faultIn(schema, state);
  if (fault === undefined) return;
  throw new VisorkitError('DEVICE_STATE', `The state of device "${name}" cannot be restored: ${fault.message}.`, {
    device: name,
    field: fault.key,
  });
}
