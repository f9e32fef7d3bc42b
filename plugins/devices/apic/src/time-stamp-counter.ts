/** The time stamp counter as the APIC's deadline timer sees it, on a backend whose processors keep the counter themselves. */
import { isVisorkitError } from '@visorkit/core';
import type { CpuidEntry, Vcpu } from '@visorkit/core';
import type { Clock, LocalApics, MsrDevice, TimeStampCounter } from '@visorkit/machine';

const IA32_TIME_STAMP_COUNTER = 0x10;
const IA32_TSC_ADJUST = 0x3b;
const NANOSECONDS_PER_SECOND = 1_000_000_000;

/** Reads the processors' own counters; a backend without them counts nanoseconds. */
export function counterOf(vcpus: readonly Vcpu[], cpuid: readonly CpuidEntry[], clock: Clock): TimeStampCounter {
  if (!vcpus[0].hasMsr(IA32_TIME_STAMP_COUNTER)) {
    return {
      frequency: NANOSECONDS_PER_SECOND,
      read: () => BigInt(Math.floor(clock.now())),
      timeAt: (tsc) => Number(tsc),
    };
  }
  const frequency = frequencyOf(cpuid);
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
function frequencyOf(cpuid: readonly CpuidEntry[]): number {
  const leaf = cpuid.find((entry) => entry.leaf === 0x15);
  if (leaf === undefined || leaf.eax === 0 || leaf.ebx === 0 || leaf.ecx === 0) return NANOSECONDS_PER_SECOND;
  return (leaf.ecx * leaf.ebx) / leaf.eax;
}

/** The MSRs of the counter that the processors have, with a device for each that tells the deadline timers of its writes. */
export function counterMsrs(vcpus: readonly Vcpu[], apics: LocalApics): [index: number, device: MsrDevice][] {
  const device: MsrDevice = {
    readMsr: (index, vcpu) => vcpus[vcpu].readMsr(index),
    writeMsr: (index, value, vcpu) => {
      try {
        vcpus[vcpu].writeMsr(index, value);
      } catch (error) {
        if (!isVisorkitError(error) || error.code !== 'MSR_VALUE') throw error;
        return false;
      }
      apics.timeStampCounterChanged(vcpu);
      return true;
    },
  };
  return [IA32_TIME_STAMP_COUNTER, IA32_TSC_ADJUST]
    .filter((index) => vcpus[0].hasMsr(index))
    .map((index) => [index, device]);
}
