/** Every basic exit reason is provoked on the software processor, or refused as docs/exits.md says; and the page says what the code does. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { VMX_CAPABILITIES } from '@visorkit/backend-vmx';
import { exits } from '@visorkit/exits';
import { ExitReason, VmcsField as F, exitReasonEntry, exitReasonName } from '@visorkit/x86';
import { describe, expect, it } from 'vitest';
import { CODE, EXIT_CASES, Guest, alignmentLoop } from './exit-cases.js';

const ENTRY_FAILURES: readonly number[] = [ExitReason.ENTRY_FAILURE_GUEST_STATE, ExitReason.ENTRY_FAILURE_MSR_LOAD];

describe('exit reason', () => {
  it.each(EXIT_CASES.map((one, reason) => [reason, exitReasonName(reason), one.how, one] as const))(
    '%i %s: %s',
    async (reason, _name, _how, one) => {
      const guest = await Guest.create();
      const { engine } = guest;
      if ('provoke' in one) {
        one.provoke(guest);
        engine.setDeadline(100_000);
        const result = engine.enter();
        expect(result).toBe(ENTRY_FAILURES.includes(reason) ? (0x8000_0000 | reason) >>> 0 : reason);
        expect(engine.vmcs.read32(F.EXIT_QUALIFICATION)).toBe(one.value);
        if (one.information !== undefined) expect(engine.vmcs.read32(F.EXIT_INSTRUCTION_INFO)).toBe(one.information);
        if (!ENTRY_FAILURES.includes(reason)) expect(engine.rip).toBe(BigInt(CODE + (one.behind ?? 0)));
        return;
      }
      if (one.undefined !== undefined) {
        guest.code(...one.undefined);
        expect(engine.enter()).toBe(ExitReason.EXCEPTION);
        expect(engine.vmcs.read32(F.EXIT_INTERRUPTION_INFO)).toBe(0x8000_0306); // #UD
      }
      expect(VMX_CAPABILITIES.has(`exit.${exitReasonName(reason)}`)).toBe(false);
    },
  );

  it('is offered by the backend exactly where it can be provoked', () => {
    const can = EXIT_CASES.flatMap((one, reason) => ('provoke' in one ? [`exit.${exitReasonName(reason)}`] : []));
    expect([...VMX_CAPABILITIES].filter((name) => name.startsWith('exit.')).sort()).toEqual(can.sort());
  });
});

describe('docs/exits.md', () => {
  const page = readFileSync(join(import.meta.dirname, '../../docs/exits.md'), 'utf8');
  const rows = [...page.matchAll(/^\| (\d+) \| (.*) \|$/gm)].map(([, number, rest]) => [
    Number(number),
    ...rest.split(' | '),
  ]);

  it('has a row for each reason, with its name, how it is provoked, and its qualification', () => {
    expect(rows.map(([number]) => number)).toEqual(EXIT_CASES.map((_one, reason) => reason));
    for (const [number, name, how, qualification] of rows) {
      const one = EXIT_CASES[number as number];
      expect([name, how, qualification]).toEqual([
        exitReasonEntry(number as number) === undefined ? '' : `\`${exitReasonName(number as number)}\``,
        one.how,
        one.qualification,
      ]);
    }
  });

  it('names the plugin of @visorkit/exits that carries each out', () => {
    const owners = new Map(
      exits().flatMap(({ name, handles = [] }) => handles.map((exit) => [exit as string, `\`${name}\``] as const)),
    );
    for (const [number, , , , handler] of rows) {
      const owner = owners.get(exitReasonName(number as number));
      if (owner !== undefined) expect([number, handler]).toEqual([number, owner]);
      else expect([number, /^`exits\//.test(String(handler))]).toEqual([number, false]);
    }
  });
});

describe('an exception that its own delivery raises', () => {
  it('does not keep the processor: the deadline comes, and the guest is where it was', async () => {
    const guest = await Guest.create();
    const { engine } = guest;
    alignmentLoop(guest);
    engine.setDeadline(5000);
    expect(engine.enter()).toBe(0x10000);
    expect([engine.retired, engine.rip]).toEqual([5000, BigInt(CODE)]);
    engine.setDeadline(6000);
    expect(engine.enter()).toBe(0x10000);
  });

  it('comes after so many as the limit says, with the event that was being delivered', async () => {
    const guest = await Guest.create();
    alignmentLoop(guest);
    guest.secondary('instruction-timeout').field(F.INSTRUCTION_TIMEOUT, 1000);
    expect(guest.engine.enter()).toBe(ExitReason.INSTRUCTION_TIMEOUT);
    expect(guest.engine.vmcs.read32(F.IDT_VECTORING_INFO)).toBe(0x8000_0b11); // #AC
    expect(guest.engine.retired).toBeLessThanOrEqual(1001);
  });
});
