/** Walks and fetches of a plugin's guest where the machine has no memory: what a bus gives when nobody answers, all ones, without a device being asked. */
import type { VmExit } from '@visorkit/core';
import type { Engine } from '@visorkit/engine';
import { VmcsField } from '@visorkit/x86';

/** Exit qualification of an EPT violation (SDM 3C, table 28-7): of a fetch. */
const FETCH = 4;

/**
 * Answers the last exit, an EPT violation that asks no device. A walk comes to reserved bits or to a page there, and a fetch to FF FF, which is no instruction. `rom`: host-physical
 * address of the memory if it is read-only; a walk is to set a flag there, which gets lost. False: it is another access, and nothing has been done.
 */
export function answerNothing(engine: Engine, exit: VmExit, rom: number | undefined): boolean {
  if ((exit.qualification & FETCH) === 0) {
    engine.mmio.giveEntries(Number(engine.vmcs.read64(VmcsField.GUEST_PHYSICAL_ADDRESS)), rom);
    return true;
  }
  if (rom !== undefined) return false;
  engine.mmio.forget();
  engine.exports.supplyOnes(exit.guestLinear);
  return true;
}
