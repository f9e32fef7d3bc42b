/** What KVM says of a debugging event becomes a VmExit. */
import { ExitReason, VmExit } from '@visorkit/core';
import { describe, expect, it } from 'vitest';
import { breakpointsHit, fillDebug } from './fill-exit.js';
import { Run } from './kvm-api.js';

/** The exit for a DR6 as KVM_EXIT_DEBUG has it, and the DR7 in force. */
function exitOf(dr6: number, dr7: number, singleStep: boolean): VmExit {
  const words = new Uint32Array(1024);
  words[Run.DEBUG_EXCEPTION / 4] = 1;
  words[Run.DEBUG_DR6 / 4] = dr6;
  const exit = new VmExit();
  fillDebug(exit, { words }, singleStep, breakpointsHit(dr6, dr7));
  return exit;
}

describe('a debugging event of kvm', () => {
  it('is a single step although the address is that of a register whose breakpoint is off', () => {
    // B1 is set, and L1 and G1 are clear: SDM 3B, 18.2.3
    expect(exitOf(0xffff_4ff2, 0x400, true).reason).toBe(ExitReason.MONITOR_TRAP_FLAG);
    expect(exitOf(0xffff_4ff2, 0x401, true).reason).toBe(ExitReason.MONITOR_TRAP_FLAG);
  });

  it('is a breakpoint when that is on, while single-stepping too', () => {
    for (const dr7 of [0x404, 0x408]) {
      const { reason, qualification } = exitOf(0xffff_4ff3, dr7, true);
      expect([reason, qualification]).toEqual([ExitReason.EXCEPTION, 0x4002]);
    }
    expect(exitOf(0xffff_0ff1, 0x401, false).qualification).toBe(1);
  });
});
