/** Subscriptions: their order, their end, their errors; several vCPUs; a VM that is saved; and that nothing is left when all are gone. */
import { describe, expect, it } from 'vitest';
import { fakeBackend } from '@visorkit/testkit';
import type { Undo } from '@visorkit/core';
import { definePlugin } from '@visorkit/core';
import { compose } from '@visorkit/machine';
import { VmiEventsToken, introspectionEvents } from '@visorkit/vmi';
import type { VmiEvents } from '@visorkit/vmi';
import { CODE, DATA, FUNCTION, OTHER, asm, le32, machineOf, runGuest } from './machine.js';

const { hlt, load, store, inc, movEax, print, call, ret, vmcall, cpuid } = asm;

describe('subscribers', () => {
  it('are asked in the order that they state, then in that of subscription; the first answer counts', async () => {
    const seen: string[] = [];
    const { output } = await runGuest({
      code: [load(DATA), print, hlt],
      subscribe: ({ events }) => {
        const reader = (name: string, order: number): Undo =>
          events.memory(
            { gpa: DATA, access: 'r' },
            () => {
              seen.push(name);
              return { readData: new TextEncoder().encode(`${name}   `) };
            },
            { order },
          );
        reader('d', 5);
        reader('b', 0);
        reader('c', 0);
        reader('a', -1);
      },
    });
    expect(seen).toEqual(['a', 'b', 'c', 'd']);
    expect(output).toEqual([0x2020_2061]);
  });

  it('end inside a handler: their own, and another that would have been next', async () => {
    const seen: string[] = [];
    const { exits } = await runGuest({
      code: [...Array.from({ length: 5 }, () => load(DATA)), hlt],
      subscribe: ({ events }) => {
        const undos: Undo[] = [];
        undos[0] = events.memory({ gpa: DATA, access: 'r' }, () => {
          seen.push('first');
          if (seen.length === 3) for (const undo of undos) undo();
        });
        undos[1] = events.memory({ gpa: DATA, access: 'r' }, () => void seen.push('second'));
      },
    });
    expect(seen).toEqual(['first', 'second', 'first']);
    expect(exits['ept-violation']).toBe(2);
  });

  it('begin inside a handler', async () => {
    const seen: string[] = [];
    await runGuest({
      code: [vmcall, call(CODE + 3, FUNCTION), hlt],
      data: { [FUNCTION]: ret },
      subscribe: ({ events }) => {
        const undo = events.guestRequest({}, () => {
          undo();
          events.breakpointAt({ gpa: FUNCTION }, () => void seen.push('hit'));
          events.vmexit({ exits: ['hlt'] }, () => void seen.push('hlt'));
        });
      },
    });
    expect(seen).toEqual(['hit', 'hlt']);
  });

  it('that throw end the run with a report that names them; the access is offered again', async () => {
    let broken = true;
    const seen: bigint[] = [];
    await using machine = await machineOf({
      code: [load(DATA), print, hlt],
      data: { [DATA]: [6] },
      subscribe: ({ events }) =>
        void events.memory(
          { gpa: DATA, access: 'r' },
          ({ rip }) => {
            if (broken) throw new Error('no idea');
            seen.push(rip);
          },
          { name: 'watch-data' },
        ),
    });
    const report = await machine.run();
    expect(report).toMatchObject({
      reason: 'plugin-error',
      why: 'Plugin introspection-events: the subscriber "watch-data" of memory events failed: no idea',
      failure: { plugin: 'introspection-events', exit: { name: 'ept-violation' } },
      error: { code: 'PLUGIN_FAILED', details: { subscriber: 'watch-data', event: 'memory' } },
    });
    broken = false;
    expect(await machine.run()).toMatchObject({ reason: 'halted' });
    expect([machine.output, seen]).toEqual([[6], [BigInt(CODE)]]);
  });

  it('that throw are told in the log where the guest is to go on', async () => {
    const log: string[] = [];
    const { output } = await runGuest({
      code: [load(DATA), print, cpuid, hlt],
      data: { [DATA]: [6] },
      options: { onError: 'go-on' },
      log: (level, source, message) => void (level === 'error' && log.push(`${source}: ${message}`)),
      subscribe: ({ events }) => {
        events.memory({ gpa: DATA, access: 'r' }, function broken() {
          throw new Error('no idea');
        });
        events.memory({ gpa: DATA, access: 'r' }, () => ({ readData: Uint8Array.of(7, 0, 0, 0) }));
        events.cpuid({}, (async () => {}) as never, { name: 'slow' });
      },
    });
    expect(output).toEqual([7]);
    expect(log).toEqual([
      'introspection-events: the subscriber "broken" of memory events failed: no idea',
      expect.stringMatching(/the subscriber "slow" of CPUID events failed: .*asynchronous/),
    ]);
  });

  it.each<[string, unknown, RegExp]>([
    [
      'a field that makes no sense',
      { deny: true },
      /answered "deny", which makes no sense there; it may answer nothing, or an object of registers/,
    ],
    ['what is no object', 5, /answered 5/],
    ['a register that does not exist', { registers: { eax: 1n } }, /There is no register "eax"/],
    ['a number for a register', { registers: { rax: 1 } }, /rax was given 1/],
  ])('that answer %s are refused', async (_what, response, why) => {
    await using machine = await machineOf({
      code: [load(DATA), hlt],
      subscribe: ({ events }) => void events.memory({ gpa: DATA, access: 'r' }, () => response as never),
    });
    const report = await machine.run();
    expect(report.reason).toBe('plugin-error');
    expect(report.why).toMatch(why);
  });

  it('may pause the run; the guest goes on behind', async () => {
    await using machine = await machineOf({
      code: [movEax(5), store(DATA), load(DATA), print, hlt],
      subscribe: ({ events }) => void events.memory({ gpa: DATA, access: 'w' }, () => ({ pause: 'DATA is written' })),
    });
    expect(await machine.run()).toMatchObject({ reason: 'paused', why: 'DATA is written' });
    expect(machine.parts.memory.readU32(DATA)).toBe(0); // the instruction is executed when the guest goes on
    expect(await machine.run()).toMatchObject({ reason: 'halted' });
    expect(machine.output).toEqual([5]);
  });
});

describe('types', () => {
  it('refuse answers that make no sense for an event', () => {
    const never = (events: VmiEvents): void => {
      events.memory({ gpa: 0, access: 'r' }, () => ({ readData: new Uint8Array(8) }));
      // @ts-expect-error a write has no data to be read
      events.memory({ gpa: 0, access: 'w' }, () => ({ readData: new Uint8Array(8) }));
      // @ts-expect-error an access to memory cannot be denied
      events.memory({ gpa: 0, access: 'rw' }, () => ({ deny: true }));
      // @ts-expect-error a register is written, not executed
      events.register({ register: 'cr3' }, () => ({ instruction: new Uint8Array(1) }));
    };
    expect(never).toBeTypeOf('function');
  });
});

/** INC of a word a thousand times, with interrupts of the turn in between; then EAX is what is there. */
const REAL = {
  /** MOV CX, n; 1: the body; LOOP 1b; HLT */
  loop: (n: number, body: readonly number[]): number[] => [
    0xb9,
    n & 0xff,
    n >> 8,
    ...body,
    0xe2,
    256 - body.length - 2,
    0xf4,
  ],
  lockInc: [0xf0, 0xff, 0x06, DATA & 0xff, DATA >> 8], // LOCK INC word [DATA]
  call: (from: number, to: number): number[] => [0xe8, (to - from - 3) & 0xff, ((to - from - 3) >> 8) & 0xff],
};

describe('several vCPUs', () => {
  it('write a watched word, each write atomic, and each is told', async () => {
    const told = [0, 0];
    await using machine = await machineOf({
      cpus: 2,
      code: [REAL.loop(3000, REAL.lockInc)],
      subscribe: ({ events }) => {
        events.memory({ gpa: DATA, access: 'rw' }, ({ access, vcpu }) => {
          if (access === 'w') told[vcpu.index]++;
        });
      },
    });
    expect(await machine.run(2_000_000)).toMatchObject({ reason: 'halted' });
    expect(machine.parts.memory.readU16(DATA)).toBe(6000);
    expect(told).toEqual([3000, 3000]);
  });

  it('hit a hidden breakpoint, while others run the page, read and write it', async () => {
    const hits = [0, 0];
    // INC BX; LOCK INC word [DATA]; RET at FUNCTION; the other bytes of its page are read and written
    const body = [
      ...REAL.call(CODE + 3, FUNCTION),
      0xa1,
      FUNCTION & 0xff,
      FUNCTION >> 8,
      0xff,
      0x06,
      0x80,
      FUNCTION >> 8,
    ];
    await using machine = await machineOf({
      cpus: 2,
      code: [REAL.loop(2000, body)],
      data: { [FUNCTION]: [0x43, ...REAL.lockInc, 0xc3] },
      subscribe: ({ events }) => {
        events.breakpointAt({ gpa: FUNCTION }, ({ vcpu }) => void hits[vcpu.index]++);
        events.breakpointAt({ gpa: FUNCTION + 1, vcpus: [1] }, ({ vcpu }) => void (hits[vcpu.index] += 10_000));
      },
    });
    expect(await machine.run(2_000_000)).toMatchObject({ reason: 'halted' });
    expect(machine.parts.memory.readU16(DATA)).toBe(4000);
    expect(hits).toEqual([2000, 2000 * 10_001]);
    expect(machine.vmm.vcpus.map(({ rax, rbx }) => [rax & 0xffffn, rbx & 0xffffn])).toEqual([
      [0xf043n, 2000n],
      [0xf043n, 2000n],
    ]);
  });

  it('step and answer each for itself', async () => {
    const steps = [0, 0];
    await using machine = await machineOf({
      cpus: 2,
      code: [REAL.loop(100, REAL.lockInc)],
      subscribe: ({ events }) => {
        events.singleStep({ vcpus: [1] }, ({ vcpu }) => void steps[vcpu.index]++);
        events.memory({ gpa: DATA, access: 'w', vcpus: [0] }, () => ({ withoutWrite: true }));
      },
    });
    expect(await machine.run(2_000_000)).toMatchObject({ reason: 'halted' });
    expect(machine.parts.memory.readU16(DATA)).toBe(100);
    expect(steps).toEqual([0, 201]); // MOV, and 100 times INC and LOOP
  });
});

describe('a VM that is saved', () => {
  const guest = {
    code: [call(CODE, FUNCTION), inc(DATA), vmcall, call(CODE + 15, FUNCTION), inc(DATA), load(DATA), print, hlt],
    data: { [FUNCTION]: [...movEax(1), ...ret], [DATA]: [40] },
  };
  const watch = (events: VmiEvents, seen: string[]): void => {
    events.breakpointAt({ gpa: FUNCTION }, () => void seen.push('hit'));
    events.memory({ gpa: DATA, access: 'w' }, ({ value }) => void seen.push(`w ${value}`));
    events.register({ register: 'cr0' }, () => {});
  };

  it('has no subscriptions in it: it runs at full speed where nobody subscribes', async () => {
    const seen: string[] = [];
    await using first = await machineOf({ ...guest, subscribe: ({ events }) => watch(events, seen) });
    first.vmm.hooks.exit.for('vmcall').tap(() => first.parts.host.outcomes.pause('saved here'));
    expect(await first.run()).toMatchObject({ reason: 'paused' });
    const saved = first.vmm.save();
    await using second = await machineOf(guest);
    await second.vmm.restore(saved);
    const report = await second.run();
    expect(report).toMatchObject({ reason: 'halted' });
    expect(report.exits).not.toHaveProperty('ept-violation');
    expect(report.exits).not.toHaveProperty('exception');
    expect(second.parts.views.pages).toEqual([]);
    expect(second.output).toEqual([42]);
    // The first one is as it was
    expect(await first.run()).toMatchObject({ reason: 'halted' });
    expect(first.output).toEqual([42]);
    expect(seen).toEqual(['hit', 'w 41', 'hit', 'w 42']);
  });

  it('takes the place of one with subscriptions, which stay', async () => {
    const seen: string[] = [];
    await using first = await machineOf(guest);
    first.vmm.hooks.exit.for('vmcall').tap(() => first.parts.host.outcomes.pause('saved here'));
    await first.run();
    const saved = first.vmm.save();
    await using second = await machineOf({ ...guest, apply: ({ events }) => watch(events, seen) });
    await second.vmm.restore(saved);
    expect(await second.run()).toMatchObject({ reason: 'halted' });
    expect(second.output).toEqual([42]);
    expect(seen).toEqual(['hit', 'w 42']);
  });
});

describe('the last subscriber', () => {
  const body = [
    inc(DATA),
    movEax(0x2_0000),
    asm.movCr(3),
    asm.readCr(0),
    [0x48, 0x83, 0xf0, 0x08], // XOR RAX, TS
    asm.movCr(0),
    [0x0f, 0x06], // CLTS
    [0x0f, 0x01, 0x0c, 0x25, ...le32(OTHER)], // SIDT
    [0xb9, 0x82, 0, 0, 0xc0, 0xba, 0, 0, 0, 0], // MOV ECX, C0000082H; MOV EDX, 0
    asm.wrmsr,
  ];
  const length = 5 + body.flat().length + 3;

  it('takes every exit with it, and every right of a page', async () => {
    const undos: Undo[] = [];
    await using machine = await machineOf({
      // Everything twice, with VMCALL between
      code: [...[0, length].flatMap((at) => [call(CODE + at, FUNCTION), ...body, vmcall]), hlt],
      data: { [FUNCTION]: ret },
      subscribe: ({ events }) => {
        const none = (): void => {};
        undos.push(
          events.breakpointAt({ gpa: FUNCTION }, none),
          events.memory({ everywhere: true, access: 'rw' }, none),
          events.register({ register: 'cr3' }, none),
          events.register({ register: 'cr0' }, none),
          events.register({ register: { msr: 'any' } }, none),
          events.descriptor({}, none),
          events.singleStep({}, none),
          events.breakpoint({}, none),
          events.interrupt({ exceptions: [3, 14] }, none),
        );
      },
    });
    const { vmm, parts } = machine;
    vmm.hooks.exit.for('vmcall').tap(() => parts.host.outcomes.pause('half'));
    const first = await machine.run();
    expect(first).toMatchObject({ why: 'half' });
    const { exits } = first;
    for (const name of ['ept-violation', 'exception', 'monitor-trap-flag', 'control-register', 'wrmsr', 'gdtr-idtr'])
      expect([name, exits[name] ?? 0]).not.toEqual([name, 0]);
    for (const undo of undos) undo();
    const second = await machine.run();
    expect(second).toMatchObject({ why: 'half' });
    expect(second.exits).toEqual({ ...exits, vmcall: 2 });
    expect(parts.views.pages).toEqual([]);
    expect(parts.views.all).toHaveLength(1);
    for (let gpa = 0; gpa < parts.memory.size; gpa += 4096) expect(parts.views.base.rights(gpa)).toBe(7);
    for (const name of ['ept-violation', 'exception', 'monitor-trap-flag', 'control-register', 'wrmsr'] as const)
      expect(vmm.hooks.exit.for(name).taps.map(({ plugin }) => plugin)).not.toContain('introspection-events');
    expect(vmm.hooks.afterExit.isUsed()).toBe(false);
  });
});

describe('a backend that lacks something', () => {
  it('is named, with what it lacks and who has it', async () => {
    let events!: VmiEvents;
    const plugin = definePlugin({
      name: 'asks',
      uses: { events: VmiEventsToken },
      apply: (_host, used) => void ({ events } = used),
    });
    const backend = fakeBackend([]);
    const able = { name: 'able', capabilities: new Set(['ept.views', 'emulation', 'mtf']) };
    await using vmm = compose({
      backend: Object.assign(backend, { capabilities: new Set(['exit.exception']) }),
      memory: '64K',
      alternatives: [able],
      plugins: [introspectionEvents(), plugin],
    });
    await vmm.create();
    const none = (): void => {};
    expect(() => events.memory({ gpa: 0, access: 'w' }, none)).toThrow(
      'Backend fake lacks "ept.views" (asked for by memory events; backend able has it), "emulation" (asked for by memory events; backend able has it)',
    );
    expect(() => events.cpuid({}, none)).toThrow(
      /lacks "exit.cpuid" \(asked for by CPUID events; no other known backend has it\)/,
    );
    expect(() => events.singleStep({}, none)).toThrow(/"mtf"/);
    events.breakpoint({}, none)();
  });
});
