/** Exit 10: CPUID. Answers from the machine's CPUID table, with the bits that follow the vCPU's state. */
import { Gpr, RESUME, Stage, definePlugin, optional } from '@visorkit/core';
import type { Plugin, Vcpu } from '@visorkit/core';
import { CpuidTableToken, EAX, EBX, ECX, EDX, LocalApicsToken } from '@visorkit/machine';
import type { CpuidResult, CpuidTable, LocalApics } from '@visorkit/machine';
import { Msr } from '@visorkit/x86';

const CR4_OSXSAVE = 1n << 18n;
const CR4_PKE = 1n << 22n;
const IA32_XSS = 0xda0;
/** CPUID.1:ECX, CPUID.1:EDX and CPUID.7.0:ECX. */
const LEAF1_ECX_OSXSAVE = 1 << 27;
const LEAF1_EDX_APIC = 1 << 9;
/** Without it CPUID.1:EBX[23:16] means nothing. */
const LEAF1_EDX_HTT = 1 << 28;
/** What IA32_MISC_ENABLE takes away (SDM 4, table 2-2): MONITOR, leaves above 2, execute-disable. */
const LEAF1_ECX_MONITOR = 1 << 3,
  LEAF_80000001_EDX_NX = 1 << 20,
  LIMITED_LEAF = 2;
const MISC_ENABLE_MONITOR = 1 << 18,
  MISC_ENABLE_LIMIT_CPUID = 1 << 22,
  MISC_ENABLE_HIGH_XD_DISABLE = 1 << 2;
const LEAF7_ECX_OSPKE = 1 << 4;
/** Legacy region and XSAVE header: the least an XSAVE area takes. */
const XSAVE_MINIMUM = 512 + 64;

export function cpuid(): Plugin {
  return definePlugin({
    name: 'exits/cpuid',
    handles: ['cpuid'],
    appliesTo: ['exit.cpuid'],
    uses: { table: CpuidTableToken, apics: optional(LocalApicsToken) },
    apply({ hooks, vcpus, onDispose }, { table, apics }) {
      for (const undo of followState(table, apics, vcpus.length, vcpus[0].hasMsr(Msr.IA32_MISC_ENABLE)))
        onDispose(undo);
      hooks.exit.for('cpuid').tap({ stage: Stage.Architecture }, (_exit, vcpu) => {
        const result = table.execute(vcpu.getRegister32(Gpr.RAX), vcpu.getRegister32(Gpr.RCX), vcpu);
        vcpu.setRegister32(Gpr.RAX, result[EAX]);
        vcpu.setRegister32(Gpr.RBX, result[EBX]);
        vcpu.setRegister32(Gpr.RCX, result[ECX]);
        vcpu.setRegister32(Gpr.RDX, result[EDX]);
        return RESUME;
      });
    },
  });
}

/** The bits of SDM 2A, CPUID, that are not constant. */
function followState(
  table: CpuidTable,
  apics: LocalApics | undefined,
  cpus: number,
  keepsMiscEnable: boolean,
): (() => void)[] {
  const idOf = (vcpu: Vcpu): number => apics?.forVcpu(vcpu.index).id ?? vcpu.index;
  const undo: (() => void)[] = [];

  if (keepsMiscEnable) {
    undo.push(
      table.atExecution(0, (result, vcpu) => {
        if ((vcpu.readMsrHalf(Msr.IA32_MISC_ENABLE, 'low') & MISC_ENABLE_LIMIT_CPUID) !== 0)
          result[EAX] = Math.min(result[EAX] >>> 0, LIMITED_LEAF);
      }),
    );
    undo.push(
      table.atExecution(1, (result, vcpu) => {
        if ((vcpu.readMsrHalf(Msr.IA32_MISC_ENABLE, 'low') & MISC_ENABLE_MONITOR) === 0)
          result[ECX] &= ~LEAF1_ECX_MONITOR;
      }),
    );
    undo.push(
      table.atExecution(0x8000_0001, (result, vcpu) => {
        if ((vcpu.readMsrHalf(Msr.IA32_MISC_ENABLE, 'high') & MISC_ENABLE_HIGH_XD_DISABLE) !== 0)
          result[EDX] &= ~LEAF_80000001_EDX_NX;
      }),
    );
  }

  undo.push(
    table.atExecution(1, (result, vcpu) => {
      // Clear whatever the backend's own data had in these: it was true for its processor at another moment.
      result[ECX] =
        (vcpu.getControlRegister(4) & CR4_OSXSAVE) !== 0n
          ? result[ECX] | LEAF1_ECX_OSXSAVE
          : result[ECX] & ~LEAF1_ECX_OSXSAVE;
      result[EBX] =
        (idOf(vcpu) << 24) |
        (cpus > 1 && (result[EDX] & LEAF1_EDX_HTT) !== 0 ? nextPowerOfTwo(cpus) << 16 : result[EBX] & 0x00ff_0000) |
        (result[EBX] & 0xffff);
      const apic = apics?.forVcpu(vcpu.index).enabled ?? false;
      result[EDX] = apic ? result[EDX] | LEAF1_EDX_APIC : result[EDX] & ~LEAF1_EDX_APIC;
    }),
  );

  undo.push(
    table.atExecution(7, (result, vcpu, subleaf) => {
      if (subleaf !== 0) return;
      result[ECX] =
        (vcpu.getControlRegister(4) & CR4_PKE) !== 0n ? result[ECX] | LEAF7_ECX_OSPKE : result[ECX] & ~LEAF7_ECX_OSPKE;
    }),
  );

  // Extended topology: the x2APIC ID comes in EDX for any subleaf, and ECX[7:0] repeats the subleaf.
  for (const leaf of [0x0b, 0x1f]) {
    if (table.get(leaf) === undefined) continue;
    undo.push(
      table.atExecution(leaf, (result, vcpu, subleaf) => {
        result[EDX] = idOf(vcpu);
        result[ECX] = (result[ECX] & ~0xff) | (subleaf & 0xff);
      }),
    );
  }

  undo.push(
    table.atExecution(0x0d, (result, vcpu, subleaf) => {
      if (subleaf === 0 && result[EAX] !== 0) result[EBX] = standardSize(table, vcpu.xcr0);
      if (subleaf === 1 && (result[EAX] & 0b1010) !== 0) {
        const supervisor = vcpu.hasMsr(IA32_XSS) ? vcpu.readMsr(IA32_XSS) : 0n;
        result[EBX] = compactedSize(table, vcpu.xcr0 | supervisor);
      }
    }),
  );
  return undo;
}

/** Bytes of an XSAVE area in standard form for the components of a mask (SDM 1, 13.4.3). */
export function standardSize(table: CpuidTable, mask: bigint): number {
  let size = XSAVE_MINIMUM;
  for (let component = 2; component < 63; component++) {
    if ((mask & (1n << BigInt(component))) === 0n) continue;
    const entry = table.get(0x0d, component);
    if (entry !== undefined) size = Math.max(size, (entry.ebx >>> 0) + (entry.eax >>> 0));
  }
  return size;
}

/** Bytes of an XSAVE area in compacted form (SDM 1, 13.4.3): ECX[1] of a component aligns it to 64. */
export function compactedSize(table: CpuidTable, mask: bigint): number {
  let size = XSAVE_MINIMUM;
  for (let component = 2; component < 63; component++) {
    if ((mask & (1n << BigInt(component))) === 0n) continue;
    const entry = table.get(0x0d, component);
    if (entry === undefined) continue;
    if ((entry.ecx & 2) !== 0) size = (size + 63) & ~63;
    size += entry.eax >>> 0;
  }
  return size;
}

function nextPowerOfTwo(value: number): number {
  return 2 ** Math.ceil(Math.log2(value));
}

export type { CpuidResult };
