/** The real-time clock on IRQ 8, with CMOS cells as a firmware would have set them. */
import {
  ClockToken,
  DeviceListToken,
  GuestMemoryToken,
  InterruptLinesToken,
  MachineConfigToken,
  PortBusToken,
  RealTimeClockToken,
  TimerQueueToken,
} from '@visorkit/machine';
import { host } from '@visorkit/core';
import type { Plugin, PluginHost } from '@visorkit/core';
import { cmosCells } from '../cmos.js';
import { RtcMc146818 } from '../rtc-mc146818.js';
import { addPortDevice } from './device-host.js';

/** 2024-01-01 00:00:00 UTC: the calendar of machines on virtual time, so that each run sees the same. */
export const VIRTUAL_START_TIME = 1_704_067_200;

export interface RtcPluginOptions {
  /**
   * Calendar time at the start, in seconds since 1970-01-01 UTC. The host's time unless given, and
   * {@link VIRTUAL_START_TIME} on virtual time.
   */
  startTime?: number;
  /** Up to three of BootDevice. */
  bootOrder?: readonly number[];
}

export class RtcPlugin implements Plugin {
  readonly name = 'rtc';
  readonly requires = {
    services: [
      PortBusToken,
      DeviceListToken,
      InterruptLinesToken,
      ClockToken,
      TimerQueueToken,
      GuestMemoryToken,
      MachineConfigToken,
    ],
  };
  readonly provides = [RealTimeClockToken];

  constructor(private readonly options: RtcPluginOptions = {}) {}

  apply(host: PluginHost): void {
    const { services } = host;
    const { cpus, time } = services.get(MachineConfigToken);
    const rtc = new RtcMc146818(
      {
        irq: services.get(InterruptLinesToken).line(8),
        clock: services.get(ClockToken),
        timers: services.get(TimerQueueToken),
      },
      {
        startTime: this.options.startTime ?? (time === 'virtual' ? VIRTUAL_START_TIME : hostSeconds()),
        cells: cmosCells({
          regions: services.get(GuestMemoryToken).regions,
          cpus,
          ...(this.options.bootOrder ? { bootOrder: this.options.bootOrder } : {}),
        }),
      },
    );
    addPortDevice(host, this.name, rtc, [[0x70, 2]]);
    services.provide(RealTimeClockToken, rtc);
  }
}

function hostSeconds(): number {
  return Math.floor(host.date() / 1000);
}
