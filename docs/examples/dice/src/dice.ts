/**
 * A die on an I/O port. The guest writes the number of sides; a millisecond later the die lies still, and interrupt line 5
 * goes up until the guest reads what was thrown. While it rolls, a read gives 0.
 */
import { definePlugin, inject, injectable } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { AddDeviceToken, Alarm, ClockToken, InterruptLinesToken, TimerQueueToken } from '@visorkit/machine';
import type { Clock, Device, InterruptLine, LineSource, PortDevice, TimerQueue } from '@visorkit/machine';
import * as v from 'valibot';

const LINE = 5;
const ROLL_NS = 1_000_000;
const byte = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(255));

export interface DiceState {
  seed: number;
  sides: number;
  /** 0 while it rolls, and after it was read. */
  value: number;
  /** Nanoseconds until it lies still; null when it does not roll. */
  rolling: number | null;
}

@injectable()
export class Dice implements Device<DiceState>, PortDevice {
  readonly name = 'dice';
  readonly schema = v.strictObject({ seed: v.number(), sides: byte, value: byte, rolling: v.nullable(v.number()) });
  readonly #irq: InterruptLine;
  readonly #clock: Clock;
  readonly #roll: Alarm;
  #seed = 1;
  #sides = 6;
  #value = 0;

  constructor(
    @inject(InterruptLinesToken) lines: LineSource,
    @inject(ClockToken) clock: Clock,
    @inject(TimerQueueToken) timers: TimerQueue,
  ) {
    this.#irq = lines.line(LINE);
    this.#clock = clock;
    this.#roll = new Alarm(timers, () => this.#land());
  }

  readPort(): number {
    const value = this.#value;
    this.#show(0);
    return value;
  }

  writePort(_port: number, _size: number, value: number): void {
    this.#sides = value & 0xff || 6;
    this.#show(0);
    this.#roll.set(this.#clock.now() + ROLL_NS);
  }

  reset(): void {
    this.restore({ seed: 1, sides: 6, value: 0, rolling: null });
  }

  save(): DiceState {
    return { seed: this.#seed, sides: this.#sides, value: this.#value, rolling: this.#roll.save() };
  }

  restore({ seed, sides, value, rolling }: DiceState): void {
    this.#seed = seed;
    this.#sides = sides;
    this.#show(value);
    this.#roll.restore(rolling);
  }

  /** No host randomness: the same run throws the same. */
  #land(): void {
    this.#seed = (Math.imul(this.#seed, 1_103_515_245) + 12_345) >>> 0;
    this.#show(1 + ((this.#seed >>> 16) % this.#sides));
  }

  #show(value: number): void {
    this.#value = value;
    this.#irq.set(value !== 0);
  }
}

/** The plugin. `port`: where the die is, 0x5c0 unless given. */
export default function dice({ port = 0x5c0 }: { port?: number } = {}): Plugin {
  return definePlugin({
    name: 'dice',
    kernel: '^0.1.0',
    uses: { addDevice: AddDeviceToken },
    apply: (host, { addDevice }) => addDevice(host.make(Dice), { ports: [[port, 1]] }),
  });
}
