/** The control fields of one vCPU's VMCS: what the plugins hold, beside what the backend itself sets. */
import type { MergedControls, VmcsFields } from '@visorkit/core';
import { CONTROL_FIELDS } from '@visorkit/engine';
import type { Engine } from '@visorkit/engine';
import { VmcsField, controlBits, msrBitmapByte } from '@visorkit/x86';
import type { ControlTableName } from '@visorkit/x86';
import { FIXED_CONTROLS } from './capabilities.js';

const GROUPS = Object.keys(CONTROL_FIELDS) as ControlTableName[];

/** Guest/host masks (25.6.6), and the registers they are about. */
const MASKS = [
  ['cr0', VmcsField.CR0_MASK, VmcsField.CR0_READ_SHADOW, VmcsField.GUEST_CR0],
  ['cr4', VmcsField.CR4_MASK, VmcsField.CR4_READ_SHADOW, VmcsField.GUEST_CR4],
] as const;

/** Bits that are written for plugins. */
export type HeldBits = Record<ControlTableName, number> & { cr0?: bigint | undefined; cr4?: bigint | undefined };

const PAUSE_LOOP = controlBits('secondary', ['pause-loop-exiting']);
/** The two ranges of MSRs that the bitmap has a bit for; the others exit anyway. */
const MSR_RANGES = [
  [0, 0x1fff],
  [0xc0000000, 0xc0001fff],
] as const;

export class VmcsControls {
  /** A loop of PAUSE exits for the backend's own sake: no plugin has asked for these exits. */
  yieldsOnPause = false;
  readonly #engine: Engine;
  readonly #several: boolean;
  /** The bits of each field that were written here for plugins: all other bits are the backend's own, or required. */
  readonly #held: Record<ControlTableName, number> = { pin: 0, primary: 0, secondary: 0, exit: 0, entry: 0 };
  /** The bits of the guest/host masks that were written here for plugins. */
  readonly #crBits = { cr0: 0n, cr4: 0n };
  /** The page of the MSR bitmap, and what it was made from. */
  #bitmap = 0;
  #msrRead: MergedControls['msrRead'] | undefined;
  #msrWrite: MergedControls['msrWrite'] | undefined;

  constructor(engine: Engine, several: boolean) {
    this.#engine = engine;
    this.#several = several;
  }

  /** The bits written for plugins: after a restore, plugins may hold others, and only these bits are then replaced. */
  save(): HeldBits {
    return { ...this.#held, ...this.#crBits };
  }
  restore({ cr0 = 0n, cr4 = 0n, ...held }: HeldBits): void {
    Object.assign(this.#held, held);
    Object.assign(this.#crBits, { cr0, cr4 });
    this.#msrRead = this.#msrWrite = undefined; // the bitmap has what the saved VM held
  }

  /**
   * Writes the fields, wherever the VMCS is: in the processor, or in the bank of a vCPU whose turn it is not. `own` are secondary controls
   * that the backend needs itself now.
   */
  write(vmcs: VmcsFields, controls: MergedControls, own: number): void {
    const wantsPause = controls.primary.has('pause-exiting') || controls.secondary.has('pause-loop-exiting');
    this.yieldsOnPause = this.#several && !wantsPause;
    for (const group of GROUPS) {
      const [field, required] = CONTROL_FIELDS[group];
      let held = controlBits(group, controls[group]);
      if (group === 'secondary') held |= (this.yieldsOnPause ? PAUSE_LOOP : 0) | own;
      const before = vmcs.read32(field);
      const now = ((before & ~this.#held[group]) | required | controlBits(group, FIXED_CONTROLS[group]) | held) >>> 0;
      this.#held[group] = held;
      if (now !== before) vmcs.write32(field, now);
    }
    if (vmcs.read32(VmcsField.EXCEPTION_BITMAP) !== controls.exceptionBitmap) {
      vmcs.write32(VmcsField.EXCEPTION_BITMAP, controls.exceptionBitmap);
    }
    this.#writeBitmap(vmcs, controls);
    for (const [register, mask] of MASKS) {
      const bits = controls[`${register}Bits`],
        before = vmcs.read64(mask),
        now = (before & ~this.#crBits[register]) | bits;
      this.#crBits[register] = bits;
      if (now !== before) vmcs.write64(mask, now);
    }
    this.showRegisters(vmcs);
  }

  /** CR0 or CR4 has been written: the guest reads the bits that plugins hold as they are now (SDM 3C 26.3). */
  showRegisters(vmcs: VmcsFields): void {
    for (const [register, , shadow, own] of MASKS) {
      const held = this.#crBits[register];
      if (held !== 0n) vmcs.write64(shadow, (vmcs.read64(shadow) & ~held) | (vmcs.read64(own) & held));
    }
  }

  /** The MSR bitmap lets the processor answer for the MSRs it keeps, except those that plugins hold. It exits for all others by itself. */
  #writeBitmap(vmcs: VmcsFields, { msrRead, msrWrite }: MergedControls): void {
    if (msrRead === this.#msrRead && msrWrite === this.#msrWrite) return;
    this.#msrRead = msrRead;
    this.#msrWrite = msrWrite;
    const { bytes, pages } = this.#engine;
    this.#bitmap ||= pages.allocate(1);
    vmcs.write64(VmcsField.MSR_BITMAP, BigInt(this.#bitmap));
    bytes.fill(0, this.#bitmap, this.#bitmap + 4096);
    for (const [first, last] of msrRead) setMsrs(bytes, this.#bitmap, first, last, false);
    for (const [first, last] of msrWrite) setMsrs(bytes, this.#bitmap, first, last, true);
  }
}

function setMsrs(bytes: Uint8Array, bitmap: number, first: number, last: number, write: boolean): void {
  for (const [low, high] of MSR_RANGES) {
    for (let index = Math.max(first, low); index <= Math.min(last, high); index++) {
      bytes[bitmap + msrBitmapByte(index, write)] |= 1 << (index & 7);
    }
  }
}
