/**
 * The plugin: taps the hooks that the options ask for, and nothing else.
 *
 * What the guest's registers say is taken before any handler has the exit, because a handler may change them (a guest hypervisor's exits are given to it
 * that way). What only the handlers know comes after them. An event of which nothing is asked but what is known before is finished before.
 */
import {
  BackendToken,
  ClockToken,
  RESUME,
  RETRY,
  Gpr,
  HALT,
  WAIT,
  definePlugin,
  host,
  optional,
  token,
} from '@visorkit/core';
import type { Backend, Clock, DeviceAccess, Outcome, Plugin, PluginHost, Token, Vcpu, VmExit } from '@visorkit/core';
import { MemoryViewsToken } from '@visorkit/machine';
import type { MemoryViews } from '@visorkit/machine';
import type { Vmi } from '@visorkit/vmi';
import { EXIT_NAMES, ExitReason, exitReasonByName, exitReasonName } from '@visorkit/x86';
import type { ExitName, VmcsFieldEntry } from '@visorkit/x86';
import { Counter, HistogramSet } from './counts.js';
import { traceFilter } from './filter.js';
import type { TraceFilter } from './filter.js';
import { NestedVmxToken } from './nested.js';
import type { NestedVmxEvents } from './nested.js';
import { exitReasons, traceFieldNames, vmcsFields } from './options.js';
import type { TraceOptions } from './options.js';
import { fillDetails, recordOf, traceField } from './record.js';
import type { TraceFieldName, TraceRecord } from './record.js';
import { FIRST, LAST } from './stages.js';
import { StackReader } from './stack.js';
import { eptOf, traceLoads, traceNested, traceRoots, traceWrites } from './vmcs-sources.js';

/** What a trace has counted so far. */
export interface Trace {
  /** With `count`. */
  readonly counter: Counter | undefined;
  /** Host time that the handling of exits took, ns, by reason. Only with `histogram`. */
  readonly handling: HistogramSet;
  /** Guest time from the entry to the exit, ns, by the reason of the exit. Only with `histogram`. */
  readonly guest: HistogramSet;
}

/** The trace of a VM. */
export const TraceToken: Token<Trace> = token('trace', '@visorkit/trace');

const VmiToken: Token<Vmi> = token('vmi', '@visorkit/vmi');

/** Whether a trace needs introspection: it shows stacks, counts by them, or its filter looks at them. Throws as {@link trace} does. */
export const needsIntrospection = (options: TraceOptions): boolean => new Tracer(options).wantsStack;

/** Traces a VM. Throws `TRACE_FILTER`, `TRACE_FIELD`, `EXIT_REASON_UNKNOWN` for what the options name wrongly. */
export function trace(options: TraceOptions = {}): Plugin {
  const made = new Tracer(options);
  return definePlugin({
    name: 'trace',
    capabilities: made.readsVmcs ? ['vmcs'] : [],
    uses: {
      backend: BackendToken,
      clock: ClockToken,
      views: optional(MemoryViewsToken),
      nested: made.needsNested ? NestedVmxToken : optional(NestedVmxToken),
      vmi: made.wantsStack ? VmiToken : optional(VmiToken),
    },
    provides: [{ token: TraceToken, make: () => made }],
    apply(pluginHost, { backend, clock, views, nested, vmi }) {
      made.attach(pluginHost, { backend, clock, views, nested, vmi });
    },
  });
}

interface Services {
  readonly backend: Pick<Backend, 'capabilities'>;
  readonly clock: Clock;
  readonly views: MemoryViews | undefined;
  readonly nested: NestedVmxEvents | undefined;
  readonly vmi: Vmi | undefined;
}

class Tracer implements Trace {
  readonly counter: Counter | undefined;
  readonly handling = new HistogramSet();
  readonly guest = new HistogramSet();
  readonly #options: TraceOptions;
  readonly #reasons: readonly number[] | undefined;
  readonly #written: readonly VmcsFieldEntry[];
  readonly #filter: TraceFilter | undefined;
  /** The filter looks at what is known only behind the handlers. */
  readonly #filtersLate: boolean;
  /** Something is asked for that is known only behind the handlers. */
  readonly #late: boolean;
  readonly wantsStack: boolean;
  readonly readsVmcs: boolean;
  readonly needsNested: boolean;
  readonly #wants: (name: TraceFieldName) => boolean;
  /** The exits that the backend can give. */
  #given: readonly ExitName[] = [];
  #captures: readonly ((record: TraceRecord, vcpu: Vcpu) => void)[] = [];
  #stacks: StackReader | undefined;

  constructor(options: TraceOptions) {
    const { exits, msr, io, interrupts, hypercalls, vmcsLoads, eptRoots, vmcsWrites, nested, histogram } = options;
    const sources = [exits, msr, io, interrupts, hypercalls, vmcsLoads, eptRoots, vmcsWrites, nested];
    const none = sources.every((source) => source === undefined || source === false);
    const wantsExits = options.output !== undefined || options.count !== undefined || histogram !== true;
    this.#options = none && wantsExits ? { ...options, exits: true } : options;
    this.#reasons = exitReasons(exits);
    this.#written = vmcsFields(vmcsWrites);
    this.#filter = options.filter === undefined ? undefined : traceFilter(options.filter);
    if (options.count !== undefined) this.counter = new Counter(traceFieldNames(options.count));
    const counted = this.counter?.fields;
    const filtered = this.#filter?.fields ?? new Set<TraceFieldName>();
    const isLate = (name: TraceFieldName): boolean => traceField(name)?.late === true;
    this.#filtersLate = [...filtered].some(isLate);
    this.#late = counted === undefined || counted.some(isLate) || this.#filtersLate;
    this.readsVmcs = this.#written.length > 0 || vmcsLoads === true || eptRoots === true;
    this.needsNested = nested === true;
    this.wantsStack = options.stack === true || counted?.includes('stack') === true || filtered.has('stack');
    this.#wants = (name) => counted === undefined || counted.includes(name) || filtered.has(name);
  }

  attach(pluginHost: PluginHost, services: Services): void {
    const { exits, msr, io, interrupts, hypercalls, vmcsLoads, eptRoots, histogram } = this.#options;
    const { hooks } = pluginHost;
    this.#captures = this.#commonCaptures(services);
    this.#given = EXIT_NAMES.filter((name) => services.backend.capabilities.has(`exit.${name}`));
    if (this.wantsStack && services.vmi !== undefined) {
      const { nested } = services;
      this.#stacks = new StackReader(services.vmi, services.clock, (vcpu) => nested?.inGuest(vcpu) !== true);
    }
    if (histogram === true) this.#measure(pluginHost, services.clock);
    if (exits !== undefined && exits !== false) this.#traceExits(pluginHost, services.clock);
    if (msr !== undefined && msr !== false) this.#traceMsrs(pluginHost, msr);
    if (hypercalls === true) this.#traceHypercalls(pluginHost);
    if (io === true) this.#traceIo(pluginHost);
    if (interrupts === true) {
      const record = recordOf('interrupt');
      hooks.interrupt.tap((vcpu, kind, vector) => {
        record.vector = vector;
        record.reason = kind;
        this.#once(record, vcpu);
      });
    }
    const sink = { begin: this.#begin.bind(this), finish: this.#finish.bind(this) };
    if (vmcsLoads === true) traceLoads(sink, pluginHost);
    if (eptRoots === true) traceRoots(sink, pluginHost, services.views);
    if (this.#written.length > 0) traceWrites(sink, pluginHost, this.#written, this.#given);
    if (services.nested !== undefined) traceNested(sink, services.nested, this.#options, this.#written);
  }

  // ── Events

  /** How the fields that every event has are taken: only those that are asked for. */
  #commonCaptures({ clock, nested }: Services): ((record: TraceRecord, vcpu: Vcpu) => void)[] {
    const all: [TraceFieldName, (record: TraceRecord, vcpu: Vcpu) => void][] = [
      ['time', (record) => void (record.time = clock.now())],
      ['cpu', (record, vcpu) => void (record.cpu = vcpu.index)],
      ['instructions', (record, vcpu) => void (record.instructions = vcpu.instructions)],
      ['rip', (record, vcpu) => void (record.rip = vcpu.rip)],
      ['cpl', (record, vcpu) => void (record.cpl = vcpu.cpl)],
      ['cr3', (record, vcpu) => void (record.cr3 = vcpu.getControlRegister(3))],
      ['ept', (record, vcpu) => void (record.ept = eptOf(vcpu))],
      ['vmcs', (record, vcpu) => void (record.vmcs = vcpu.vmcs?.region)],
      ['level', (record, vcpu) => void (record.level = nested && (nested.inGuest(vcpu) ? 2 : 1))],
    ];
    return all.filter(([name]) => this.#wants(name)).map(([, capture]) => capture);
  }

  /**
   * Takes what is known before the handlers; `vmcs` is that of a guest hypervisor, where the event is about one. False: the filter leaves the event
   * out.
   */
  #begin(record: TraceRecord, vcpu: Vcpu, vmcs?: number): boolean {
    const captures = this.#captures;
    for (let i = 0; i < captures.length; i++) captures[i](record, vcpu);
    if (vmcs !== undefined) record.vmcs = vmcs;
    const filter = this.#filtersLate ? undefined : this.#filter;
    // A filter by the stack needs it first; otherwise only what passes the filter has one, because it takes long to read
    const first = this.#stacks !== undefined && (filter?.fields.has('stack') ?? true);
    if (first) record.stack = this.#stacks!.read(vcpu);
    if (filter !== undefined && !filter.matches(record)) return false;
    if (this.#stacks !== undefined && !first) record.stack = this.#stacks.read(vcpu);
    return true;
  }

  #finish(record: TraceRecord): void {
    if (this.#filtersLate && !this.#filter!.matches(record)) return;
    if (this.counter !== undefined) this.counter.add(record);
    else this.#options.output?.(record);
  }

  /** An event of which everything is known at once. */
  #once(record: TraceRecord, vcpu: Vcpu): void {
    if (this.#begin(record, vcpu)) this.#finish(record);
  }

  // ── Sources

  #traceExits({ hooks }: PluginHost, clock: Clock): void {
    const record = recordOf('exit');
    const wants = this.#wants;
    const details = ['qualification', 'length', 'gpa', 'linear', 'vector', 'error'] as const;
    const detailed = details.some((name) => wants(name));
    const timed = wants('duration');
    let open = false;
    let began = 0;
    const begin = (exit: VmExit, vcpu: Vcpu): undefined => {
      record.reason = exitReasonName(exit.reason);
      if (detailed) fillDetails(record, exit);
      if (timed) began = clock.now();
      open = this.#begin(record, vcpu);
      if (open && !this.#late) this.#finish(record);
    };
    for (const reason of this.#reasons ?? this.#given) hooks.exit.for(reason as ExitName).tap(FIRST, begin);
    if (!this.#late) return;
    const taken = this.#reasons === undefined ? undefined : new Set(this.#reasons);
    hooks.afterExit.tap(LAST, (exit, _vcpu, outcome) => {
      if (!open || taken?.has(exit.reason) === false) return;
      open = false;
      record.outcome = outcomeName(outcome);
      if (timed) record.duration = clock.now() - began;
      this.#finish(record);
    });
  }

  #traceMsrs({ hooks, controls }: PluginHost, msr: true | readonly number[]): void {
    if (msr !== true) controls.hold({ msrs: { read: msr, write: msr } });
    const chosen = msr === true ? undefined : new Set(msr);
    const record = recordOf('msr');
    let open = false;
    const begin = (exit: VmExit, vcpu: Vcpu): undefined => {
      const index = vcpu.getRegister32(Gpr.RCX);
      if (chosen?.has(index) === false) return;
      record.msr = index;
      record.write = exit.reason === ExitReason.WRMSR;
      record.value = record.write ? msrValue(vcpu) : undefined;
      open = this.#begin(record, vcpu);
    };
    hooks.exit.for('rdmsr').tap(FIRST, begin);
    hooks.exit.for('wrmsr').tap(FIRST, begin);
    hooks.afterExit.tap(LAST, (exit, vcpu, outcome) => {
      if (!open || (exit.reason !== ExitReason.RDMSR && exit.reason !== ExitReason.WRMSR)) return;
      open = false;
      if (record.write === false && outcome === RESUME) record.value = msrValue(vcpu);
      record.outcome = outcomeName(outcome);
      this.#finish(record);
    });
  }

  #traceHypercalls({ hooks }: PluginHost): void {
    const record = recordOf('hypercall');
    let open = false;
    hooks.exit.for('vmcall').tap(FIRST, (_exit, vcpu) => {
      record.number = vcpu.rax;
      record.arguments = [vcpu.rbx, vcpu.rcx, vcpu.rdx, vcpu.rsi, vcpu.rdi];
      open = this.#begin(record, vcpu);
    });
    hooks.afterExit.tap(LAST, (exit, vcpu, outcome) => {
      if (!open || exit.reason !== ExitReason.VMCALL) return;
      open = false;
      record.result = outcome === RESUME ? vcpu.rax : undefined;
      record.outcome = outcomeName(outcome);
      this.#finish(record);
    });
  }

  #traceIo({ hooks }: PluginHost): void {
    const record = recordOf('io');
    // The bus does not know whose access it is. One that is made at no exit is not the guest's
    let vcpu: Vcpu | undefined;
    const note = (_exit: VmExit, whose: Vcpu): undefined => void (vcpu = whose);
    hooks.exit.for('io').tap(FIRST, note);
    hooks.exit.for('ept-violation').tap(FIRST, note);
    hooks.afterExit.tap(LAST, () => void (vcpu = undefined));
    hooks.deviceAccess.tap(LAST, ({ kind, address, size, write, value, owner }: DeviceAccess) => {
      if (vcpu === undefined) return;
      record.bus = kind;
      record.address = address;
      record.size = size;
      record.write = write;
      record.value = value;
      record.device = owner;
      this.#once(record, vcpu);
    });
  }

  #measure({ hooks, vcpus }: PluginHost, clock: Clock): void {
    const entered = vcpus.map(() => NaN);
    let began = 0;
    const begin = ({ reason }: VmExit, { index }: Vcpu): undefined => {
      const since = clock.now() - entered[index];
      if (since >= 0) this.guest.add(exitReasonName(reason), since);
      entered[index] = NaN;
      began = host.now();
    };
    const reasons = this.#reasons ?? this.#given.map((name) => exitReasonByName(name)!);
    const measured = new Set<number>(reasons);
    for (const reason of reasons) hooks.exit.for(reason).tap({ stage: FIRST.stage + 1 }, begin);
    hooks.afterExit.tap({ stage: LAST.stage - 1 }, ({ reason }) => {
      if (measured.has(reason)) this.handling.add(exitReasonName(reason), (host.now() - began) * 1e6);
    });
    hooks.beforeEntry.tap(LAST, ({ index }) => void (entered[index] = clock.now()));
  }
}

function msrValue(vcpu: Vcpu): bigint {
  return (BigInt(vcpu.getRegister32(Gpr.RDX)) << 32n) | BigInt(vcpu.getRegister32(Gpr.RAX));
}

const ANSWERS = new Map<Outcome, string>([
  [RESUME, 'resume'],
  [RETRY, 'retry'],
  [HALT, 'halt'],
  [WAIT, 'wait'],
]);

function outcomeName(outcome: Outcome | undefined): string {
  if (outcome === undefined) return 'nobody';
  return typeof outcome === 'object' ? outcome.kind : ANSWERS.get(outcome)!;
}
