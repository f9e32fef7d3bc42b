/** What the hypervisor is offered and kvm-unit-tests leaves out: depth and pages of its EPT, roots that are kept, TSC scaling, PAUSE loops. And the README names what it is not offered. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { definePlugin } from '@visorkit/core';
import { MsrBusToken } from '@visorkit/machine';
import { CONTROL_TABLES, ExitReason, Msr, VmcsField as F } from '@visorkit/x86';
import { describe, expect, it } from 'vitest';
import { NestedVmxToken } from './index.js';
import { AT, Code, EPTP, WITH_EPT, hypervisor, machine, run, tell, writeEpt } from './test-hypervisor.js';

const VMCALL = 18n,
  PAUSE = 40n;
const PAGE = 0x6_0000;
const word = (value: number): number[] => [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);

describe('EPT of the hypervisor', () => {
  /** Linear address that is guest-physical GIB for its guest. */
  const HIGH = 511 * 2 ** 21,
    GIB = 2 ** 30;
  /** Table of level 5, and one of level 2 for the second GiB. */
  const TOP = 0x5_0000,
    LARGE = 0x5_1000;
  const POINTERS = { 4: EPTP, 5: BigInt(TOP) | 0x26n };

  it.each<[4 | 5, string, number]>([
    [4, '4 KiB', PAGE + 0x1000],
    [4, '2 MiB', 0x40_0000 + PAGE],
    [4, '1 GiB', PAGE],
    [5, '4 KiB', PAGE + 0x1000],
    [5, '2 MiB', 0x40_0000 + PAGE],
    [5, '1 GiB', PAGE],
  ])('has %i levels, and pages of %s (29.3.2)', async (levels, size, there) => {
    const { result } = await run({
      code: hypervisor({ ...WITH_EPT, [F.EPT_POINTER]: POINTERS[levels] }),
      guest: new Code()
        .load(size === '4 KiB' ? PAGE : HIGH + PAGE)
        .store(AT.results + 48)
        .vmcall(),
      handler: tell(),
      prepare: (vmm) => {
        writeEpt(vmm);
        const { memory } = vmm;
        memory.writeU64(AT.tables + 0x2000 + 511 * 8, BigInt(GIB) | 0x83n);
        memory.writeU64(TOP, BigInt(AT.ept) | 7n);
        memory.writeU64(LARGE, 0x40_0000n | 0xb7n);
        memory.writeU64(AT.ept + 0x1008, size === '2 MiB' ? BigInt(LARGE) | 7n : 0xb7n);
        memory.writeU64(AT.ept + 0x3000 + (PAGE >>> 12) * 8, BigInt(PAGE + 0x1000) | 0x37n);
        memory.writeU64(there, 7n);
      },
    });
    expect([result(1), result(6)]).toEqual([VMCALL, 7n]);
  });

  it('is kept by root: INVEPT of one leaves what is known of the other (29.4.3.1)', async () => {
    const other = 0x9_0000,
      unused = 0xa_0000;
    const [first, second, none] = [EPTP, BigInt(other) | 0x1en, BigInt(unused) | 0x1en];
    // At the first CPUID the second root comes, at the second the first again, behind an INVEPT of the second, …
    const pointers = [second, first, second];
    const invalidated = [none, second, none];
    const found = [0, 0, 0, 0];
    let turn = 0;
    const { report } = await run({
      code: hypervisor(WITH_EPT),
      guest: new Code().add(...[1, 2, 3, 4].flatMap(() => new Code().load(PAGE).cpuid().bytes)).halt(),
      handler: new Code()
        .load(AT.free)
        .add(0x48, 0x89, 0xc1, 0x48, 0xff, 0xc0) // MOV RCX, RAX; INC RAX
        .store(AT.free)
        .add(0x48, 0x8b, 0x14, 0xcd, ...word(AT.free + 0x100)) // MOV RDX, [RCX * 8 + …]
        .add(0x48, 0xc1, 0xe1, 4, 0xb8, ...word(F.EPT_POINTER), 0x0f, 0x79, 0xc2) // SHL RCX, 4; MOV EAX; VMWRITE
        .add(0xb8, ...word(1), 0x66, 0x0f, 0x38, 0x80, 0x81, ...word(AT.free + 0x200)) // INVEPT RAX, [RCX + …]
        .skipInstruction()
        .vmresume(),
      plugins: [
        definePlugin({
          name: 'counting',
          uses: { nested: NestedVmxToken },
          apply: (_host, { nested }) => {
            nested.hooks.exit.tap(({ exit, by }) => {
              if (exit.reason === ExitReason.EPT_VIOLATION && by === 'machine') found[turn]++;
              if (exit.reason === ExitReason.CPUID) turn++;
            });
          },
        }),
      ],
      prepare: (vmm) => {
        writeEpt(vmm);
        writeEpt(vmm, 7, other);
        for (const [n, pointer] of [...pointers, first].entries())
          vmm.memory.writeU64(AT.free + 0x100 + n * 8, pointer);
        for (const [n, pointer] of [...invalidated, none].entries())
          vmm.memory.writeU64(AT.free + 0x200 + n * 16, pointer);
      },
    });
    expect([report.reason, turn]).toEqual(['halted', 4]);
    expect(found.map((count) => count > 0)).toEqual([true, true, false, true]);
  });
});

describe('VPIDs (29.3.2.1, 29.4.3.1)', () => {
  // Both look at a linear address; the guest changes its entry and invalidates nothing; the hypervisor looks again behind the exit, the guest behind the next entry
  const MAPPED = 510 * 2 ** 21,
    ENTRY = AT.tables + 0x2000 + 510 * 8,
    OLD = 0x40_0000,
    NEW = 0x60_0000;
  const look = (at: number): number[] => new Code().load(MAPPED).store(at).bytes;
  const change = new Code().mov(0, BigInt(NEW) | 0x83n).store(ENTRY).bytes;

  it.each<[string, Record<number, bigint | number>, bigint[]]>([
    ['with one, translations of both last', { [F.SECONDARY_CONTROLS]: 1 << 5, [F.VPID]: 7 }, [1n, 1n]],
    ['without, entries and exits drop them', { [F.SECONDARY_CONTROLS]: 0 }, [2n, 2n]],
  ])('%s', async (_what, fields, expected) => {
    const { result } = await run({
      code: new Code().add(
        ...look(AT.results + 16),
        ...hypervisor({ [F.PRIMARY_CONTROLS]: 0x8400_6172, ...fields }).bytes,
      ),
      guest: new Code().add(
        ...look(AT.results + 24), // as it was
        ...change,
        ...new Code().cpuid().bytes,
        ...look(AT.results + 40),
        ...new Code().vmcall().bytes,
      ),
      handler: new Code()
        .vmread(F.EXIT_REASON, AT.results + 8)
        .add(0x48, 0x83, 0xfa, 18, 0x75, 0x01, 0xf4) // CMP RDX, VMCALL; JNE +1; HLT
        .add(...look(AT.results + 32))
        .skipInstruction()
        .vmresume(),
      prepare: ({ memory }) => {
        memory.write(ENTRY, Uint8Array.from([...word(OLD | 0x83), 0, 0, 0, 0]));
        memory.writeU64(OLD, 1n);
        memory.writeU64(NEW, 2n);
      },
    });
    expect([result(1), result(2), result(3)]).toEqual([VMCALL, 1n, 1n]);
    expect([result(4), result(5)]).toEqual(expected);
  });
});

describe('time of the guest', () => {
  it.each([
    ['twice as fast', 2],
    ['half as fast', 0.5],
  ])('is the hypervisor’s, %s and with an offset (26.3, 25.6.5)', async (_how, factor) => {
    const offset = 1n << 40n;
    const readTsc = (at: number): number[] =>
      new Code().add(0x0f, 0x31, 0x48, 0xc1, 0xe2, 32, 0x48, 0x09, 0xd0).store(at).bytes; // RDTSC; SHL RDX; OR RAX, RDX
    const { result } = await run({
      code: new Code()
        .add(0xb9, ...word(100_000), 0xff, 0xc9, 0x75, 0xfc, ...readTsc(AT.results + 16)) // MOV ECX; DEC ECX; JNZ
        .add(
          ...hypervisor({
            [F.PRIMARY_CONTROLS]: 0x8400_617a,
            [F.SECONDARY_CONTROLS]: 1 << 25,
            [F.TSC_MULTIPLIER]: BigInt(factor * 2 ** 48),
            [F.TSC_OFFSET]: offset,
          }).bytes,
        ),
      guest: new Code().add(...readTsc(AT.results + 24)).vmcall(),
      handler: new Code()
        .add(...readTsc(AT.results + 32))
        .vmread(F.EXIT_REASON, AT.results + 8)
        .halt(),
    });
    expect(result(1)).toBe(VMCALL);
    const [before, there, after] = [result(2), result(3) - offset, result(4)].map(Number);
    expect(before).toBeGreaterThan(100_000);
    expect(after).toBeLessThan(before * 1.5);
    expect(there).toBeGreaterThanOrEqual(Math.floor(before * factor));
    expect(there).toBeLessThanOrEqual(after * factor);
  });
});

describe('PAUSE-loop exiting (26.1.3)', () => {
  // PAUSE; JMP back, and three of them
  const forever = new Code().add(0xf3, 0x90, 0xeb, 0xfc),
    short = new Code().add(0xf3, 0x90, 0xf3, 0x90, 0xf3, 0x90).vmcall();
  it.each([
    ['a loop without an end', forever, PAUSE],
    ['a short one', short, VMCALL],
  ])('of %s', async (_what, guest, reason) => {
    const { result } = await run({
      code: hypervisor({
        [F.PRIMARY_CONTROLS]: 0x8400_6172,
        [F.SECONDARY_CONTROLS]: 1 << 10,
        [F.PLE_GAP]: 100,
        [F.PLE_WINDOW]: 1000,
      }),
      guest,
      handler: tell(),
    });
    expect(result(1)).toBe(reason);
  });
});

describe('the README', () => {
  /** How it names what there are controls for and are none here. */
  const NAMES: Readonly<Record<string, string>> = {
    'activate-tertiary-controls': 'tertiary',
    'activate-secondary-controls': 'secondary VM-exit controls',
    'enable-encls-exiting': 'ENCLS',
    'enable-enclv-exiting': 'ENCLV',
    'enable-pconfig': 'PCONFIG',
    'conceal-vmx-from-pt': 'Intel PT',
    'pt-uses-guest-physical': 'Intel PT',
    'load-rtit-ctl': 'Intel PT',
    'clear-rtit-ctl': 'Intel PT',
    'pasid-translation': 'PASID',
    'load-perf-global-ctrl': 'IA32_PERF_GLOBAL_CTRL',
    'save-perf-global-ctrl': 'IA32_PERF_GLOBAL_CTRL',
    'load-bndcfgs': 'IA32_BNDCFGS',
    'clear-bndcfgs': 'IA32_BNDCFGS',
    'load-lbr-ctl': 'IA32_LBR_CTL',
    'clear-lbr-ctl': 'IA32_LBR_CTL',
    'load-uinv': 'UINV',
    'clear-uinv': 'UINV',
    'load-cet-state': 'CET',
    'load-pkrs': 'PKRS',
    'load-fred': 'FRED',
    'load-spec-ctrl': 'IA32_SPEC_CTRL',
    'entry-to-smm': 'dual monitor',
    'deactivate-dual-monitor': 'dual monitor',
  };
  const MSRS = {
    pin: Msr.IA32_VMX_TRUE_PINBASED_CTLS,
    primary: Msr.IA32_VMX_TRUE_PROCBASED_CTLS,
    secondary: Msr.IA32_VMX_PROCBASED_CTLS2,
    exit: Msr.IA32_VMX_TRUE_EXIT_CTLS,
    entry: Msr.IA32_VMX_TRUE_ENTRY_CTLS,
  };

  it('names every control that is not offered', async () => {
    const page = readFileSync(join(import.meta.dirname, '../README.md'), 'utf8');
    const refused = /^Not offered: ([\s\S]*?)\n\n/m.exec(page)![1].replaceAll('\n', ' ');
    const { vmm } = await machine({ code: new Code().halt() });
    const bus = vmm.services.get(MsrBusToken);
    for (const table of ['pin', 'primary', 'secondary', 'exit', 'entry'] as const) {
      const allowed = Number(bus.find(MSRS[table])!.readMsr(MSRS[table], 0)! >> 32n);
      for (const [name, bit] of Object.entries(CONTROL_TABLES[table]))
        if (((allowed >>> bit) & 1) === 0)
          expect([table, name, refused]).toEqual([table, name, expect.stringContaining(NAMES[name] ?? name)]);
        else if (table !== 'primary') expect([table, name, NAMES[name]]).toEqual([table, name, undefined]);
    }
    await vmm.dispose();
  });
});
