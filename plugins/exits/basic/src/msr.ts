/**
 * Exits 31 and 32: RDMSR and WRMSR. A register that a device claims on the MSR bus is the device's, one that the processor
 * keeps is read and written there, and any other gives #GP(0), as the instruction does for a reserved address.
 */
import { Gpr, RESUME, RETRY, Stage, definePlugin, isVisorkitError } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { MsrBusToken } from '@visorkit/machine';

const GENERAL_PROTECTION = 13;

export function msr(): Plugin {
  return definePlugin({
    name: 'exits/msr',
    handles: ['rdmsr', 'wrmsr'],
    capabilities: ['exit.rdmsr', 'exit.wrmsr'],
    uses: { msrs: MsrBusToken },
    apply({ hooks, logger }, { msrs }) {
      const told = new Set<number>();
      const refused = (index: number, access: string): typeof RETRY => {
        if (told.size < 1000 && !told.has(index)) {
          told.add(index);
          logger.debug(`${access} of MSR 0x${index.toString(16)} refused with #GP`);
        }
        return RETRY;
      };
      hooks.exit.for('rdmsr').tap({ stage: Stage.Architecture }, (_exit, vcpu) => {
        const index = vcpu.getRegister32(Gpr.RCX);
        const device = msrs.find(index);
        const value =
          device !== undefined
            ? device.readMsr(index, vcpu.index)
            : vcpu.hasMsr(index)
              ? vcpu.readMsr(index)
              : undefined;
        if (value === undefined) {
          vcpu.injectException(GENERAL_PROTECTION, 0);
          return refused(index, 'RDMSR');
        }
        vcpu.setRegister32(Gpr.RAX, Number(value & 0xffff_ffffn));
        vcpu.setRegister32(Gpr.RDX, Number((value >> 32n) & 0xffff_ffffn));
        return RESUME;
      });
      hooks.exit.for('wrmsr').tap({ stage: Stage.Architecture }, (_exit, vcpu) => {
        const index = vcpu.getRegister32(Gpr.RCX);
        const value = (BigInt(vcpu.getRegister32(Gpr.RDX)) << 32n) | BigInt(vcpu.getRegister32(Gpr.RAX));
        const device = msrs.find(index);
        let accepted: boolean;
        if (device !== undefined) accepted = device.writeMsr(index, value, vcpu.index);
        else {
          accepted = vcpu.hasMsr(index);
          if (accepted) {
            try {
              vcpu.writeMsr(index, value);
            } catch (error) {
              if (!isVisorkitError(error) || error.code !== 'MSR_VALUE') throw error;
              accepted = false;
            }
          }
        }
        if (accepted) return RESUME;
        vcpu.injectException(GENERAL_PROTECTION, 0);
        return refused(index, 'WRMSR');
      });
    },
  });
}
