/** Processors that take turns: what another one holds is read, and its controls are written, without a turn. */
import { beforeEach, describe, expect, it } from 'vitest';
import { ExitReason, VmcsField } from '@visorkit/x86';
import { ProcessorBanks } from './banks.js';
import { Engine } from './engine.js';
import { writeIdentityTables, writeValidVmcs } from './testing.js';
import { ENTER_VMFAIL } from './vmcs-layout.js';

const CODE = 0x10000;
let engine: Engine;
let banks: ProcessorBanks;

beforeEach(async () => {
  engine = await Engine.create({ memoryBytes: 4 << 20 });
  writeIdentityTables(engine);
  writeValidVmcs(engine);
  banks = new ProcessorBanks(engine, 2);
});

describe('a processor whose turn it is not', () => {
  it('is read where it lies', () => {
    const other = banks.select(1);
    other.setRegister(0, 0x1234_5678_9abc_def0n);
    other.cr2 = 5n;
    other.memory.write(CODE, Uint8Array.of(0x83, 0xf9, 0x01, 0xf4)); // CMP ECX, 1: flags that are kept lazily
    other.rip = BigInt(CODE);
    expect(other.enter()).toBe(ExitReason.HLT);
    const read = (): unknown[] => {
      const state = banks.state(1);
      return [state.getRegister(0), state.getRegister32(0), state.cr2, state.rip, state.rflags, state.getSegment(1)];
    };
    const own = read();
    banks.select(0);
    engine.setRegister(0, 1n);
    const { turns } = banks;
    expect(read()).toEqual(own);
    expect(banks.state(1).vmcs.read64(VmcsField.GUEST_RFLAGS)).toBe(BigInt(own[4] as number));
    expect(banks.state(0).getRegister(0)).toBe(1n);
    expect(banks.turns).toBe(turns);
  });

  it('has controls and registers written that count in its next turn', () => {
    const { turns } = banks,
      { vmcs } = banks.state(1);
    vmcs.write64(VmcsField.GUEST_RIP, BigInt(CODE));
    vmcs.write64(VmcsField.GUEST_RFLAGS, 0x46n);
    vmcs.write64(VmcsField.EPT_POINTER, 0n); // refused by VM entry: it was looked at
    expect(banks.turns).toBe(turns);
    expect(banks.select(1).rip).toBe(BigInt(CODE));
    expect([banks.turns, engine.rflags]).toEqual([turns + 1, 0x46]);
    expect(engine.enter()).toBe(ENTER_VMFAIL);
  });
});
