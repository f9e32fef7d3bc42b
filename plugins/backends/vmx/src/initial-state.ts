/** The state a boot loader gives the first vCPU, on top of the state after INIT. */
import { GPR_NAMES, SEGMENT_NAMES } from '@visorkit/core';
import type { InitialState, SegmentState } from '@visorkit/core';
import * as layout from '@visorkit/engine/layout';
import type { Engine } from '@visorkit/engine';
import { COMMON_ACCESS_RIGHTS as Rights, Cr0, Cr4, Efer } from '@visorkit/x86';

const RFLAGS_FIXED = 2n;
const FLAT = 0xffff_ffff;

/** Segments where the loader says nothing: flat in protected and long mode. */
function defaultSegment(mode: InitialState['mode'], index: number): SegmentState | undefined {
  if (mode === 'real16') return undefined;
  if (index === 6) return { selector: 0, base: 0n, limit: 0, accessRights: Rights.unusable };
  if (index === 7) return { selector: 0, base: 0n, limit: 0x67, accessRights: Rights.tss32 };
  if (index === 1)
    return { selector: 0x08, base: 0n, limit: FLAT, accessRights: mode === 'long64' ? Rights.code64 : Rights.code32 };
  return { selector: 0x10, base: 0n, limit: FLAT, accessRights: Rights.data32 };
}

/** Memory types as firmware leaves them on every processor: enabled, write-back. */
export function applyFirmwareDefaults(engine: Engine): void {
  engine.longs[layout.MSR_MTRR_DEF_TYPE >>> 3] = 0xc06n;
}

export function applyInitialState(engine: Engine, state: InitialState): void {
  const { mode } = state;
  engine.reset(false);
  // Real mode code starts in a segment with base 0 unless the loader says otherwise
  if (mode === 'real16') engine.setSegment(1, { selector: 0, base: 0n, limit: 0xffff, accessRights: Rights.code16 });
  SEGMENT_NAMES.forEach((name, index) => {
    const segment = state.segments?.[name] ?? defaultSegment(mode, index);
    if (segment !== undefined) engine.setSegment(index, segment);
  });
  GPR_NAMES.forEach((name, index) => engine.setRegister(index, BigInt.asUintN(64, state.registers?.[name] ?? 0n)));
  if (state.rsp !== undefined) engine.setRegister(4, state.rsp);
  engine.rip = state.rip;
  engine.rflags = Number((state.rflags ?? 0n) | RFLAGS_FIXED);
  const long = mode === 'long64',
    protectedMode = mode !== 'real16';
  engine.cr0 = (state.cr0 ?? (protectedMode ? Cr0.PE | (long ? Cr0.PG : 0n) : 0n)) | Cr0.ET;
  engine.cr3 = state.cr3 ?? 0n;
  engine.cr4 = state.cr4 ?? (long ? Cr4.PAE : 0n);
  engine.efer = state.efer ?? (long ? Efer.LME | Efer.LMA : 0n);
  if (state.gdtr !== undefined) engine.gdtr = state.gdtr;
  if (state.idtr !== undefined) engine.idtr = state.idtr;
}
