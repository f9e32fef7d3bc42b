/** An exit as plain data, for a VM that was saved at an exit that nobody had carried out. */
import * as v from 'valibot';
import type { VmExit } from './exit.js';

export const SAVED_EXIT = v.object({
  reason: v.number(),
  entryFailure: v.boolean(),
  qualification: v.number(),
  qualificationHigh: v.number(),
  instructionLength: v.number(),
  instructionInfo: v.number(),
  gpa: v.number(),
  guestLinearLow: v.number(),
  guestLinearHigh: v.number(),
  interruptionInfo: v.number(),
  interruptionErrorCode: v.number(),
  idtVectoringInfo: v.number(),
  idtVectoringErrorCode: v.number(),
  io: v.object({
    port: v.number(),
    size: v.picklist([1, 2, 4]),
    input: v.boolean(),
    string: v.boolean(),
    rep: v.boolean(),
    value: v.number(),
    addressSize: v.picklist([2, 4, 8]),
    segment: v.number(),
    data: v.nullable(v.instance(Uint8Array)),
    count: v.number(),
  }),
  mmio: v.object({
    valid: v.boolean(),
    gpa: v.number(),
    size: v.picklist([1, 2, 4, 8]),
    write: v.boolean(),
    value: v.number(),
    valueHigh: v.number(),
  }),
});
export type SavedExit = v.InferOutput<typeof SAVED_EXIT>;

export function saveExit(exit: VmExit): SavedExit {
  const { io, mmio, ...fields } = exit;
  return { ...fields, io: { ...io, data: io.data?.slice() ?? null }, mmio: { ...mmio } };
}

export function restoreExit(exit: VmExit, { io, mmio, ...fields }: SavedExit): void {
  Object.assign(exit, fields);
  Object.assign(exit.io, io);
  Object.assign(exit.mmio, mmio);
}
