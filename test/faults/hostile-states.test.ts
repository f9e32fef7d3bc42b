/** A processor started in states that make no sense: VM entry refuses them with a report, or the guest runs and ends by itself. */
import { GPR_NAMES, SEGMENT_NAMES, isVisorkitError } from '@visorkit/core';
import type { InitialState, SegmentState, StopReport } from '@visorkit/core';
import { flatSegments, realModeSegments, writeFlatGdt, writeIdentityMap } from '@visorkit/machine';
import { describe, expect, it } from 'vitest';
import { hostileMachine, survive } from './machine.js';
import { Random } from './random.js';

const RUNS = 200;

function segment(random: Random): SegmentState {
  return {
    selector: random.below(0x10000),
    base: random.hostile(),
    limit: Number(random.hostile() & 0xffffffffn),
    accessRights: random.oneIn(3)
      ? random.u32() & 0x1ffff
      : random.pick([0x93, 0x9b, 0xc093, 0xc09b, 0xa09b, 0x10000, 0xf3, 0x8b, 0x82, 0]),
  };
}

function state(random: Random): InitialState {
  // From one wrong thing to everything wrong
  const share = random.pick([2, 8, 30]);
  const mode = random.pick(['real16', 'protected32', 'long64'] as const);
  const sound = mode === 'real16' ? realModeSegments(0x20000, 0) : flatSegments(mode === 'long64' ? 64 : 32);
  const segments = Object.fromEntries(
    SEGMENT_NAMES.map((name) => [name, random.oneIn(share * 2) ? segment(random) : sound[name]]),
  );
  const maybe = <T>(value: () => T, otherwise: T): T => (random.oneIn(share) ? value() : otherwise);
  return {
    mode,
    rip: maybe(() => random.hostile(), 0x20000n),
    rsp: random.hostile(),
    rflags: maybe(() => random.hostile(), 2n),
    registers: Object.fromEntries(GPR_NAMES.map((name) => [name, random.hostile()])),
    segments,
    cr0: maybe(() => random.hostile(), mode === 'real16' ? 0x10n : mode === 'long64' ? 0x80000031n : 0x31n),
    cr3: maybe(() => random.hostile(), 0x10000n),
    cr4: maybe(() => random.hostile(), mode === 'long64' ? 0x20n : 0n),
    efer: maybe(() => random.hostile(), mode === 'long64' ? 0x500n : 0n),
    gdtr: { base: maybe(() => random.hostile(), 0x2000n), limit: maybe(() => random.u32(), 0x2f) },
    idtr: { base: maybe(() => random.hostile(), 0x3000n), limit: maybe(() => random.u32(), 0xfff) },
  };
}

describe('hostile first states', () => {
  it('are refused with the rule they break, or run', async () => {
    const [first, runs] = (process.env.VISORKIT_FUZZ ?? `1,${RUNS}`).split(',').map(Number);
    const reasons = new Map<string, number>();
    const note = (reason: string): void => void reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
    for (let seed = first; seed < first + runs; seed++) {
      const random = new Random(seed);
      let report: StopReport;
      try {
        report = await survive(
          `seed ${seed}`,
          ({ memory }) => {
            writeFlatGdt(memory, 0x2000, 64);
            writeIdentityMap(memory, 0x10000);
            memory.write(0x20000, random.bytes(0x1000));
            return state(random);
          },
          { maxInstructions: 200 },
        );
      } catch (error) {
        // A state that the loader's caller has to be told of
        expect(isVisorkitError(error) && error.code !== 'PLUGIN_FAILED', `seed ${seed}: ${String(error)}`).toBe(true);
        note((error as { code: string }).code);
        continue;
      }
      note(report.failure?.exit.name === 'entry-failure-guest-state' ? 'refused' : report.reason);
    }
    expect(reasons.get('refused') ?? 0, JSON.stringify([...reasons])).toBeGreaterThan(runs / 10);
    expect(reasons.get('triple-fault') ?? 0, JSON.stringify([...reasons])).toBeGreaterThan(0);
    expect(reasons.get('max-instructions') ?? 0, JSON.stringify([...reasons])).toBeGreaterThan(0);
  }, 600_000);

  it('a state that VM entry refuses ends the run with the rule it breaks', async () => {
    await using vmm = hostileMachine(() => ({
      mode: 'long64',
      rip: 0x1000n,
      cr0: 0x80000031n,
      cr4: 0n,
      efer: 0x500n,
      segments: flatSegments(64),
    }));
    const report = await vmm.run({ maxInstructions: 10, timeout: 10 });
    expect(report).toMatchObject({ reason: 'unhandled-exit', exitStatus: 72, guestInstructions: 0 });
    expect(report.why).toMatch(/VM entry failed .*VM entry requires that .*PAE.*SDM 3C 27\.3/);
  });
});
