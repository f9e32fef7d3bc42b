/** What happens to VMCSs and EPT pointers: by the machine itself, seen at its exits and entries, and by a hypervisor in the guest. */
import type { ExitName, PluginHost, Vcpu, VmExit } from '@visorkit/core';
import type { MemoryViews } from '@visorkit/machine';
import { VmcsField, exitReasonName } from '@visorkit/x86';
import type { VmcsFieldEntry } from '@visorkit/x86';
import type { NestedVmxEvents } from './nested.js';
import type { TraceOptions } from './options.js';
import { fillDetails, recordOf } from './record.js';
import type { TraceRecord } from './record.js';
import { FIRST, LAST } from './stages.js';

/** Where events go. `begin` takes what is known of the vCPU; false: the filter leaves the event out. */
export interface EventSink {
  begin(record: TraceRecord, vcpu: Vcpu, vmcs?: number): boolean;
  finish(record: TraceRecord): void;
}

function once(sink: EventSink, record: TraceRecord, vcpu: Vcpu): void {
  if (sink.begin(record, vcpu)) sink.finish(record);
}

/** The EPT pointer in force; undefined on a backend without a VMCS. */
export function eptOf({ vmcs }: Vcpu): number | undefined {
  if (vmcs === undefined) return undefined;
  return vmcs.read32(VmcsField.EPT_POINTER) + vmcs.read32(VmcsField.EPT_POINTER | 1) * 0x1_0000_0000;
}

export function traceLoads(sink: EventSink, { hooks }: PluginHost): void {
  const record = recordOf('vmcs-load', 'machine');
  let loaded: number | undefined;
  hooks.beforeEntry.tap(LAST, (vcpu) => {
    const region = vcpu.vmcs?.region;
    if (region === loaded) return;
    record.before = loaded;
    record.after = loaded = region;
    once(sink, record, vcpu);
  });
}

export function traceRoots(sink: EventSink, { hooks, vcpus }: PluginHost, views: MemoryViews | undefined): void {
  const record = recordOf('ept-root', 'machine');
  const last: (number | undefined)[] = vcpus.map(() => undefined);
  hooks.beforeEntry.tap(LAST, (vcpu) => {
    const pointer = eptOf(vcpu);
    if (pointer === last[vcpu.index]) return;
    record.before = last[vcpu.index];
    record.after = last[vcpu.index] = pointer;
    record.index = views?.current(vcpu).index;
    once(sink, record, vcpu);
  });
}

/** What is different at an entry from what it was at the exit before has been written by the hypervisor. */
export function traceWrites(
  sink: EventSink,
  { hooks, vcpus }: PluginHost,
  fields: readonly VmcsFieldEntry[],
  exits: readonly ExitName[],
): void {
  const record = recordOf('vmcs-write', 'machine');
  const values = vcpus.map(() => new BigUint64Array(fields.length));
  const known = vcpus.map(() => false);
  const note = (_exit: VmExit, vcpu: Vcpu): undefined => {
    const own = values[vcpu.index],
      { vmcs } = vcpu;
    if (vmcs === undefined) return;
    known[vcpu.index] = true;
    fields.forEach(({ encoding }, at) => void (own[at] = vmcs.read64(encoding)));
  };
  for (const name of exits) hooks.exit.for(name).tap(FIRST, note);
  hooks.beforeEntry.tap(LAST, (vcpu) => {
    if (!known[vcpu.index]) return;
    known[vcpu.index] = false;
    const own = values[vcpu.index];
    fields.forEach(({ encoding, name }, at) => {
      const now = vcpu.vmcs!.read64(encoding);
      if (now === own[at]) return;
      record.field = name;
      record.before = own[at];
      record.after = now;
      once(sink, record, vcpu);
    });
  });
}

/** What a guest hypervisor does: the same kinds of events, and two of its own. */
export function traceNested(
  sink: EventSink,
  { hooks }: NestedVmxEvents,
  { vmcsLoads, eptRoots, vmcsWrites, nested }: TraceOptions,
  fields: readonly VmcsFieldEntry[],
): void {
  const tell = (record: TraceRecord, vmcs: number, vcpu: Vcpu): void => {
    if (sink.begin(record, vcpu, vmcs < 0 ? undefined : vmcs)) sink.finish(record);
  };
  if (vmcsLoads === true) {
    const record = recordOf('vmcs-load', 'hypervisor');
    hooks.instruction.tap(({ name, error, vmcs }, vcpu) => {
      if (name !== 'vmptrld' || error !== 0) return;
      record.before = record.after;
      record.after = vmcs;
      tell(record, vmcs, vcpu);
    });
  }
  if (eptRoots === true) {
    const record = recordOf('ept-root', 'hypervisor');
    hooks.write.tap(({ field, before, after, vmcs }, vcpu) => {
      if (field !== VmcsField.EPT_POINTER) return;
      record.before = before;
      record.after = after;
      tell(record, vmcs, vcpu);
    });
  }
  if (fields.length > 0) {
    const chosen = vmcsWrites === true ? undefined : new Set(fields.map(({ encoding }) => encoding));
    const record = recordOf('vmcs-write', 'hypervisor');
    hooks.write.tap(({ field, name, before, after, vmcs }, vcpu) => {
      if (chosen?.has(field & ~1) === false) return;
      record.field = name;
      record.before = before;
      record.after = after;
      tell(record, vmcs, vcpu);
    });
  }
  if (nested !== true) return;
  const instruction = recordOf('vmx-instruction', 'hypervisor');
  hooks.instruction.tap(({ name, error, vmcs }, vcpu) => {
    instruction.instruction = name;
    instruction.error = error === 0 ? undefined : error;
    tell(instruction, vmcs, vcpu);
  });
  const left = recordOf('nested-exit');
  hooks.exit.tap(({ exit, by, vmcs }, vcpu) => {
    left.reason = exitReasonName(exit.reason);
    left.by = by;
    fillDetails(left, exit);
    tell(left, vmcs, vcpu);
  });
}
