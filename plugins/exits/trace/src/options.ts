/** What a trace shows, and the check of it. */
import { fail, instead } from '@visorkit/core';
import type { ExitName } from '@visorkit/core';
import { VMCS_FIELDS, exitReasonByName, exitReasonName, EXIT_NAMES } from '@visorkit/x86';
import type { VmcsFieldEntry } from '@visorkit/x86';
import { TRACE_FIELDS, traceField } from './record.js';
import type { TraceFieldName, TraceRecord } from './record.js';

/** What to trace: the sources of events, which of these count, and what becomes of them. Without any source: all exits. */
export interface TraceOptions {
  /** Exits: all of them, or those with these reasons, by name or number. */
  readonly exits?: boolean | readonly (ExitName | number | (string & {}))[];
  /** RDMSR and WRMSR that exit. MSRs that are named here exit as long as the trace lives, and others are left out. */
  readonly msr?: boolean | readonly number[];
  /** Accesses to devices, by ports and by memory. */
  readonly io?: boolean;
  /** Interrupts and NMIs that are injected. */
  readonly interrupts?: boolean;
  /** VMCALL, with arguments and result. */
  readonly hypercalls?: boolean;
  /** Another VMCS becomes current: of another vCPU, and of a guest hypervisor by VMPTRLD. */
  readonly vmcsLoads?: boolean;
  /** A vCPU is entered with another EPT pointer than before, and what a guest hypervisor sets. */
  readonly eptRoots?: boolean;
  /** Fields that are written between an exit and the next entry, and those that a guest hypervisor writes: all, or these, by their SDM names. */
  readonly vmcsWrites?: boolean | readonly string[];
  /** VMX instructions of a guest hypervisor, and exits of its guests with who handles them. Needs the plugin nested-vmx. */
  readonly nested?: boolean;
  /** Only events for which this expression holds. */
  readonly filter?: string;
  /** Counts events by these fields, instead of giving them to `output`. */
  readonly count?: readonly string[];
  /** Measures by exit reason: host time that handling takes, and guest time between exits. */
  readonly histogram?: boolean;
  /** Gives each event the stack of the guest's kernel. Needs introspection and an OS profile. */
  readonly stack?: boolean;
  /** Is given each event. The object is used again for the next one. */
  readonly output?: (record: TraceRecord) => void;
}

/** Numbers of the exit reasons, `undefined` for all. Throws `EXIT_REASON_UNKNOWN`. */
export function exitReasons(exits: TraceOptions['exits']): readonly number[] | undefined {
  if (typeof exits === 'boolean' || exits === undefined) return undefined;
  return exits.map((name) => {
    const number = typeof name === 'number' || /^\d+$/.test(name) ? Number(name) : exitReasonByName(name);
    if (number !== undefined && !exitReasonName(number).startsWith('reason-')) return number;
    const hint = typeof name === 'string' ? instead(name, EXIT_NAMES) : '';
    return fail(
      'EXIT_REASON_UNKNOWN',
      `There is no exit reason ${JSON.stringify(name)}${hint}${hint.endsWith('?') ? '' : '.'} Exits are named by their basic exit reason: its number or its name, such as "cpuid".`,
      { reason: name },
    );
  });
}

/** Fields of events by name. Throws `TRACE_FIELD`. */
export function traceFieldNames(names: readonly string[]): readonly TraceFieldName[] {
  const known = TRACE_FIELDS.map(({ name }) => name);
  return names.map((name) => {
    const hint = instead(name, known);
    return (
      traceField(name)?.name ??
      fail(
        'TRACE_FIELD',
        `An event has no field "${name}"${hint}${hint.endsWith('?') ? '' : `; there is ${known.join(', ')}.`}`,
        { field: name },
      )
    );
  });
}

/** VMCS fields by name in any case, with `_` or `-`. All that are not read-only and not the host's for `true`. Throws `TRACE_FIELD`. */
export function vmcsFields(names: TraceOptions['vmcsWrites']): readonly VmcsFieldEntry[] {
  if (names === undefined || typeof names === 'boolean')
    return names === true ? VMCS_FIELDS.filter(({ type }) => type === 'control' || type === 'guest') : [];
  return names.map((name) => {
    const canonical = name.toUpperCase().replaceAll('-', '_');
    const found = VMCS_FIELDS.find((field) => field.name === canonical);
    const hint = instead(
      canonical,
      VMCS_FIELDS.map((field) => field.name),
    );
    return (
      found ??
      fail('TRACE_FIELD', `The VMCS has no field "${name}"${hint}${hint.endsWith('?') ? '' : '.'}`, { field: name })
    );
  });
}
