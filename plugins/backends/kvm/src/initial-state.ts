/** The state a boot loader gives the first vCPU, on top of the state after INIT. */
import { GPR_NAMES, SEGMENT_NAMES } from '@visorkit/core';
import type { InitialState, SegmentState, Vcpu } from '@visorkit/core';
import { COMMON_ACCESS_RIGHTS as Rights, Cr0, Cr4, Efer } from '@visorkit/x86';

const RFLAGS_FIXED = 2n;
const FLAT = 0xffff_ffff;

/** Segments where the loader says nothing: flat in protected and long mode. */
function defaultSegment(mode: InitialState['mode'], index: number): SegmentState | undefined {
  if (mode === 'real16')
    return index === 1 ? { selector: 0, base: 0n, limit: 0xffff, accessRights: Rights.code16 } : undefined;
  if (index === 6) return { selector: 0, base: 0n, limit: 0, accessRights: Rights.unusable };
  if (index === 7) return { selector: 0, base: 0n, limit: 0x67, accessRights: Rights.tss32 };
  if (index === 1)
    return { selector: 0x08, base: 0n, limit: FLAT, accessRights: mode === 'long64' ? Rights.code64 : Rights.code32 };
  return { selector: 0x10, base: 0n, limit: FLAT, accessRights: Rights.data32 };
}

/** `vcpu` is in the state after INIT. */
export function applyInitialState(vcpu: Vcpu, state: InitialState): void {
  const { mode } = state,
    long = mode === 'long64',
    protectedMode = mode !== 'real16';
  SEGMENT_NAMES.forEach((name, index) => {
    const segment = state.segments?.[name] ?? defaultSegment(mode, index);
    if (segment !== undefined) vcpu.setSegment(index, segment);
  });
  GPR_NAMES.forEach((name, index) => vcpu.setRegister(index, BigInt.asUintN(64, state.registers?.[name] ?? 0n)));
  if (state.rsp !== undefined) vcpu.rsp = state.rsp;
  vcpu.rip = state.rip;
  vcpu.rflags = (state.rflags ?? 0n) | RFLAGS_FIXED;
  vcpu.setControlRegister(3, state.cr3 ?? 0n);
  vcpu.setControlRegister(4, state.cr4 ?? (long ? Cr4.PAE : 0n));
  vcpu.efer = state.efer ?? (long ? Efer.LME | Efer.LMA : 0n);
  vcpu.setControlRegister(0, (state.cr0 ?? (protectedMode ? Cr0.PE | (long ? Cr0.PG : 0n) : 0n)) | Cr0.ET);
  if (state.gdtr !== undefined) vcpu.gdtr = state.gdtr;
  if (state.idtr !== undefined) vcpu.idtr = state.idtr;
}
