/** Exits 16, 51 and 15: RDTSC, RDTSCP and RDPMC, for those who ask for "RDTSC exiting" or "RDPMC exiting". */
import { Gpr, RESUME, RETRY, Stage, definePlugin, optional } from '@visorkit/core';
import type { Plugin, Vcpu } from '@visorkit/core';
import { ClockToken, TimeStampCounterToken } from '@visorkit/machine';

const IA32_TSC_AUX = 0xc000_0103;

export function rdtsc(): Plugin {
  return definePlugin({
    name: 'exits/rdtsc',
    handles: ['rdtsc', 'rdtscp', 'rdpmc'],
    uses: { clock: ClockToken, counter: optional(TimeStampCounterToken) },
    apply({ hooks }, { clock, counter }) {
      const tap = { stage: Stage.Architecture };
      const read = (vcpu: Vcpu): typeof RESUME => {
        const value = counter?.read(vcpu.index) ?? BigInt(Math.floor(clock.now()));
        vcpu.setRegister32(Gpr.RAX, Number(value & 0xffff_ffffn));
        vcpu.setRegister32(Gpr.RDX, Number((value >> 32n) & 0xffff_ffffn));
        return RESUME;
      };
      hooks.exit.for('rdtsc').tap(tap, (_exit, vcpu) => read(vcpu));
      hooks.exit.for('rdtscp').tap(tap, (_exit, vcpu) => {
        vcpu.setRegister32(Gpr.RCX, vcpu.hasMsr(IA32_TSC_AUX) ? Number(vcpu.readMsr(IA32_TSC_AUX) & 0xffff_ffffn) : 0);
        return read(vcpu);
      });
      // No performance counter is reported by CPUID, so every index is reserved.
      hooks.exit.for('rdpmc').tap({ ...tap, stage: Stage.Fallback }, (_exit, vcpu) => {
        vcpu.injectException(13, 0);
        return RETRY;
      });
    },
  });
}
