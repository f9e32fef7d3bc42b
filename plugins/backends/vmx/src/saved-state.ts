/** The states of the vmx backend: what is saved, and what a state must be to be restored. */
import { SAVED_PROCESSOR_PARTS } from '@visorkit/engine';
import * as v from 'valibot';

/** Increased when the layout of what is saved changes. */
export const VMX_STATE_FORMAT = 3;

const count = v.pipe(v.number(), v.integer(), v.minValue(0));
const bytes = v.instance(Uint8Array);

/** What one vCPU holds. */
export const VCPU_STATE = v.object({
  format: v.literal(VMX_STATE_FORMAT),
  processor: v.object({
    parts: v.pipe(
      v.array(bytes),
      v.length(SAVED_PROCESSOR_PARTS.length),
      v.check((parts) => parts.every(({ length }, n) => length === SAVED_PROCESSOR_PARTS[n])),
    ),
    mmio: bytes,
    flags: count,
  }),
  /** The access to a device that is half done: bytes done, and bytes in all. */
  pieces: v.object({ done: count, size: v.pipe(count, v.maxValue(64)), page: v.optional(count) }),
  tripleFault: v.boolean(),
  /** Interrupt and NMI windows that the run loop, and the owner of another VMCS, wait for. */
  windows: v.optional(v.object({ loop: count, other: count })),
  /** The bits of the control fields that plugins held. */
  held: v.object({
    pin: count,
    primary: count,
    secondary: count,
    exit: count,
    entry: count,
    cr0: v.optional(v.bigint()),
    cr4: v.optional(v.bigint()),
  }),
});
export type VmxVcpuState = v.InferOutput<typeof VCPU_STATE>;

/** What the vCPUs have in common. The views check theirs themselves. */
export const BACKEND_STATE = v.object({
  format: v.literal(VMX_STATE_FORMAT),
  clock: v.object({ now: v.number(), tsc: v.number() }),
  turns: v.object({ current: count, retired: v.array(count), sum: count, random: v.bigint() }),
  structures: v.object({ bytes, pages: v.object({ next: count, free: v.array(count) }) }),
  views: v.unknown(),
});
