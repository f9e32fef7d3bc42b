/** Going on behind a deadline: as if it had not been. */
import { ExitReason, VmcsField as F, controlBits } from '@visorkit/x86';
import { beforeEach, describe, expect, it } from 'vitest';
import { HOST_DEADLINE } from './layout.js';
import { add, code, engine, makeGuest, read, secondary } from './test-vmx.js';
import { ENTER_DEADLINE } from './vmcs-layout.js';

beforeEach(makeGuest);

/** Instructions until the guest exits, with a deadline every `every` of them at which it goes on, and the exit's reason. */
function untilExit(every: number): { reason: number; retired: number } {
  const began = engine.retired;
  engine.setDeadline(began + every);
  let reason = engine.enter();
  while (reason === ENTER_DEADLINE) {
    expect((engine.retired - began) % every).toBe(0);
    expect(engine.retired - began).toBeLessThan(1_000_000);
    engine.setDeadline(engine.retired + every);
    reason = engine.goOn();
  }
  return { reason, retired: engine.retired - began };
}

const WAYS: readonly [name: string, reason: number, begin: () => void][] = [
  [
    'the preemption timer goes on',
    ExitReason.PREEMPTION_TIMER,
    () => {
      add(F.PIN_CONTROLS, controlBits('pin', ['activate-preemption-timer']));
      engine.vmcs.write32(F.GUEST_PREEMPTION_TIMER, 100);
      code(0xeb, 0xfe); // JMP to itself
    },
  ],
  [
    'PAUSE-loop exiting counts on',
    ExitReason.PAUSE,
    () => {
      secondary('pause-loop-exiting');
      engine.vmcs.write32(F.PLE_GAP, 100);
      engine.vmcs.write32(F.PLE_WINDOW, 3000);
      code(0xf3, 0x90, 0xeb, 0xfc); // PAUSE; JMP to it
    },
  ],
];

describe('goOn', () => {
  it.each(WAYS)('%s', async (_name, reason, begin) => {
    begin();
    const whole = untilExit(500_000);
    expect(whole.reason).toBe(reason);
    expect(whole.retired).toBeGreaterThan(2000);
    for (const every of [700, 1009]) {
      await makeGuest();
      begin();
      expect(untilExit(every)).toEqual(whole);
    }
  });

  it('counts a fault of a fetch once, wherever deadlines lie', async () => {
    const begin = (): void => code(0x90, 0x48, 0xb8, 0, 0, 0, 0x80, 0, 0, 0, 0, 0xff, 0xe0); // NOP; MOV RAX, 8000_0000H, where nothing is; JMP RAX
    begin();
    const whole = untilExit(500_000);
    expect(whole.reason).toBe(ExitReason.HLT); // of the handler
    for (const every of [1, 2, 3, 4]) {
      await makeGuest();
      begin();
      expect(untilExit(every)).toEqual(whole);
    }
  });

  it('is bound by the deadline that is set then', () => {
    code(0xeb, 0xfe);
    engine.setDeadline(engine.retired + 10);
    expect(engine.enter()).toBe(ENTER_DEADLINE);
    engine.setDeadline(engine.retired + 25);
    expect(engine.goOn()).toBe(ENTER_DEADLINE);
    expect(engine.retired).toBe(Number(engine.longs[HOST_DEADLINE >>> 3]));
    expect(read(F.EXIT_REASON)).toBe(0);
  });
});
