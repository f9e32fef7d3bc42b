/**
 * Exits 48 and 49: an access that the EPT tables do not allow. Where there is no RAM the machine's devices answer; an
 * address that no device claims reads as all ones, swallows writes, and is counted.
 */
import { RESUME, Stage, stop, EXIT_STATUS } from '@visorkit/core';
import type { Outcome, Plugin, VmExit } from '@visorkit/core';
import { GuestMemoryToken, MmioBusToken } from '@visorkit/machine';

/** Qualification bit 2: the access was an instruction fetch (SDM 3C, table 28-7). */
const FETCH = 4;

export function eptViolation(): Plugin {
  return {
    name: 'exits/ept-violation',
    requires: { capabilities: ['exit.ept-violation'], services: [MmioBusToken, GuestMemoryToken] },
    apply({ hooks, services, logger }) {
      const bus = services.get(MmioBusToken);
      const memory = services.get(GuestMemoryToken);
      const told = new Set<number>();
      const handle = (exit: VmExit): Outcome | undefined => {
        const { mmio } = exit;
        if (mmio.valid) {
          if (!bus.answer(mmio)) {
            const page = Math.floor(mmio.gpa / 4096);
            if (!told.has(page) && told.size < 1000) {
              told.add(page);
              logger.debug(
                `the guest ${mmio.write ? 'writes' : 'reads'} guest-physical 0x${mmio.gpa.toString(16)}, where there is neither RAM nor a device`,
              );
            }
          }
          return RESUME;
        }
        if ((exit.qualification & FETCH) !== 0 && !memory.contains(exit.gpa, 1)) {
          return stop(
            `The guest jumped to guest-physical 0x${exit.gpa.toString(16)} (linear 0x${exit.guestLinear.toString(16)}), where there is no memory to execute from.`,
            EXIT_STATUS['unhandled-exit'],
            'unhandled-exit',
          );
        }
        return undefined;
      };
      hooks.exit.for('ept-violation').tap({ name: 'exits/ept-violation', stage: Stage.Machine }, handle);
      hooks.exit.for('ept-misconfiguration').tap({ name: 'exits/ept-violation', stage: Stage.Machine }, handle);
    },
  };
}
