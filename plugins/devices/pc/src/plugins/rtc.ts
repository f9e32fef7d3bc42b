/** The real-time clock on IRQ 8, with CMOS cells as a firmware would have set them. */
import { definePlugin, host } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import {
  AddDeviceToken,
  GuestMemoryToken,
  MachineConfigToken,
  RealTimeClockToken,
  checkPluginOptions,
  wholeNumber,
} from '@visorkit/machine';
import * as v from 'valibot';
import { cmosCells } from '../cmos.js';
import { RtcMc146818, RtcSettingsToken } from '../rtc-mc146818.js';

/** 2024-01-01 00:00:00 UTC: the calendar of machines on virtual time, so that each run sees the same. */
export const VIRTUAL_START_TIME = 1_704_067_200;

export interface RtcOptions {
  /**
   * Calendar time at the start, in seconds since 1970-01-01 UTC. The host's time unless given, and
   * {@link VIRTUAL_START_TIME} on virtual time.
   */
  readonly startTime?: number;
  /** Up to three of BootDevice. */
  readonly bootOrder?: readonly number[];
}

export function rtc(options: RtcOptions = {}): Plugin {
  checkPluginOptions('rtc', options, {
    startTime: [v.pipe(v.number(), v.finite()), 'a number of seconds since 1970-01-01 UTC'],
    bootOrder: [v.pipe(v.array(wholeNumber(0, 15)), v.maxLength(3)), 'up to three of BootDevice'],
  });
  const { startTime, bootOrder } = options;
  return definePlugin({
    name: 'rtc',
    uses: {
      addDevice: AddDeviceToken,
      clock: RealTimeClockToken,
      memory: GuestMemoryToken,
      config: MachineConfigToken,
    },
    provides: [
      {
        token: RtcSettingsToken,
        scope: 'private',
        make: ({ memory: { regions }, config: { cpus, time } }) => ({
          startTime: startTime ?? (time === 'virtual' ? VIRTUAL_START_TIME : hostSeconds()),
          cells: cmosCells({ regions, cpus, ...(bootOrder && { bootOrder }) }),
        }),
      },
      { token: RealTimeClockToken, type: RtcMc146818 },
    ],
    apply: (_host, { addDevice, clock }) => addDevice(clock as RtcMc146818, { ports: [[0x70, 2]] }),
  });
}

const hostSeconds = (): number => Math.floor(host.date() / 1000);
