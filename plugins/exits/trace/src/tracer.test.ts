/** What a trace tells of scripted exits, and that it touches nothing else. */
import { describe, expect, it } from 'vitest';
import { ExitReason, Gpr, RESUME, Stage, definePlugin } from '@visorkit/core';
import type { Plugin, Vcpu, VmExit } from '@visorkit/core';
import { PortBusToken, compose } from '@visorkit/machine';
import { exits } from '@visorkit/exits';
import {
  anExit,
  busyFor,
  cpuidExit,
  fakeBackend,
  hltExit,
  inExit,
  outExit,
  providing,
  rdmsrExit,
  wrmsrExit,
} from '@visorkit/testkit';
import type { ScriptedExit } from '@visorkit/testkit';
import { traceFormat } from './formats.js';
import { topFrame, topRows } from './tables.js';
import { NestedVmxToken } from './nested.js';
import { TraceToken, trace } from './tracer.js';
import type { Trace } from './tracer.js';
import type { TraceOptions } from './options.js';
import type { TraceRecord } from './record.js';

interface Result {
  /** Copies of the events, without what is undefined. */
  readonly events: Partial<TraceRecord>[];
  readonly trace: Trace;
}

async function play(
  script: readonly ScriptedExit[],
  options: TraceOptions,
  plugins: readonly Plugin[] = [],
  capabilities: readonly string[] = [],
): Promise<Result> {
  const events: Partial<TraceRecord>[] = [];
  const output = (record: TraceRecord): void =>
    void events.push(Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined)));
  const vmm = compose({
    backend: fakeBackend([...script], { capabilities }),
    memory: '1M',
    cpus: 1,
    time: 'virtual',
    plugins: [
      ...exits(),
      ...plugins,
      trace(options.count === undefined && options.output === undefined ? { ...options, output } : options),
    ],
  });
  await vmm.run();
  const found = vmm.services.get(TraceToken);
  await vmm.dispose();
  return { events, trace: found };
}

const some = [cpuidExit(1, 0, 100), outExit(0x10, 0xab), rdmsrExit(0x277), wrmsrExit(0x277, 6n)];

describe('exits', () => {
  it('are told with what the guest was and what became of them', async () => {
    const { events } = await play(some, { exits: true });
    expect(events.map(({ reason, outcome }) => [reason, outcome])).toEqual([
      ['cpuid', 'resume'],
      ['io', 'resume'],
      ['rdmsr', 'resume'],
      ['wrmsr', 'resume'],
      ['hlt', 'halt'],
    ]);
    expect(events[0]).toMatchObject({ kind: 'exit', time: 100, cpu: 0, cpl: 0, rip: 0n, length: 2, instructions: 100 });
    expect(events[1]).toMatchObject({ rip: 2n });
  });

  it('are those that are named', async () => {
    const { events } = await play(some, { exits: ['cpuid', ExitReason.WRMSR] });
    expect(events.map(({ reason }) => reason)).toEqual(['cpuid', 'wrmsr']);
  });

  it('are all, when nothing is named', async () => {
    expect((await play(some, {})).events).toHaveLength(5);
  });

  it('show the registers before a handler changed them, and an exit that nobody took', async () => {
    const elsewhere = definePlugin({
      name: 'elsewhere',
      apply({ hooks }) {
        hooks.exit.for('cpuid').tap({ stage: Stage.Observe }, (_exit, vcpu) => {
          vcpu.rip = 0x5000n;
          return RESUME;
        });
      },
    });
    const { events } = await play([cpuidExit(0), anExit(ExitReason.INVLPG)], { exits: true }, [elsewhere]);
    expect(events).toMatchObject([
      { reason: 'cpuid', rip: 0n },
      { reason: 'invlpg', outcome: 'nobody' },
    ]);
  });

  it('have addresses and vectors where the exit has', async () => {
    const violation = anExit(ExitReason.EPT_VIOLATION, (exit: VmExit) => {
      Object.assign(exit, { qualification: 0x182, gpa: 0x12_3456_7000, guestLinearLow: 0x8000, guestLinearHigh: 1 });
    });
    const fault = anExit(ExitReason.EXCEPTION, (exit: VmExit) => {
      Object.assign(exit, { interruptionInfo: 0x8000_0b0e, interruptionErrorCode: 2 });
    });
    const { events } = await play([fault, violation], { exits: ['exception', 'ept-violation'] });
    expect(events).toMatchObject([
      { vector: 14, error: 2 },
      { qualification: 0x182n, gpa: 0x12_3456_7000, linear: 0x1_0000_8000n, outcome: 'nobody' },
    ]);
    expect(events[1]).not.toHaveProperty('vector');
  });
});

describe('other sources', () => {
  it('MSRs have number, direction and value, of a read what the guest gets', async () => {
    const { events } = await play([...some, rdmsrExit(0xdead)], { msr: true });
    expect(events).toMatchObject([
      { kind: 'msr', msr: 0x277, write: false, value: 0x0007_0406_0007_0406n, outcome: 'resume' },
      { kind: 'msr', msr: 0x277, write: true, value: 6n },
      { kind: 'msr', msr: 0xdead, write: false, outcome: 'retry' },
    ]);
    expect(events[2]).not.toHaveProperty('value');
    expect((await play([...some, rdmsrExit(0xdead)], { msr: [0xdead] })).events).toHaveLength(1);
  });

  it('accesses to devices have their device', async () => {
    const device = definePlugin({
      name: 'a-device',
      uses: { ports: PortBusToken },
      apply: (_host, { ports }) => void ports.register(0x500, 1, { readPort: () => 9, writePort: () => {} }, 'it'),
    });
    const { events } = await play([outExit(0x500, 7), inExit(0x500), inExit(0x77)], { io: true }, [device]);
    expect(events).toMatchObject([
      { kind: 'io', bus: 'port', address: 0x500, write: true, size: 1, value: 7, device: 'it' },
      { address: 0x500, write: false, value: 9, rip: 1n },
      { address: 0x77, write: false, value: 0xff },
    ]);
  });

  it('hypercalls have arguments and result', async () => {
    const call: ScriptedExit = {
      fill: (exit, vcpu) => {
        exit.reason = ExitReason.VMCALL;
        exit.instructionLength = 3;
        vcpu.setRegister(Gpr.RAX, 9n);
        vcpu.setRegister(Gpr.RBX, 1n);
        vcpu.setRegister(Gpr.RDI, 5n);
      },
    };
    const answer = definePlugin({
      name: 'answer',
      apply({ hooks }) {
        hooks.exit.for('vmcall').tap((_exit, vcpu) => {
          vcpu.rax = 42n;
          return RESUME;
        });
      },
    });
    const { events } = await play([call], { hypercalls: true }, [answer]);
    expect(events).toMatchObject([{ kind: 'hypercall', number: 9n, arguments: [1n, 0n, 0n, 0n, 5n], result: 42n }]);
  });
});

describe('a guest that is a hypervisor', () => {
  type Handler = (event: never, vcpu: Vcpu) => void;
  const nestedVmx = () => {
    const taps = { instruction: [] as Handler[], write: [] as Handler[], exit: [] as Handler[] };
    const tap = (list: Handler[]) => ({ tap: (handler: Handler) => (list.push(handler), () => {}) });
    const hooks = { instruction: tap(taps.instruction), write: tap(taps.write), exit: tap(taps.exit) };
    return { taps, service: { hooks, inGuest: () => true } };
  };
  const run = async (options: TraceOptions) => {
    const { taps, service } = nestedVmx();
    const call = (list: Handler[], event: object, vcpu: Vcpu): void =>
      list.forEach((handler) => void handler(event as never, vcpu));
    const acting = definePlugin({
      name: 'acting',
      apply({ hooks }) {
        hooks.exit.for('cpuid').tap((exit, vcpu) => {
          call(taps.instruction, { name: 'vmptrld', error: 0, vmcs: 0x5000 }, vcpu);
          call(taps.instruction, { name: 'vmptrld', error: 9, vmcs: 0x5000 }, vcpu);
          call(taps.write, { field: 0x201a, name: 'EPT_POINTER', before: 0n, after: 0x701en, vmcs: 0x5000 }, vcpu);
          call(taps.write, { field: 0x6800, name: 'GUEST_CR0', before: 1n, after: 0x31n, vmcs: 0x5000 }, vcpu);
          call(taps.exit, { exit, by: 'hypervisor', vmcs: 0x5000 }, vcpu);
        });
      },
    });
    return (await play([cpuidExit(0)], options, [providing(NestedVmxToken, service as never), acting], ['vmcs']))
      .events;
  };
  it('loads VMCSs, sets EPT roots, writes fields', async () => {
    expect(await run({ vmcsLoads: true, eptRoots: true, vmcsWrites: ['guest_cr0'] })).toMatchObject([
      { kind: 'vmcs-load', by: 'hypervisor', vmcs: 0x5000, after: 0x5000, rip: 0n },
      { kind: 'ept-root', by: 'hypervisor', vmcs: 0x5000, before: 0n, after: 0x701en },
      { kind: 'vmcs-write', by: 'hypervisor', field: 'GUEST_CR0', before: 1n, after: 0x31n },
    ]);
  });

  it('executes VMX instructions, and its guest exits', async () => {
    const events = await run({ nested: true });
    expect(events).toMatchObject([
      { kind: 'vmx-instruction', instruction: 'vmptrld', vmcs: 0x5000, by: 'hypervisor', level: 2 },
      { kind: 'vmx-instruction', instruction: 'vmptrld', error: 9 },
      { kind: 'nested-exit', reason: 'cpuid', by: 'hypervisor', vmcs: 0x5000 },
    ]);
  });

  it('needs the plugin, if it is to be traced', async () => {
    await expect(play([], { nested: true })).rejects.toMatchObject({ code: 'SERVICE_MISSING' });
  });
});

describe('counts', () => {
  it('are by one field or several', async () => {
    const script = [cpuidExit(0), cpuidExit(1), cpuidExit(2), outExit(0x10, 1), outExit(0x10, 2)];
    const byReason = await play(script, { count: ['reason'] });
    expect(byReason.trace.counter!.rows()).toMatchObject([
      { values: ['cpuid'], count: 3 },
      { values: ['io'], count: 2 },
      { values: ['hlt'], count: 1 },
    ]);
    const both = await play(script, { count: ['reason', 'rip'], filter: 'reason == cpuid' });
    expect(both.trace.counter!.rows()).toMatchObject([
      { values: ['cpuid', 0n], count: 1 },
      { values: ['cpuid', 2n], count: 1 },
      { values: ['cpuid', 4n], count: 1 },
    ]);
  });

  it('by a field that is known late, and of events that a late filter lets through', async () => {
    const { trace: found } = await play(some, { msr: true, count: ['write', 'value'], filter: 'value > 6' });
    expect(found.counter!.rows()).toMatchObject([{ values: [false, 0x0007_0406_0007_0406n], count: 1 }]);
  });

  it('refuse a field that is none', () => {
    expect(() => trace({ count: ['ripp'] })).toThrow(expect.objectContaining({ code: 'TRACE_FIELD' }));
    expect(() => trace({ vmcsWrites: ['guest_cr9'] })).toThrow(expect.objectContaining({ code: 'TRACE_FIELD' }));
    expect(() => trace({ exits: ['cpuidd'] })).toThrow(expect.objectContaining({ code: 'EXIT_REASON_UNKNOWN' }));
  });
});

it('measures the guest between its exits', async () => {
  const { trace: found } = await play([cpuidExit(0, 0, 100), cpuidExit(0, 0, 1000), hltExit(false)], {
    exits: ['cpuid'],
    histogram: true,
  });
  const [[name, guest]] = found.guest.rows();
  expect([name, guest.count, guest.sum, guest.least, guest.most]).toEqual(['cpuid', 2, 1100, 100, 1000]);
  expect(guest.buckets[7]).toBe(1); // 64 to 127
  expect(guest.buckets[10]).toBe(1); // 512 to 1023
  expect(found.handling.rows().map(([reason, { count }]) => [reason, count])).toEqual([['cpuid', 2]]);
});

it('taps nothing but what it is asked for', async () => {
  const backend = fakeBackend([busyFor(10)]);
  const vmm = compose({
    backend,
    memory: '1M',
    cpus: 1,
    time: 'virtual',
    plugins: [trace({ exits: ['cpuid'], count: ['reason'] })],
  });
  await vmm.create();
  const { hooks } = vmm;
  expect(hooks.exit.for('cpuid').isUsed()).toBe(true);
  for (const other of [hooks.exit.for('io'), hooks.afterExit, hooks.beforeEntry, hooks.deviceAccess, hooks.interrupt])
    expect(other.isUsed()).toBe(false);
  await vmm.dispose();
});

it('needs a VMCS for what is in it, and introspection for stacks', async () => {
  const run = (options: TraceOptions): Promise<unknown> => play([], options);
  await expect(run({ vmcsLoads: true })).rejects.toMatchObject({ code: 'CAPABILITY_MISSING' });
  await expect(run({ stack: true })).rejects.toMatchObject({ code: 'SERVICE_MISSING' });
});

describe('formats', () => {
  const lines = async (name: 'text' | 'json' | 'trace-event', options: TraceOptions = {}): Promise<string> => {
    const format = traceFormat(name);
    let text = format.begin();
    const { trace: found } = await play(some, { output: (record) => void (text += format.event(record)), ...options });
    return text + format.end(found);
  };

  it('text has a line for each event', async () => {
    expect((await lines('text', { exits: ['cpuid'] })).trimEnd()).toBe(
      '   0.000000100 0 exit cpuid rip=0x0 cpl=0 cr3=0x0 qualification=0x0 length=2 outcome=resume',
    );
  });

  it('JSON has a line for each event, with addresses in hexadecimal', async () => {
    const [line] = (await lines('json', { msr: true })).split('\n');
    expect(JSON.parse(line)).toMatchObject({
      kind: 'msr',
      msr: '0x277',
      write: false,
      value: '0x7040600070406',
      rip: '0x3',
    });
  });

  it('trace events are one JSON document, times in microseconds', async () => {
    const { traceEvents } = JSON.parse(await lines('trace-event')) as { traceEvents: Record<string, unknown>[] };
    expect(traceEvents[0]).toMatchObject({ ph: 'M', name: 'thread_name', args: { name: 'vCPU 0' } });
    expect(traceEvents[1]).toMatchObject({ ph: 'X', name: 'cpuid', cat: 'exit', ts: 0.1, dur: 0, pid: 1, tid: 0 });
    expect(traceEvents).toHaveLength(6);
  });

  it('counts are at the end of each', async () => {
    const count = { count: ['reason'], filter: 'reason == io' };
    expect(await lines('text', count)).toBe('       count  reason\n           1  io\n           1  in all\n');
    expect(JSON.parse(await lines('json', count))).toEqual({ count: 1, reason: 'io' });
    expect(JSON.parse(await lines('trace-event', count))).toMatchObject({
      traceEvents: [],
      otherData: { summary: [{ count: 1, reason: 'io' }] },
    });
  });
});

it('a live table has the most frequent of the last second first, as many as fit', async () => {
  const script = [cpuidExit(0), cpuidExit(0), cpuidExit(0), outExit(0x10, 1), rdmsrExit(0x277)];
  const { trace: found } = await play(script, { count: ['reason'] });
  const before = new Map([['cpuid', 3]]);
  expect(topFrame(found.counter!, before, 0.5, 4)).toEqual([
    '  per second       count   share  reason',
    '           2           1   16.7%  io',
    '           2           1   16.7%  rdmsr',
    '           2           1   16.7%  hlt',
  ]);
  expect(topRows(found.counter!)).toEqual(
    new Map([
      ['cpuid', 3],
      ['io', 1],
      ['rdmsr', 1],
      ['hlt', 1],
    ]),
  );
});
