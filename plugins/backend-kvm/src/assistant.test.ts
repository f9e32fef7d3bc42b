import { describe, expect, it } from 'vitest';
import { MmioBusToken, writeIdentityMap } from '@visorkit/machine';
import { Stage } from '@visorkit/core';
import type { InitialState, Plugin } from '@visorkit/core';
import { HLT, kvmUsable, runGuest } from './test-machine.js';
import type { MachineOptions, Ran } from './test-machine.js';

const usable = kvmUsable();
const TABLES = 0x2_0000;
const CR4_PAE = 0x20n, CR4_OSFXSR = 0x200n, CR4_OSXSAVE = 1n << 18n;

/** Runs 64-bit code in ring 0 over an identity map. */
async function long(code: readonly number[], state: Partial<InitialState> = {}, options: MachineOptions = {}): Promise<Ran> {
  const plugin: Partial<Plugin> = {
    ...options.plugin,
    apply(host) {
      host.hooks.load.tapPromise({ name: 'tables', stage: Stage.Machine }, async () => writeIdentityMap(host.services.get((await import('@visorkit/core')).GuestMemoryToken), TABLES));
      options.plugin?.apply?.(host);
    },
  };
  return runGuest(code, { ...options, plugin, state: { mode: 'long64', cr3: BigInt(TABLES), ...state } });
}

describe.skipIf(!usable)('instructions that the kernel cannot emulate', () => {
  it('LOCK CMPXCHG16B is carried out, by the kernel or by the software processor', async () => {
    // LOCK CMPXCHG16B [RSI]
    const { vmm, memory, vcpu, report } = await long([0xf0, 0x48, 0x0f, 0xc7, 0x0e, HLT], {
      registers: { rsi: 0x5000n, rax: 1n, rdx: 2n, rbx: 0x1111n, rcx: 0x2222n },
    }, { data: { 0x5000: Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0, 2) } });
    expect(report.reason).toBe('halted');
    expect([memory.readU64(0x5000), memory.readU64(0x5008)]).toEqual([0x1111n, 0x2222n]);
    expect(vcpu.rflags & 0x40n).toBe(0x40n);
    process.stderr.write(`cmpxchg16b: ${JSON.stringify(report.statistics ?? {})}\n`);
    await vmm.dispose();
  });

  it('XSAVE', async () => {
    const { vmm, memory, report } = await long([0x0f, 0xae, 0x26, HLT], { cr4: CR4_PAE | CR4_OSFXSR | CR4_OSXSAVE, registers: { rsi: 0x6000n, rax: 7n } });
    process.stderr.write(`xsave: ${report.reason} ${report.why} ${JSON.stringify(report.statistics ?? {})} ${memory.readU64(0x6000)}\n`);
    await vmm.dispose();
  });
});
export { MmioBusToken };
