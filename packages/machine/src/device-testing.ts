/** What tests of devices' states need: `@visorkit/machine/testing`. */
import { ManualClock } from './clocks.js';
import type { Device } from './device.js';
import { DeviceList } from './device-list.js';
import { GSI_COUNT, InterruptLines } from './interrupts.js';
import { MmioBus } from './mmio-bus.js';
import { PciEndpoint } from './pci-endpoint.js';
import type { PciEndpointOptions, PciEndpoints } from './pci-endpoint.js';
import type { PciFunction } from './pci.js';
import { PortBus } from './port-bus.js';
import { TimerQueue } from './timers.js';

/** A clock that stands still until it is moved, timers, buses, PCI slots, and lines whose changes are written down. */
export class DeviceBench {
  readonly clock = new ManualClock();
  readonly timers = new TimerQueue(this.clock);
  readonly lines = new InterruptLines();
  readonly ports = new PortBus();
  readonly mmio = new MmioBus();
  /** PCI functions in slots from 1 on, one in each. Their messages are written down. */
  readonly functions: PciFunction[] = [];
  readonly endpoints: PciEndpoints = { make: (options) => this.#endpoint(options) };
  readonly devices = new DeviceList(this.lines);
  /** What the device did to the outside, in order: changes of lines, and what a test adds. */
  readonly log: string[] = [];

  /** @param now what the clock shows at first, ns */
  constructor(now = 0) {
    this.clock.skipTo(now);
    this.lines.connect((gsi, level) => this.tell(`${level ? '+' : '-'}${gsi}`));
  }

  #endpoint(options: PciEndpointOptions): PciEndpoint {
    const attach = (made: PciFunction, slot = this.functions.length + 1): { slot: number; detach: () => void } => {
      this.functions.push(made);
      return { slot, detach: () => {} };
    };
    return new PciEndpoint(options, {
      bus: { attach },
      ports: this.ports,
      mmio: this.mmio,
      lines: this.lines,
      apics: { sendMessage: (address, data) => this.tell(`message ${address.toString(16)} ${data.toString(16)}`) },
      logger: { warn: (why) => this.tell(why) },
      onDispose: () => {},
    });
  }

  /** Writes something down with the clock's time. */
  tell(what: string): void {
    this.log.push(`${this.clock.now()} ${what}`);
  }

  /** Moves time on, firing every timer at its own deadline. */
  advance(ns: number): void {
    const end = this.clock.now() + ns;
    for (let steps = 0; this.timers.nextDeadline() <= end; steps++) {
      if (steps > 1_000_000) throw new Error('timers do not come to rest');
      this.clock.skipTo(this.timers.nextDeadline());
      this.timers.runDue();
    }
    this.clock.skipTo(end);
  }

  /** The levels of all lines, and ns until the next timer fires. */
  view(): unknown {
    const levels = Array.from({ length: GSI_COUNT }, (_unused, gsi) => this.lines.level(gsi));
    return { levels, next: this.timers.nextDeadline() - this.clock.now() };
  }
}

export interface RestoreCase<D extends Device, A> {
  /** Makes the device on a bench; what it works with may be devices too, added to `bench.devices`. */
  make(bench: DeviceBench): D;
  /** Does one thing to the device and gives what a guest sees of it. */
  act(device: D, action: A, bench: DeviceBench): unknown;
  /** Done before the state is saved. */
  readonly before: readonly A[];
  /** Done after it, to the device that was saved and to the one that was restored. */
  readonly after: readonly A[];
  /** What the clock of the restored device's bench shows, ns. */
  readonly now: number;
}

/**
 * Saves a device after some actions, restores another one from it at another time of the clock, and does the same further
 * actions to both. Gives what was seen of each: the two must be equal.
 */
export function savedAndRestored<D extends Device, A>(given: RestoreCase<D, A>): [saved: unknown, restored: unknown] {
  const first = new DeviceBench();
  const saved = given.make(first);
  first.devices.add(saved);
  for (const action of given.before) given.act(saved, action, first);
  const before = JSON.stringify([first.view(), first.log]);
  const states = copyOf(first.devices.save());
  if (JSON.stringify([first.view(), first.log]) !== before) throw new Error(`save of ${saved.name} changed something`);

  // The clock goes on from where the machine was saved, or from anywhere else
  const second = new DeviceBench(given.now);
  const restored = given.make(second);
  second.devices.add(restored);
  second.log.length = 0;
  second.devices.restore(states);
  if (second.log.length > 0) throw new Error(`restore of ${saved.name} told somebody: ${second.log.join(', ')}`);

  return [trace(given, saved, first), trace(given, restored, second)];
}

function trace<D extends Device, A>({ act, after }: RestoreCase<D, A>, device: D, bench: DeviceBench): unknown {
  const began = bench.clock.now();
  bench.log.length = 0;
  const seen = [bench.view(), ...after.map((action) => [act(device, action, bench), bench.view()])];
  const log = bench.log.map((line) => {
    const [time] = line.split(' ', 1);
    return [Number(time) - began, line.slice(time.length + 1)];
  });
  return { seen, log, states: textOf(bench.devices.save()) };
}

/** A state as it comes back from a file. */
export function copyOf<T>(state: T): T {
  return JSON.parse(textOf(state), (_key, value: unknown) => {
    const text = (value as { $bytes?: string } | null)?.$bytes;
    return text === undefined ? value : Uint8Array.from(text, (character) => character.charCodeAt(0));
  }) as T;
}

const textOf = (state: unknown): string =>
  JSON.stringify(state, (_key, value: unknown) =>
    value instanceof Uint8Array ? { $bytes: Array.from(value, (byte) => String.fromCharCode(byte)).join('') } : value,
  );

/** States that are certainly wrong, each with the path of the wrong field: it has another type, should not be there, or is missing. */
export function malformedStates(state: unknown): { readonly path: string; readonly state: unknown }[] {
  const wrong = [Number.NaN, 'nonsense', { nothing: true }, undefined, 2 ** 60].map((value) => ({
    path: '',
    state: value as unknown,
  }));
  if (typeof state !== 'object' || state === null || state instanceof Uint8Array) return wrong;
  const parts = (Array.isArray(state) ? [...state.slice(0, 2).entries()] : Object.entries(state)) as [
    string | number,
    unknown,
  ][];
  for (const [key, part] of parts) {
    const step = typeof key === 'number' ? `[${key}]` : `.${key}`;
    for (const inner of malformedStates(part)) {
      const copy: unknown = Array.isArray(state) ? [...(state as unknown[])] : { ...state };
      (copy as Record<string | number, unknown>)[key] = inner.state;
      wrong.push({ path: step + inner.path, state: copy });
    }
  }
  if (!Array.isArray(state)) wrong.push({ path: '.surplus', state: { ...state, surplus: 1 } });
  return wrong;
}

/** The error of restoring each malformed state of a device, by path; 'taken' if there was no error, 'changed' if the device has changed all the same. */
export function refusals(device: Device): Map<string, string> {
  const devices = new DeviceList();
  devices.add(device);
  const saved = device.save();
  const before = textOf(saved);
  const said = new Map<string, string>();
  for (const { path, state } of malformedStates(saved)) {
    let answer = 'taken';
    try {
      devices.restore({ [device.name]: state });
    } catch (error) {
      answer = (error as Error).message;
    }
    if (textOf(device.save()) !== before) answer = 'changed';
    if (said.get(path) !== 'taken') said.set(path, answer);
  }
  return said;
}
