/**
 * Exit 28: control-register accesses (qualification: SDM 3C, table 28-3). Accesses to CR8 go to the local APIC's task
 * priority; the others are carried out on the vCPU after the checks of the instruction (SDM 2B, MOV to control register).
 */
import { RESUME, RETRY, Stage, definePlugin, isVisorkitError, optional } from '@visorkit/core';
import type { Outcome, Plugin, Vcpu } from '@visorkit/core';
import { LocalApicsToken } from '@visorkit/machine';
import type { LocalApics } from '@visorkit/machine';
import { CrAccess, crAccess, crLmswSource, crNumber, crRegister } from '@visorkit/x86';

const PE = 1n << 0n;
const TS = 1n << 3n;
const NW = 1n << 29n;
const CD = 1n << 30n;
const PG = 1n << 31n;
const CR0_DEFINED = 0xe005_003fn;
const CR4_PCIDE = 1n << 17n;
const NO_FLUSH = 1n << 63n;
const EFER_LMA = 1n << 10n;
const PHYSICAL_LIMIT = 1n << 52n;
const GENERAL_PROTECTION = 13;
const CR4_SMXE_AND_VMXE = (1n << 13n) | (1n << 14n);

export function controlRegister(): Plugin {
  return definePlugin({
    name: 'exits/control-register',
    handles: ['control-register'],
    appliesTo: ['exit.control-register'],
    uses: { apics: optional(LocalApicsToken) },
    needs: { primary: ['cr8-load-exiting', 'cr8-store-exiting'] },
    apply({ hooks, vcpus }, { apics }) {
      // Without a local APIC, CR8 is a register that remembers.
      const remembered = new Float64Array(vcpus.length);
      hooks.exit.for('control-register').tap({ stage: Stage.Architecture }, (exit, vcpu) => {
        const { qualification } = exit;
        const number = crNumber(qualification);
        const register = crRegister(qualification);
        const value = (): bigint =>
          vcpu.codeBits === 64 ? vcpu.getRegister(register) : vcpu.getRegister(register) & 0xffff_ffffn;
        switch (crAccess(qualification)) {
          case CrAccess.MOV_TO:
            return number === 8
              ? writeTaskPriority(vcpu, value(), apics, remembered)
              : writeControlRegister(vcpu, number, value());
          case CrAccess.MOV_FROM: {
            const read =
              number === 8
                ? BigInt(apics?.forVcpu(vcpu.index).cr8 ?? remembered[vcpu.index])
                : vcpu.getControlRegister(number);
            if (vcpu.codeBits === 64) vcpu.setRegister(register, read);
            else vcpu.setRegister32(register, Number(read & 0xffff_ffffn));
            return RESUME;
          }
          case CrAccess.CLTS:
            return writeControlRegister(vcpu, 0, vcpu.getControlRegister(0) & ~TS);
          default: {
            // LMSW changes PE, MP, EM and TS, and cannot clear PE (SDM 2A, LMSW).
            const source = BigInt(crLmswSource(qualification) & 15);
            const old = vcpu.getControlRegister(0);
            return writeControlRegister(vcpu, 0, (old & ~0xen) | source | (old & PE));
          }
        }
      });
    },
  });
}

function writeTaskPriority(
  vcpu: Vcpu,
  value: bigint,
  apics: LocalApics | undefined,
  remembered: Float64Array,
): Outcome {
  if (value > 15n) return protectionFault(vcpu);
  if (apics === undefined) remembered[vcpu.index] = Number(value);
  else apics.forVcpu(vcpu.index).cr8 = Number(value);
  return RESUME;
}

/** Carries out MOV to CR0, CR3 or CR4, or injects the #GP(0) it would give. */
export function writeControlRegister(vcpu: Vcpu, number: number, value: bigint): Outcome {
  const longMode = (vcpu.efer & EFER_LMA) !== 0n;
  if (number === 0) {
    if (
      value >> 32n !== 0n ||
      ((value & PG) !== 0n && (value & PE) === 0n) ||
      ((value & NW) !== 0n && (value & CD) === 0n)
    )
      return protectionFault(vcpu);
    const pcide = (vcpu.getControlRegister(4) & CR4_PCIDE) !== 0n;
    // Paging cannot go off in 64-bit mode, nor while PCIDs are on.
    if ((value & PG) === 0n && (vcpu.getControlRegister(0) & PG) !== 0n && (pcide || vcpu.codeBits === 64))
      return protectionFault(vcpu);
    value = (value & CR0_DEFINED) | 0x10n;
  } else if (number === 3) {
    const pcide = (vcpu.getControlRegister(4) & CR4_PCIDE) !== 0n;
    const address = pcide ? value & ~NO_FLUSH : value;
    if (longMode && address >= PHYSICAL_LIMIT) return protectionFault(vcpu);
  } else if (number === 4) {
    const old = vcpu.getControlRegister(4);
    const pae = 1n << 5n;
    const la57 = 1n << 12n;
    if (
      value >> 32n !== 0n ||
      (longMode && ((value & pae) === 0n || ((value ^ old) & la57) !== 0n)) ||
      (value & ~old & CR4_SMXE_AND_VMXE) !== 0n
    )
      return protectionFault(vcpu);
    // PCIDs go on only in IA-32e mode with CR3[11:0] = 0.
    if ((value & ~old & CR4_PCIDE) !== 0n && (!longMode || (vcpu.getControlRegister(3) & 0xfffn) !== 0n))
      return protectionFault(vcpu);
  }
  try {
    vcpu.setControlRegister(number, value);
  } catch (error) {
    if (isVisorkitError(error) && error.code === 'CONTROL_REGISTER_VALUE') return protectionFault(vcpu);
    throw error;
  }
  return RESUME;
}

function protectionFault(vcpu: Vcpu): Outcome {
  vcpu.injectException(GENERAL_PROTECTION, 0);
  return RETRY;
}
