/** A hostile hypervisor. VISORKIT_CASES and VISORKIT_SEED make it longer, and another one. */
import { ExitReason as Reason, VmcsField as F } from '@visorkit/x86';
import { expect, it } from 'vitest';
import { hostileCases } from './test-hostile.js';
import { slot } from './test-hostile-cases.js';
import { AT, Code, hypervisor, machine, run } from './test-hypervisor.js';

const cases = Number(process.env['VISORKIT_CASES'] ?? 500);
const seed = Number(process.env['VISORKIT_SEED'] ?? 1);

/** VMLAUNCH and VMRESUME: no current VMCS or a shadow VMCS (VMfailInvalid); clear or launched; controls; host state; blocking by MOV SS. */
const FAILURES = [-1, 4, 5, 7, 8, 26];
const FAILED = 0x8000_0000;
/** Exits to the hypervisor that a few hundred cases have, whatever the seed: failed entries among them. */
const COMMON = [
  Reason.EXCEPTION,
  Reason.EXTERNAL_INTERRUPT,
  Reason.TRIPLE_FAULT,
  Reason.INIT,
  Reason.CPUID,
  Reason.VMCALL,
  Reason.VMCLEAR,
  Reason.VMREAD,
  Reason.RDMSR,
  Reason.WRMSR,
  Reason.MONITOR_TRAP_FLAG,
  Reason.TPR_BELOW_THRESHOLD,
  Reason.EPT_VIOLATION,
  Reason.EPT_MISCONFIGURATION,
  Reason.PREEMPTION_TIMER,
  Reason.PAGE_MODIFICATION_LOG_FULL,
  FAILED + Reason.ENTRY_FAILURE_GUEST_STATE,
  FAILED + Reason.ENTRY_FAILURE_MSR_LOAD,
];
/** ... and what many have. */
const RARE = [
  Reason.INTERRUPT_WINDOW,
  Reason.NMI_WINDOW,
  Reason.HLT,
  Reason.INVD,
  Reason.INVLPG,
  Reason.RDTSC,
  Reason.VMLAUNCH,
  Reason.VMPTRLD,
  Reason.VMPTRST,
  Reason.VMRESUME,
  Reason.VMWRITE,
  Reason.VMXOFF,
  Reason.VMXON,
  Reason.CONTROL_REGISTER,
  Reason.DEBUG_REGISTER,
  Reason.IO,
  Reason.APIC_ACCESS,
  Reason.GDTR_IDTR,
  Reason.LDTR_TR,
  Reason.INVEPT,
  Reason.RDTSCP,
  Reason.INVVPID,
  Reason.WBINVD,
  Reason.XSETBV,
  Reason.RDRAND,
  Reason.INVPCID,
  Reason.VMFUNC,
];
const MANY = 20_000;

it(
  `${cases} hostile cases never end or hold up the machine, and each entry has an outcome that there is`,
  async () => {
    const { wrong, entries, fails, exits, lost, ...counted } = await hostileCases(seed, cases);
    if (process.env['VISORKIT_CASES'] !== undefined) console.log({ entries, fails, exits, lost });
    expect(wrong).toEqual([]);
    expect(counted.cases).toBe(cases);
    expect(entries).toBeGreaterThan(cases * 2);
    expect(FAILURES).toEqual(expect.arrayContaining(Object.keys(fails).map(Number)));
    const seen = Object.keys(exits).map(Number);
    expect(seen).toEqual(expect.arrayContaining(cases < MANY ? COMMON : [...COMMON, ...RARE]));
    for (const reason of seen)
      if (reason >= FAILED)
        expect([Reason.ENTRY_FAILURE_GUEST_STATE, Reason.ENTRY_FAILURE_MSR_LOAD]).toContain(reason - FAILED);
    // of a hypervisor that has gone astray a new one is made
    const astray = Object.values(lost).reduce((sum, count) => sum + count, 0);
    expect(astray).toBeLessThan(cases / 4);
  },
  20_000 + cases * 60,
);

it('a hypervisor that does nothing but enter a guest that leaves at once takes virtual time, and meets its limit', async () => {
  const { vmm } = await machine({
    code: hypervisor({ [F.PIN_CONTROLS]: 0x56, [F.GUEST_PREEMPTION_TIMER]: 0 }),
    handler: new Code().vmresume(),
  });
  const { reason, exits } = await vmm.run({ maxInstructions: 5000, timeout: 20 });
  expect(reason).toBe('max-instructions');
  expect(exits['preemption-timer']).toBeGreaterThan(4000);
  await vmm.dispose();
});

it('a host state that has been overwritten while the guest ran is VMX abort 3 (28.7)', async () => {
  const { report, vmm } = await run({
    code: hypervisor(),
    guest: new Code()
      .mov(0, 0)
      .store(AT.vmcs + slot(F.HOST_TR_SELECTOR))
      .mov(0, 1n << 63n)
      .store(AT.vmcs + slot(F.HOST_FS_BASE))
      .vmcall(),
  });
  expect([report.reason, report.why]).toEqual(['triple-fault', expect.stringMatching(/^VMX abort 3 /)]);
  expect(vmm.memory.readU32(AT.vmcs + 4)).toBe(3);
});
