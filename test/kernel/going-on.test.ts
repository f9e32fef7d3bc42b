/** A VM whose run has ended goes on: after limits, exits that nobody took, errors of plugins, stops. On a backend that plays scripts. */
import { describe, expect, it } from 'vitest';
import { HALT, RESUME, RETRY, Stage, SystemControlToken, definePlugin, pause, reset, stop } from '@visorkit/core';
import type { ExitHandler, Plugin } from '@visorkit/core';
import { compose } from '@visorkit/machine';
import { anExit, busyFor, cpuidExit, fakeBackend, hltExit } from '@visorkit/testkit';
import type { ScriptedExit } from '@visorkit/testkit';

const memory = 4096;
const halting: Plugin = {
  name: 'halting',
  apply: ({ hooks }) => void hooks.exit.for('hlt').tap({ stage: Stage.Architecture }, () => HALT),
};

/** A VM that plays a script, with a handler of CPUID exits. */
function machine(script: readonly ScriptedExit[], cpuid?: ExitHandler) {
  const backend = fakeBackend(script);
  const plugins = [halting];
  if (cpuid !== undefined) {
    plugins.push({ name: 'cpuid', apply: ({ hooks }) => void hooks.exit.for('cpuid').tap(cpuid) });
  }
  const vmm = compose({ backend, memory, time: 'virtual', plugins });
  return { vmm, backend, log: () => backend.vcpus[0].log };
}

describe('a VM goes on', () => {
  it('after a limit, which counts from the beginning of each run', async () => {
    const { vmm } = machine([busyFor(10_000), hltExit(false)]);
    for (const guestInstructions of [4000, 8000]) {
      expect(await vmm.run({ maxInstructions: 4000 })).toMatchObject({ reason: 'max-instructions', guestInstructions });
      expect(vmm.state).toBe('paused');
    }
    expect(await vmm.run()).toMatchObject({ reason: 'halted', guestInstructions: 10_001 });
    await vmm.dispose();
  });

  it('after an exit that nobody took: it is offered again, to handlers that are new', async () => {
    const { vmm, log } = machine([cpuidExit(1), hltExit(false)]);
    expect((await vmm.run()).reason).toBe('unhandled-exit');
    expect((await vmm.run()).reason).toBe('unhandled-exit');
    vmm.hooks.exit.for('cpuid').tap(() => RESUME);
    expect(await vmm.run()).toMatchObject({ reason: 'halted', exits: { cpuid: 3, hlt: 1 } });
    expect(log()).toEqual(['complete', 'complete']);
    await vmm.dispose();
  });

  it('where RIP was moved to, and the exit is forgotten', async () => {
    const { vmm, log } = machine([cpuidExit(1), hltExit(false)]);
    await vmm.run();
    vmm.vcpus[0].rip += 2n;
    expect(await vmm.run()).toMatchObject({ reason: 'halted', exits: { cpuid: 1, hlt: 1 } });
    expect(log()).toEqual(['drop', 'complete']);
    await vmm.dispose();
  });

  it('after a handler threw: the exit is offered again', async () => {
    let broken = true;
    const { vmm } = machine([cpuidExit(1), hltExit(false)], () => {
      if (broken) throw new Error('not yet');
      return RESUME;
    });
    expect((await vmm.run()).reason).toBe('plugin-error');
    broken = false;
    expect((await vmm.run()).reason).toBe('halted');
    await vmm.dispose();
  });

  it('delivers an event again whose delivery was cut short by an exit that nobody took', async () => {
    const vectoring = anExit(48, (exit) => {
      exit.idtVectoringInfo = 0x8000_0020;
    });
    const { vmm, log } = machine([vectoring, hltExit(false)]);
    expect((await vmm.run()).reason).toBe('unhandled-exit');
    vmm.hooks.exit.for('ept-violation').tap(() => RETRY);
    await vmm.run();
    expect(log()[0]).toBe('reinject 0x80000020');
    await vmm.dispose();
  });

  it('behind the instruction at which a handler stopped it, or before it when the handler says so', async () => {
    for (const [outcome, completed] of [
      [stop('enough', 3), ['complete', 'complete']],
      [pause('look'), ['complete', 'complete']],
      [stop('again', { answer: RETRY }), ['complete']],
    ] as const) {
      const { vmm, log } = machine([cpuidExit(1), hltExit(false)], () => outcome);
      const report = await vmm.run();
      expect(report).toMatchObject({ reason: outcome.reason, exitStatus: outcome.status, why: outcome.why });
      expect((await vmm.run()).reason).toBe('halted');
      expect(log()).toEqual(completed);
      await vmm.dispose();
    }
  });

  it('starts the machine again when it runs on after a reset', async () => {
    for (const ask of ['outcome', 'service'] as const) {
      const told: string[] = [];
      const backend = fakeBackend([cpuidExit(1), hltExit(false)]);
      const resetting = definePlugin({
        name: 'resetting',
        uses: { system: SystemControlToken },
        apply({ hooks }, { system }) {
          hooks.load.tap(() => void told.push('load'));
          hooks.reset.tap(() => void told.push('reset'));
          hooks.exit.for('cpuid').tap(() => {
            if (ask === 'outcome') return reset('again');
            system.reset('again');
            return RESUME;
          });
        },
      });
      const vmm = compose({ backend, memory, time: 'virtual', plugins: [halting, resetting] });
      expect(await vmm.run()).toMatchObject({ reason: 'reset', why: 'again' });
      expect((await vmm.run()).reason).toBe('halted');
      expect(told).toEqual(['load', 'reset', 'load']);
      expect(backend.vcpus[0].log).toContain('init');
      await vmm.dispose();
    }
  });

  it('after abort and timeout, whose limits are gone', async () => {
    const { vmm } = machine([busyFor(50_000_000), hltExit(false)]);
    const abort = new AbortController();
    abort.abort();
    expect((await vmm.run({ signal: abort.signal })).reason).toBe('aborted');
    expect((await vmm.run({ timeout: 1e-6 })).reason).toBe('timeout');
    expect(await vmm.run()).toMatchObject({ reason: 'halted', guestInstructions: 50_000_001 });
    await vmm.dispose();
  });

  it('refuses options that it does not know', async () => {
    const { vmm } = machine([]);
    await expect(vmm.run({ maxInstruction: 5 } as never)).rejects.toMatchObject({
      code: 'RUN_LIMIT',
      message: 'In run(): "maxInstruction" is not an option of run; did you mean "maxInstructions"?',
    });
    await vmm.dispose();
  });
});
