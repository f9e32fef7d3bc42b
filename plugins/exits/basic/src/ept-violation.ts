/**
 * Exits 48 and 49: an access that the EPT tables do not allow. Where there is no RAM the machine's devices answer; an
 * address that no device claims reads as all ones, swallows writes, and is counted.
 */
import { EXIT_STATUS, RESUME, RETRY, Stage, definePlugin, stop } from '@visorkit/core';
import type { Outcome, Plugin, Vcpu, VmExit } from '@visorkit/core';
import { GuestMemoryToken, MmioBusToken } from '@visorkit/machine';

/** Qualification bit 2: the access was an instruction fetch (SDM 3C, table 28-7). */
const FETCH = 4;

export function eptViolation(): Plugin {
  return definePlugin({
    name: 'exits/ept-violation',
    handles: ['ept-violation', 'ept-misconfiguration'],
    capabilities: ['exit.ept-violation'],
    uses: { mmio: MmioBusToken, memory: GuestMemoryToken },
    apply({ hooks, logger }, { mmio, memory }) {
      const told = new Set<number>();
      const handle = (exit: VmExit, { index }: Vcpu): Outcome | undefined => {
        const access = exit.mmio;
        if (access.valid) {
          if (!mmio.answer(access, index)) {
            const page = Math.floor(access.gpa / 4096);
            if (!told.has(page) && told.size < 1000) {
              told.add(page);
              logger.debug(
                `the guest ${access.write ? 'writes' : 'reads'} guest-physical 0x${access.gpa.toString(16)}, where there is neither RAM nor a device`,
              );
            }
          }
          return RESUME;
        }
        if ((exit.qualification & FETCH) !== 0 && !memory.contains(exit.gpa, 1)) {
          return stop(
            `The guest jumped to guest-physical 0x${exit.gpa.toString(16)} (linear 0x${exit.guestLinear.toString(16)}), where there is no memory to execute from.`,
            { status: EXIT_STATUS['unhandled-exit'], reason: 'unhandled-exit', answer: RETRY },
          );
        }
        return undefined;
      };
      hooks.exit.for('ept-violation').tap({ stage: Stage.Machine }, handle);
      hooks.exit.for('ept-misconfiguration').tap({ stage: Stage.Machine }, handle);
    },
  });
}
