/**
 * The time stamp counter as the APIC's deadline timer sees it, on a backend whose processors keep the counter themselves.
 */
import { BackendToken, isVisorkitError } from '@visorkit/core';
import type { PluginHost } from '@visorkit/core';
import { MsrBusToken } from '@visorkit/machine';
import type { Clock, MsrDevice, TimeStampCounter } from '@visorkit/machine';
import type { ApicBus } from './apic-bus.js';

const IA32_TIME_STAMP_COUNTER = 0x10;
const IA32_TSC_ADJUST = 0x3b;
const NANOSECONDS_PER_SECOND = 1_000_000_000;

/** Reads the processors' own counters; a backend without them counts nanoseconds. */
export function counterOf(host: PluginHost, clock: Clock): TimeStampCounter {
  const { vcpus } = host;
  if (!vcpus[0].hasMsr(IA32_TIME_STAMP_COUNTER)) {
    return {
      frequency: NANOSECONDS_PER_SECOND,
      read: () => BigInt(Math.floor(clock.now())),
      timeAt: (tsc) => Number(tsc),
    };
  }
  const frequency = frequencyOf(host);
  return {
    frequency,
    read: (vcpu) => vcpus[vcpu].readMsr(IA32_TIME_STAMP_COUNTER),
    timeAt: (tsc, vcpu) => {
      const ahead = Number(tsc - vcpus[vcpu].readMsr(IA32_TIME_STAMP_COUNTER));
      return clock.now() + Math.ceil((ahead * NANOSECONDS_PER_SECOND) / frequency);
    },
  };
}

/** CPUID leaf 15H: the crystal clock in ECX, the ratio of the counter to it in EBX / EAX (SDM 2A, CPUID). */
function frequencyOf(host: PluginHost): number {
  const leaf = host.services.find(BackendToken)?.cpuid.find((entry) => entry.leaf === 0x15);
  if (leaf === undefined || leaf.eax === 0 || leaf.ebx === 0 || leaf.ecx === 0) return NANOSECONDS_PER_SECOND;
  return (leaf.ecx * leaf.ebx) / leaf.eax;
}

/** Makes the deadline timers recalculate when software writes the counter or its adjustment. */
export function followCounter(host: PluginHost, bus: ApicBus, owner: string): void {
  const { vcpus, services } = host;
  const device: MsrDevice = {
    readMsr: (index, vcpu) => vcpus[vcpu].readMsr(index),
    writeMsr: (index, value, vcpu) => {
      try {
        vcpus[vcpu].writeMsr(index, value);
      } catch (error) {
        if (!isVisorkitError(error) || error.code !== 'MSR_VALUE') throw error;
        return false;
      }
      bus.apics[vcpu].timeStampCounterChanged();
      return true;
    },
  };
  for (const index of [IA32_TIME_STAMP_COUNTER, IA32_TSC_ADJUST]) {
    if (vcpus[0].hasMsr(index)) host.onDispose(services.get(MsrBusToken).register(index, 1, device, owner));
  }
}
