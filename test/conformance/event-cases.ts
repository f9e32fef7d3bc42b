/** Guests whose events are told on every backend that has them. Without a test runner, so that they can run wherever a backend is. */
import { InterruptSourceToken, Stage, definePlugin } from '@visorkit/core';
import type { Capability, Plugin, PluginHost } from '@visorkit/core';
import { VmiEventsToken, introspectionEvents } from '@visorkit/vmi';
import type { VmiEvents } from '@visorkit/vmi';
import type { ConformingBackend, Deviation } from './backends.js';
import { AX, CX, DI, DX, code } from './code.js';
import { CODE, createMachine } from './machine.js';
import type { Guest } from './machine.js';

const HANDLER = 0x4000,
  DATA = 0x6000;
/** An MSR that every processor keeps, and no guest here uses. */
const LSTAR = 0xc000_0082;

type See = (what: string) => void;

export interface EventCase {
  readonly name: string;
  readonly needs: readonly Capability[];
  /** What of it a backend may fail at on this machine. */
  readonly deviations?: readonly Deviation[];
  readonly guest: Guest;
  subscribe(events: VmiEvents, see: See, host: PluginHost): void;
  /** What is seen of events and of devices, in order. */
  readonly expected: readonly string[];
}

/** Where in the guest's code. */
const at = (rip: bigint): number => Number(rip) - CODE;

/** INC EBX, and back. */
const COUNTED = Uint8Array.of(0x43, 0xcf);
const int3 = [0xcc],
  pushf = [0x9c],
  popf = [0x9d];
/** The trap flag in the flags on the stack, set; and taken out of those that IRET will load. */
const setTrap = [0x81, 0x0c, 0x24, 0, 1, 0, 0],
  clearTrap = [0x81, 0x64, 0x24, 8, 0xff, 0xfe, 0xff, 0xff];

/** An interrupt that waits once a byte is written to port 2FH. */
function raisedByPort(vector: number): Plugin {
  let waiting = false;
  return definePlugin({
    name: 'raised-by-port',
    provides: [
      {
        token: InterruptSourceToken,
        make: () => ({ pending: () => waiting, acknowledge: () => ((waiting = false), vector) }),
      },
    ],
    apply: ({ hooks }) =>
      hooks.exit.for('io').tap({ name: 'raise', stage: -1000 }, ({ io }) => {
        if (io.port === 0x2f) waiting = true;
        return undefined;
      }),
  });
}

export const EVENT_CASES: readonly EventCase[] = [
  {
    name: 'ports are told by number and direction, answered and denied',
    needs: ['exit.io'],
    guest: {
      mode: 'protected32',
      code: code().movAl(5).out(0x10).out(0x11).in(0x12).out(0x13).in(0x14).hlt(),
    },
    subscribe(events, see) {
      events.io({ ports: 0x10 }, ({ size, value, input }) => see(`10 ${size} ${value} ${input}`));
      events.io({ ports: [0x11, 0x12], direction: 'out' }, () => ({ deny: true }));
      events.io({ ports: [0x11, 0x12], direction: 'in' }, () => ({ value: 0x77 }));
    },
    expected: ['10 1 5 false', 'out 10 1 5', 'out 13 1 77', 'in 14 1'],
  },
  {
    name: 'INT3 is told, and goes to the guest',
    needs: ['exit.exception'],
    deviations: ['ring-0-debugging'],
    guest: {
      mode: 'protected32',
      code: code()
        .raw(...int3)
        .nop(1)
        .raw(...int3)
        .hlt(),
      data: { [HANDLER]: COUNTED },
      handlers: { 3: HANDLER },
    },
    subscribe: (events, see) =>
      void events.breakpoint({}, ({ rip, vcpu, type, instructionLength }) =>
        see(`int3 ${at(rip)} ${type} ${instructionLength} ${vcpu.rbx}`),
      ),
    expected: ['int3 0 6 1 0', 'int3 2 6 1 1'],
  },
  {
    name: 'INT3 may be kept from the guest, and RIP moved',
    needs: ['exit.exception'],
    deviations: ['ring-0-debugging'],
    guest: {
      mode: 'protected32',
      code: code()
        .raw(...int3)
        .out(0x10)
        .raw(...int3)
        .out(0x11)
        .out(0x12)
        .hlt(),
      data: { [HANDLER]: COUNTED },
      handlers: { 3: HANDLER },
    },
    subscribe: (events, see) =>
      void events.breakpoint({}, ({ rip, vcpu }) => {
        see(`int3 ${at(rip)} ${vcpu.rbx}`);
        return at(rip) === 0 ? { reinject: false, registers: { rax: 9n } } : { registers: { rip: rip + 3n } };
      }),
    expected: ['int3 0 0', 'out 10 1 9', 'int3 3 0', 'out 12 1 9'],
  },
  {
    name: '#DB of the trap flag is told with its conditions, and goes to the guest',
    needs: ['exit.exception'],
    deviations: ['ring-0-debugging'],
    guest: {
      mode: 'protected32',
      code: code()
        .raw(...pushf, ...setTrap, ...popf)
        .nop(2)
        .out(0x10)
        .hlt(),
      data: { [HANDLER]: Uint8Array.of(...clearTrap, 0xb0, 1, 0xcf) },
      handlers: { 1: HANDLER },
    },
    subscribe: (events, see) =>
      void events.debugException({}, ({ rip, conditions }) => see(`#DB ${at(rip)} ${conditions.toString(16)}`)),
    expected: ['#DB 10 4000', 'out 10 1 1'],
  },
  {
    name: '#DB of breakpoint registers that the guest sets is told, and goes to the guest',
    needs: ['exit.exception'],
    deviations: ['ring-0-debugging'],
    guest: {
      mode: 'protected32',
      // MOV DR0, EAX; MOV DR7, EAX: writes of four bytes
      code: code()
        .mov(AX, DATA)
        .raw(0x0f, 0x23, 0xc0)
        .mov(AX, 0xd_0001)
        .raw(0x0f, 0x23, 0xf8)
        .mov(DI, DATA)
        .store(0)
        .nop(1)
        .out(0x10)
        .hlt(),
      data: { [HANDLER]: Uint8Array.of(0xb0, 7, 0xcf) },
      handlers: { 1: HANDLER },
    },
    subscribe: (events, see) =>
      void events.debugException({}, ({ rip, conditions }) => see(`#DB ${at(rip)} ${conditions.toString(16)}`)),
    expected: ['#DB 27 1', 'out 10 1 7'],
  },
  {
    name: '#DB of accesses to debug registers is told where the guest asks for it; the others happen as they are',
    needs: ['exit.exception'],
    deviations: ['ring-0-debugging'],
    guest: {
      mode: 'protected32',
      // DR1 is written and read, then guarded by DR7.GD, written once more, and read. The handler lets go of the guard, and goes on behind
      code: code()
        .mov(AX, DATA)
        .raw(0x0f, 0x23, 0xc8)
        .raw(0x0f, 0x21, 0xc9)
        .mov(AX, 0x2400)
        .raw(0x0f, 0x23, 0xf8)
        .raw(0x0f, 0x23, 0xc8)
        .raw(0x0f, 0x21, 0xc8)
        .outWide(0x10)
        .raw(0x0f, 0x21, 0xf8)
        .outWide(0x11)
        .hlt(),
      // MOV EAX, DR6 to port 12H, ADD [ESP], 3, IRET
      data: { [HANDLER]: Uint8Array.of(0x0f, 0x21, 0xf0, 0xe7, 0x12, 0x83, 0x04, 0x24, 3, 0xcf) },
      handlers: { 1: HANDLER },
    },
    subscribe: (events, see) =>
      void events.debugException({}, ({ rip, conditions }) => see(`#DB ${at(rip)} ${conditions.toString(16)}`)),
    expected: ['#DB 19 2000', 'out 12 4 ffff2ff0', 'out 10 4 6000', 'out 11 4 400'],
  },
  {
    name: '#DB of breakpoint registers that are set from outside is told, and kept from the guest',
    needs: ['exit.exception'],
    guest: { mode: 'protected32', code: code().nop(2).out(0x10).hlt() },
    subscribe(events, see, { hooks, vcpus: [vcpu] }) {
      hooks.loaded.tap({ name: 'break', stage: Stage.Fallback }, () => {
        vcpu.setDebugRegister(1, BigInt(CODE + 1));
        vcpu.setDebugRegister(7, 0x408n);
      });
      events.debugException({}, ({ rip, conditions }) => {
        see(`#DB ${at(rip)} ${conditions.toString(16)}`);
        vcpu.setDebugRegister(7, 0x400n);
        return { reinject: false };
      });
    },
    expected: ['#DB 1 2', 'out 10 1 0'],
  },
  {
    name: 'single steps tell each instruction, and end',
    needs: ['mtf'],
    guest: { mode: 'protected32', code: code().nop(1).mov(CX, 2).label('again').dec(CX).jnz('again').nop(3).hlt() },
    subscribe(events, see) {
      const undo = events.singleStep({}, ({ rip }) => {
        see(`step ${at(rip)}`);
        if (at(rip) === 11) undo();
      });
    },
    expected: ['step 1', 'step 6', 'step 8', 'step 6', 'step 8', 'step 10', 'step 11'],
  },
  {
    name: 'single steps begin and end by answers, and are counted',
    needs: ['mtf', 'exit.io'],
    deviations: ['ring-0-debugging'],
    guest: { mode: 'protected32', code: code().nop(1).out(0x10).nop(2).out(0x10).nop(4).hlt() },
    subscribe(events, see, host) {
      events.singleStep({ enabled: false }, ({ rip }) => see(`step ${at(rip)}`));
      let last = false;
      events.io({ ports: 0x10 }, () => {
        if (last) events.afterSteps(host.vcpus[0], 3, ({ rip }) => see(`counted ${at(rip)}`));
        last = true;
        return { singleStep: 'toggle' };
      });
    },
    expected: ['out 10 1 0', 'step 4', 'step 5', 'out 10 1 0', 'counted 9'],
  },
  {
    name: 'writes of MSRs are told with both values, filtered and denied',
    needs: ['exit.wrmsr'],
    guest: {
      mode: 'protected32',
      // 1; 1 again; 2, which is denied; 3. What is there at last goes to port 11H
      code: [1, 1, 2, 3]
        .reduce((guest, value) => guest.mov(AX, value).wrmsr(), code().mov(CX, LSTAR).mov(DX, 0))
        .rdmsr()
        .outWide(0x11)
        .hlt(),
    },
    subscribe(events, see) {
      const register = { msr: LSTAR };
      events.register({ register }, ({ msr, value, previous }) => see(`${msr.toString(16)} ${value} ${previous}`));
      events.register({ register, onChange: true }, ({ value }) => see(`changes to ${value}`));
      events.register({ register, equal: 2n }, () => ({ deny: true }));
    },
    expected: [
      'c0000082 1 0',
      'changes to 1',
      'c0000082 1 1',
      'c0000082 2 1',
      'changes to 2',
      'c0000082 3 1',
      'changes to 3',
      'out 11 4 3',
    ],
  },
  {
    name: 'writes of any MSR are told, and carried out where nobody answers',
    needs: ['exit.wrmsr'],
    guest: {
      mode: 'protected32',
      code: code()
        .mov(DX, 0)
        .mov(CX, 0x174)
        .mov(AX, 8)
        .wrmsr()
        .mov(CX, LSTAR)
        .wrmsr()
        .mov(CX, 0x174)
        .rdmsr()
        .outWide(0x11)
        .hlt(),
    },
    subscribe: (events, see) =>
      void events.register({ register: { msr: 'any' } }, ({ msr, value, previous }) =>
        see(`${msr.toString(16)} ${value} ${previous}`),
      ),
    expected: ['174 8 0', 'c0000082 8 0', 'out 11 4 8'],
  },
  {
    name: 'exits are told by name',
    needs: ['exit.io', 'exit.hlt'],
    guest: { mode: 'protected32', code: code().out(0x10).hlt() },
    subscribe: (events, see) =>
      void events.vmexit({ exits: ['io', 'hlt'] }, ({ name, reason }) => see(`${name} ${reason}`)),
    expected: ['io 30', 'out 10 1 0', 'hlt 12'],
  },
  {
    name: 'interrupts are told as they are injected',
    needs: ['exit.interrupt-window'],
    guest: {
      mode: 'protected32',
      code: code().sti().out(0x2f).nop(2).out(0x10).cli().hlt(),
      data: { [HANDLER]: Uint8Array.of(0x40, 0xcf) },
      handlers: { 0x40: HANDLER },
      plugins: () => [raisedByPort(0x40)],
    },
    subscribe: (events, see) => void events.interrupt({}, ({ kind, vector }) => see(`${kind} ${vector.toString(16)}`)),
    expected: ['external 40', 'out 10 1 1'],
  },
  {
    name: 'several subscribers are asked in their order, and end while the guest runs: nothing exits for them then',
    needs: ['exit.exception'],
    deviations: ['ring-0-debugging'],
    guest: {
      mode: 'protected32',
      code: code()
        .raw(...int3)
        .raw(...int3)
        .out(0x10)
        .raw(...int3)
        .out(0x10)
        .hlt(),
      data: { [HANDLER]: Uint8Array.of(0x40, 0xcf) },
      handlers: { 3: HANDLER },
    },
    subscribe(events, see) {
      const late = events.breakpoint({}, ({ rip }) => (see(`late ${at(rip)}`), at(rip) === 1 ? late() : undefined), {
        order: 1,
      });
      const early = events.breakpoint({}, ({ rip }) => (see(`early ${at(rip)}`), at(rip) === 0 ? early() : undefined), {
        order: -1,
      });
    },
    expected: ['early 0', 'late 0', 'late 1', 'out 10 1 2', 'out 10 1 3'],
  },
  {
    name: 'a run may be paused by an answer, and goes on',
    needs: ['exit.io'],
    guest: { mode: 'protected32', code: code().out(0x10).out(0x11).hlt() },
    subscribe: (events, see) => void events.io({ ports: 0x10 }, () => (see('pause'), { pause: 'seen enough' })),
    expected: ['pause', 'out 10 1 0', 'paused: seen enough', 'out 11 1 0'],
  },
];

/** Runs a case; what was seen. */
export async function seenOn(backend: ConformingBackend, { guest, subscribe }: EventCase): Promise<string[]> {
  const subscriber = definePlugin({
    name: 'subscriber',
    uses: { events: VmiEventsToken },
    apply: (host, { events }) => subscribe(events, (what) => void machine.events.push(what), host),
  });
  const machine = await createMachine(backend, {
    ...guest,
    plugins: () => [introspectionEvents(), subscriber, ...(guest.plugins?.() ?? [])],
  });
  try {
    for (;;) {
      const { reason, why } = await machine.vmm.run({ timeout: 20 });
      if (reason === 'halted') break;
      machine.events.push(`${reason}: ${why}`);
      if (reason !== 'paused') break;
    }
    return machine.events.filter((event) => !/^(hlt|(rd|wr)msr [0-9a-f]+)$/.test(event)); // those are the machine's own notes
  } finally {
    await machine.vmm.dispose();
  }
}

const none = (): void => {};
/** Every kind of event, and answers that need something of the backend: with what one without it lacks. */
const ASKED: readonly (readonly [string, readonly Capability[], (events: VmiEvents) => () => void])[] = [
  ['memory', ['ept.views', 'emulation'], (events) => events.memory({ gpa: 0, access: 'w' }, none)],
  ['hidden breakpoint', ['ept.views', 'ept.execute-only'], (events) => events.breakpointAt({ gpa: 0 }, none)],
  ['function', ['ept.views', 'ept.execute-only'], (events) => events.traceFunction(BigInt(CODE), none)],
  ['failed emulation', ['emulation'], (events) => events.failedEmulation(none)],
  ['CPUID', ['exit.cpuid'], (events) => events.cpuid({}, none)],
  ['cr0', ['exit.control-register', 'cr-bits'], (events) => events.register({ register: 'cr0' }, none)],
  ['cr3', ['exit.control-register'], (events) => events.register({ register: 'cr3' }, none)],
  ['cr4', ['exit.control-register', 'cr-bits'], (events) => events.register({ register: 'cr4' }, none)],
  ['xcr0', ['exit.xsetbv'], (events) => events.register({ register: 'xcr0' }, none)],
  ['msr', ['exit.wrmsr'], (events) => events.register({ register: { msr: LSTAR } }, none)],
  ['guest request', ['exit.vmcall'], (events) => events.guestRequest({}, none)],
  ['descriptor', ['exit.gdtr-idtr', 'exit.ldtr-tr'], (events) => events.descriptor({}, none)],
  ['interrupt', ['exit.interrupt-window'], (events) => events.interrupt({}, none)],
  ['interrupt that is asked for', ['exception-exits'], (events) => events.interrupt({ asked: true }, none)],
  ['exceptions', ['exception-exits'], (events) => events.interrupt({ exceptions: [14] }, none)],
  ['breakpoint', ['exit.exception'], (events) => events.breakpoint({}, none)],
  ['debug exception', ['exit.exception'], (events) => events.debugException({}, none)],
  ['single step', ['mtf'], (events) => events.singleStep({}, none)],
  ['I/O', ['exit.io'], (events) => events.io({}, none)],
  ['exit', ['exit.cpuid'], (events) => events.vmexit({ exits: ['cpuid'] }, none)],
  ['domain watch', [], (events) => events.domainWatch(none)],
];

/** By kind of event: whether the backend tells it, or else the sentence by which it is refused; and whether that is what its capabilities say. */
export async function kindsOn(
  backend: ConformingBackend,
): Promise<{ kind: string; told: boolean; why: string; right: boolean }[]> {
  const machine = await createMachine(backend, {
    mode: 'protected32',
    code: code().hlt(),
    plugins: () => [introspectionEvents()],
  });
  try {
    const { services, backend: made } = machine.vmm;
    const events = services.get(VmiEventsToken);
    return ASKED.map(([kind, needs, subscribe]) => {
      const missing = needs.filter((capability) => !made.capabilities.has(capability));
      try {
        subscribe(events)();
        return { kind, told: true, why: '', right: missing.length === 0 };
      } catch (error) {
        const why = (error as Error).message;
        return { kind, told: false, why, right: missing.length > 0 && why.includes(`Backend ${made.name} lacks`) };
      }
    });
  } finally {
    await machine.vmm.dispose();
  }
}
