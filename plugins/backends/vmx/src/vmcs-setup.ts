/** Fills the VMCS of a vCPU with what does not change while the VM lives; the controls are vmcs-controls.ts. */
import { writeHostState } from '@visorkit/engine';
import type { Engine } from '@visorkit/engine';
import { VmcsField } from '@visorkit/x86';

const NO_LINK = 0xffff_ffff_ffff_ffffn;
const VPID = 1;
/** Instructions between two PAUSEs of one loop, and how long a loop may spin, in TSC ticks. */
const PAUSE_GAP = 100;
const PAUSE_WINDOW = 1000;

/** Writes everything but the controls, the EPT pointer and the guest state. */
export function setUpVmcs(engine: Engine): void {
  const { vmcs, bytes, pages } = engine;
  vmcs.write32(VmcsField.VPID, VPID);
  vmcs.write64(VmcsField.VMCS_LINK_POINTER, NO_LINK);
  vmcs.write64(VmcsField.TSC_MULTIPLIER, 1n << 48n);
  vmcs.write32(VmcsField.PLE_GAP, PAUSE_GAP);
  vmcs.write32(VmcsField.PLE_WINDOW, PAUSE_WINDOW);
  // Every port exits, because only devices are behind ports
  const io = pages.allocate(2);
  bytes.fill(0xff, io, io + 2 * 4096);
  vmcs.write64(VmcsField.IO_BITMAP_A, BigInt(io));
  vmcs.write64(VmcsField.IO_BITMAP_B, BigInt(io + 4096));
  writeHostState(vmcs);
}
