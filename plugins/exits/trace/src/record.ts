/** One event of a trace, and the table of its fields: what filters, counts and outputs know of it. */
import type { VmExit } from '@visorkit/core';
import { ExitReason } from '@visorkit/x86';

/** What an event is. `nested-exit`, `vmx-instruction`: of a guest that is a hypervisor. */
export const TRACE_KINDS = [
  'exit',
  'msr',
  'io',
  'interrupt',
  'hypercall',
  'vmcs-load',
  'ept-root',
  'vmcs-write',
  'vmx-instruction',
  'nested-exit',
] as const;
export type TraceKind = (typeof TRACE_KINDS)[number];

/** What has come of an exit. */
export const TRACE_OUTCOMES = ['resume', 'retry', 'halt', 'wait', 'stop', 'pause', 'reset', 'nobody'] as const;

/**
 * An event. One object is used for all events: who keeps one copies it. A field that does not belong to the kind, and one that nobody asked for, is
 * undefined. Addresses and register values are bigint, unsigned.
 */
export class TraceRecord {
  kind: TraceKind = 'exit';
  time: number | undefined;
  instructions: number | undefined;
  cpu = 0;
  rip: bigint | undefined;
  cpl: number | undefined;
  cr3: bigint | undefined;
  ept: number | undefined;
  vmcs: number | undefined;
  stack: readonly string[] | undefined;
  level: number | undefined;
  reason: string | undefined;
  qualification: bigint | undefined;
  length: number | undefined;
  gpa: number | undefined;
  linear: bigint | undefined;
  vector: number | undefined;
  error: number | undefined;
  outcome: string | undefined;
  duration: number | undefined;
  msr: number | undefined;
  bus: 'port' | 'mmio' | undefined;
  address: number | undefined;
  size: number | undefined;
  write: boolean | undefined;
  value: number | bigint | undefined;
  device: string | undefined;
  number: bigint | undefined;
  arguments: readonly bigint[] | undefined;
  result: bigint | undefined;
  index: number | undefined;
  field: string | undefined;
  before: number | bigint | undefined;
  after: number | bigint | undefined;
  instruction: string | undefined;
  by: 'machine' | 'hypervisor' | undefined;
}

export type TraceFieldName = keyof TraceRecord & string;

/** What is known of a field. */
export interface TraceField {
  readonly name: TraceFieldName;
  /** How it is shown: numbers in decimal, or in hexadecimal. */
  readonly shown: 'text' | 'number' | 'hex' | 'list' | 'flag';
  readonly describe: string;
  /** It is known only when the exit has been handled: what the guest reads, what a hypercall answers. */
  readonly late?: true;
}

/** Every field, in the order in which outputs have them. */
export const TRACE_FIELDS: readonly TraceField[] = [
  { name: 'kind', shown: 'text', describe: 'what the event is' },
  { name: 'time', shown: 'number', describe: 'guest time, ns' },
  { name: 'cpu', shown: 'number', describe: 'the vCPU' },
  { name: 'instructions', shown: 'number', describe: 'what this vCPU has retired' },
  { name: 'reason', shown: 'text', describe: 'name of the exit reason' },
  { name: 'rip', shown: 'hex', describe: 'RIP at the exit' },
  { name: 'cpl', shown: 'number', describe: 'privilege level, 0 to 3' },
  { name: 'cr3', shown: 'hex', describe: 'CR3' },
  { name: 'ept', shown: 'hex', describe: 'EPT pointer in force: root, and attributes in bits 11:0' },
  {
    name: 'vmcs',
    shown: 'hex',
    describe: 'address of the VMCS: that of the machine, or of the guest hypervisor where `by` says so',
  },
  { name: 'level', shown: 'number', describe: 'with nested VMX: 1 the guest, 2 a guest of the guest' },
  { name: 'qualification', shown: 'hex', describe: 'exit qualification' },
  { name: 'length', shown: 'number', describe: 'bytes of the instruction' },
  { name: 'gpa', shown: 'hex', describe: 'guest-physical address of an EPT violation or misconfiguration' },
  { name: 'linear', shown: 'hex', describe: 'guest-linear address that goes with it' },
  { name: 'vector', shown: 'number', describe: 'vector of an exception that exits, or of an interrupt' },
  {
    name: 'error',
    shown: 'hex',
    describe: 'error code of the exception, or VM-instruction error of a VMX instruction',
  },
  { name: 'msr', shown: 'hex', describe: 'number of the MSR' },
  { name: 'bus', shown: 'text', describe: 'port or mmio' },
  { name: 'address', shown: 'hex', describe: 'port, or guest-physical address of an mmio access' },
  { name: 'size', shown: 'number', describe: 'bytes of an access' },
  { name: 'write', shown: 'flag', describe: 'true when the guest writes' },
  { name: 'value', shown: 'hex', describe: 'what is read or written', late: true },
  { name: 'device', shown: 'text', describe: 'who answers the access' },
  { name: 'number', shown: 'hex', describe: 'RAX of a hypercall' },
  { name: 'arguments', shown: 'list', describe: 'RBX, RCX, RDX, RSI, RDI of a hypercall' },
  { name: 'result', shown: 'hex', describe: 'RAX behind a hypercall', late: true },
  { name: 'index', shown: 'number', describe: 'index of the view of memory; none for tables of a plugin' },
  { name: 'field', shown: 'text', describe: 'name of the VMCS field' },
  { name: 'before', shown: 'hex', describe: 'its value before, or the VMCS or EPT pointer before' },
  { name: 'after', shown: 'hex', describe: 'its value now' },
  { name: 'instruction', shown: 'text', describe: 'the VMX instruction of a guest hypervisor' },
  {
    name: 'by',
    shown: 'text',
    describe: 'who loads, sets, writes or handles: the machine itself, or the hypervisor that is its guest',
  },
  { name: 'outcome', shown: 'text', describe: TRACE_OUTCOMES.join(', '), late: true },
  {
    name: 'duration',
    shown: 'number',
    describe: 'guest time that handling took, ns; 0 in virtual time',
    late: true,
  },
  { name: 'stack', shown: 'list', describe: "stack of the guest's kernel, innermost first" },
];

const BY_NAME = new Map<string, TraceField>(TRACE_FIELDS.map((field) => [field.name, field]));

export function traceField(name: string): TraceField | undefined {
  return BY_NAME.get(name);
}

/** A field's value as text: hexadecimal has 0x. */
export function shownValue({ shown }: TraceField, value: unknown): string {
  if (Array.isArray(value)) return value.map((part) => (typeof part === 'bigint' ? hex(part) : String(part))).join(',');
  if (shown === 'hex' && (typeof value === 'number' || typeof value === 'bigint')) return hex(value);
  return String(value);
}

const hex = (value: number | bigint): string => `0x${value.toString(16)}`;

/** An event of this kind, without anything else. */
export function recordOf(kind: TraceKind, by?: TraceRecord['by']): TraceRecord {
  const record = new TraceRecord();
  record.kind = kind;
  record.by = by;
  return record;
}

/** What the record of an exit says besides its reason. */
export function fillDetails(record: TraceRecord, exit: VmExit): void {
  const { reason } = exit;
  const isMemory = reason === ExitReason.EPT_VIOLATION || reason === ExitReason.EPT_MISCONFIGURATION;
  const isEvent = exit.interruptionInfo >= 0x8000_0000;
  record.qualification = exit.qualification64;
  record.length = exit.instructionLength;
  record.gpa = isMemory ? exit.gpa : undefined;
  record.linear = isMemory ? exit.guestLinear : undefined;
  record.vector = isEvent ? exit.interruptionInfo & 0xff : undefined;
  record.error = isEvent && (exit.interruptionInfo & 0x800) !== 0 ? exit.interruptionErrorCode : undefined;
}
