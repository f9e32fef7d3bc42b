/** A serial port on the machine's console, or on an output of its own. */
import {
  ClockToken,
  ConsoleToken,
  DeviceListToken,
  InterruptLinesToken,
  PortBusToken,
  TimerQueueToken,
} from '@visorkit/machine';
import type { CharInput, CharOutput } from '@visorkit/machine';
import type { Plugin, PluginHost } from '@visorkit/core';
import { Uart16550 } from '../uart16550.js';
import { addPortDevice } from './device-host.js';

/** Where a PC has its serial ports. */
export const SERIAL_PORTS = {
  com1: { base: 0x3f8, irq: 4 },
  com2: { base: 0x2f8, irq: 3 },
  com3: { base: 0x3e8, irq: 4 },
  com4: { base: 0x2e8, irq: 3 },
} as const;

export interface SerialPluginOptions {
  /** com1 unless given. */
  port?: keyof typeof SERIAL_PORTS;
  /** The machine's console unless given. */
  output?: CharOutput;
  input?: CharInput;
}

/** A 16550A at one of the four usual places. */
export class SerialPlugin implements Plugin {
  readonly name: string;
  readonly requires = {
    services: [PortBusToken, DeviceListToken, InterruptLinesToken, ClockToken, TimerQueueToken, ConsoleToken],
  };
  readonly #port: keyof typeof SERIAL_PORTS;

  constructor(private readonly options: SerialPluginOptions = {}) {
    this.#port = options.port ?? 'com1';
    this.name = `serial-${this.#port}`;
  }

  apply(host: PluginHost): void {
    const { services } = host;
    const { base, irq } = SERIAL_PORTS[this.#port];
    const console = services.get(ConsoleToken);
    const own = this.options.output !== undefined || this.options.input !== undefined;
    const uart = new Uart16550(
      {
        irq: services.get(InterruptLinesToken).line(irq),
        output: this.options.output ?? console.output,
        clock: services.get(ClockToken),
        timers: services.get(TimerQueueToken),
      },
      base,
      this.#port,
    );
    addPortDevice(host, this.name, uart, [[base, 8]]);
    const input = own ? this.options.input : console.input;
    if (input !== undefined) host.onDispose(input.onByte((byte) => uart.receive(byte)));
  }
}
