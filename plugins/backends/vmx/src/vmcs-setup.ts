/** Fills the VMCS of a vCPU: controls merged from what the plugins need, bitmaps, host state. */
import type { MergedControls } from '@visorkit/core';
import * as layout from '@visorkit/engine/vmcs-layout';
import type { Engine } from '@visorkit/engine';
import { VmcsField, controlBits, msrBitmapByte } from '@visorkit/x86';
import type { ControlTableName } from '@visorkit/x86';
import { FIXED_CONTROLS } from './capabilities.js';

const NO_LINK = 0xffff_ffff_ffff_ffffn;
const VPID = 1;
/** What a 64-bit host would have: paging on, PAE, flat segments. The host itself is JavaScript. */
const HOST_CR0 = 0x8005_0033n;
const HOST_CR4 = 0x20n;
const HOST_EFER = 0x500n;
const HOST_CODE = 0x08;
const HOST_TSS = 0x10;

/** Value of a control field: reserved bits, what the backend always sets, what plugins need. */
function controls(table: ControlTableName, required: number, needs: MergedControls): number {
  return (required | controlBits(table, FIXED_CONTROLS[table]) | controlBits(table, needs[table])) >>> 0;
}

/** Writes everything but the EPT pointer and the guest state. */
export function setUpVmcs(engine: Engine, needs: MergedControls): void {
  const { vmcs } = engine;
  vmcs.write32(VmcsField.PIN_CONTROLS, controls('pin', layout.PIN_REQUIRED, needs));
  vmcs.write32(VmcsField.PRIMARY_CONTROLS, controls('primary', layout.PRIMARY_REQUIRED, needs));
  vmcs.write32(VmcsField.SECONDARY_CONTROLS, controls('secondary', 0, needs));
  vmcs.write32(VmcsField.EXIT_CONTROLS, controls('exit', layout.EXIT_REQUIRED, needs));
  vmcs.write32(VmcsField.ENTRY_CONTROLS, controls('entry', layout.ENTRY_REQUIRED, needs));
  vmcs.write32(VmcsField.EXCEPTION_BITMAP, needs.exceptionBitmap);
  vmcs.write32(VmcsField.VPID, VPID);
  vmcs.write64(VmcsField.VMCS_LINK_POINTER, NO_LINK);
  vmcs.write64(VmcsField.TSC_MULTIPLIER, 1n << 48n);
  setUpBitmaps(engine, needs);

  vmcs.write64(VmcsField.HOST_CR0, HOST_CR0);
  vmcs.write64(VmcsField.HOST_CR4, HOST_CR4);
  vmcs.write64(VmcsField.HOST_IA32_EFER, HOST_EFER);
  vmcs.write32(VmcsField.HOST_CS_SELECTOR, HOST_CODE);
  vmcs.write32(VmcsField.HOST_TR_SELECTOR, HOST_TSS);
}

/**
 * Every port exits: what is behind ports are devices. The MSR bitmap lets the processor answer for the MSRs it keeps (it exits for
 * all others by itself) but for those that plugins want to see.
 */
function setUpBitmaps(engine: Engine, needs: MergedControls): void {
  const { vmcs, bytes, pages } = engine;
  const io = pages.allocate(2),
    msrs = pages.allocate(1);
  bytes.fill(0xff, io, io + 2 * 4096);
  for (const [first, last] of needs.msrRead) setMsrs(bytes, msrs, first, last, false);
  for (const [first, last] of needs.msrWrite) setMsrs(bytes, msrs, first, last, true);
  vmcs.write64(VmcsField.IO_BITMAP_A, BigInt(io));
  vmcs.write64(VmcsField.IO_BITMAP_B, BigInt(io + 4096));
  vmcs.write64(VmcsField.MSR_BITMAP, BigInt(msrs));
}

function setMsrs(bytes: Uint8Array, bitmap: number, first: number, last: number, write: boolean): void {
  // MSRs outside the two ranges exit anyway: a wide range is cut to what the bitmap has
  for (const [low, high] of [
    [0, 0x1fff],
    [0xc0000000, 0xc0001fff],
  ] as const) {
    for (let index = Math.max(first, low); index <= Math.min(last, high); index++)
      bytes[bitmap + msrBitmapByte(index, write)] |= 1 << (index & 7);
  }
}

/** Instructions between two PAUSEs of one loop, and how long a loop may spin, in TSC ticks. */
const PAUSE_GAP = 100;
const PAUSE_WINDOW = 1000;

/**
 * With several vCPUs on one engine: a loop of PAUSE leaves the guest, so that the vCPU it waits for gets its turn. False when a plugin
 * wants these exits for itself.
 */
export function yieldOnPause(engine: Engine, needs: MergedControls): boolean {
  if (needs.primary.has('pause-exiting') || needs.secondary.has('pause-loop-exiting')) return false;
  const { vmcs } = engine;
  vmcs.write32(
    VmcsField.SECONDARY_CONTROLS,
    (vmcs.read32(VmcsField.SECONDARY_CONTROLS) | controlBits('secondary', ['pause-loop-exiting'])) >>> 0,
  );
  vmcs.write32(VmcsField.PLE_GAP, PAUSE_GAP);
  vmcs.write32(VmcsField.PLE_WINDOW, PAUSE_WINDOW);
  return true;
}
