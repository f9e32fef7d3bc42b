/**
 * A die on an I/O port. The guest writes the number of sides; a millisecond later the die lies still, and interrupt line 5
 * goes up until the guest reads what was thrown. While it rolls, a read gives 0.
 */
import {
  addDevice,
  ClockToken,
  DeviceListToken,
  InterruptLinesToken,
  PortBusToken,
  TimerQueueToken,
} from '@visorkit/machine';
import type { Clock, Device, InterruptLine, PortDevice, Timer, TimerQueue } from '@visorkit/machine';
import type { Plugin } from '@visorkit/core';

const ROLL_NS = 1_000_000;

/** What the die needs from outside. */
export interface DicePorts {
  readonly irq: InterruptLine;
  readonly clock: Clock;
  readonly timers: TimerQueue;
}

export interface DiceState {
  seed: number;
  sides: number;
  /** 0 while it rolls, and after it was read. */
  value: number;
  /** Nanoseconds until it lies still; null when it does not roll. */
  rolling: number | null;
}

export class Dice implements Device<DiceState>, PortDevice {
  readonly name = 'dice';
  readonly #roll: Timer;
  #seed = 1;
  #sides = 6;
  #value = 0;

  constructor(private readonly outside: DicePorts) {
    this.#roll = outside.timers.schedule(Infinity, () => this.#land());
  }

  readPort(): number {
    const value = this.#value;
    this.#show(0);
    return value;
  }

  writePort(_port: number, _size: number, value: number): void {
    this.#sides = value & 0xff || 6;
    this.#show(0);
    this.#roll.reschedule(this.outside.clock.now() + ROLL_NS);
  }

  reset(): void {
    this.restore({ seed: 1, sides: 6, value: 0, rolling: null });
  }

  save(): DiceState {
    const rolling = this.#roll.deadline - this.outside.clock.now();
    return { seed: this.#seed, sides: this.#sides, value: this.#value, rolling: rolling === Infinity ? null : rolling };
  }

  restore({ seed, sides, value, rolling }: DiceState): void {
    this.#seed = seed;
    this.#sides = sides;
    this.#show(value);
    this.#roll.reschedule(rolling === null ? Infinity : this.outside.clock.now() + rolling);
  }

  /** No host randomness: the same run throws the same. */
  #land(): void {
    this.#seed = (Math.imul(this.#seed, 1_103_515_245) + 12_345) >>> 0;
    this.#show(1 + ((this.#seed >>> 16) % this.#sides));
  }

  #show(value: number): void {
    this.#value = value;
    this.outside.irq.set(value !== 0);
  }
}

/** The plugin. `port`: where the die is, 0x5c0 unless given. */
export default function dice({ port = 0x5c0 }: { port?: number } = {}): Plugin {
  return {
    name: 'dice',
    kernel: '^0.1.0',
    requires: { services: [PortBusToken, DeviceListToken, InterruptLinesToken, ClockToken, TimerQueueToken] },
    apply(host) {
      const { services } = host;
      const irq = services.get(InterruptLinesToken).line(5);
      const device = new Dice({ irq, clock: services.get(ClockToken), timers: services.get(TimerQueueToken) });
      addDevice(host, device, { ports: [[port, 1]] });
    },
  };
}
