/** Controls held for a time on one of two vCPUs, and taps that come and go: exits come when they are wanted, and the guest sees nothing of it. */
import { vmx } from '@visorkit/backend-vmx';
import {
  ClockToken,
  GuestMemoryToken,
  InterruptSourceToken,
  RESUME,
  definePlugin,
  exitReasonName,
} from '@visorkit/core';
import type { ControlNeeds, Plugin } from '@visorkit/core';
import { exits } from '@visorkit/exits';
import { PortBusToken, TimerQueueToken, compose } from '@visorkit/machine';
import { providing } from '@visorkit/testkit';
import { describe, expect, it } from 'vitest';
import { code } from './code.js';

const START = 0x1000;
const TURNS = 60_000;
/** When the controls are held and released, ns of guest time; the guest runs for some three hundred milliseconds. */
const HELD = 20_000_000;
const RELEASED = 60_000_000;

/**
 * Real-mode code that both vCPUs run: each turn reads the time stamp counter, which must not go back, raises #BP, whose handler counts in BX,
 * writes an MSR and reads it again, and writes to a port. BX is EEEEH when something was wrong.
 */
const LOOP = code()
  .cli()
  .raw(0x31, 0xdb, 0x66, 0x31, 0xff) // XOR BX, BX; XOR EDI, EDI
  .raw(0xbe, TURNS & 0xff, TURNS >> 8) // MOV SI, TURNS
  .label('again')
  .raw(0x0f, 0x31, 0x66, 0x39, 0xf8) // RDTSC; CMP EAX, EDI
  .jc('wrong')
  .raw(0x66, 0x89, 0xc7, 0xcc) // MOV EDI, EAX; INT3
  .raw(0x66, 0xb9, 0x82, 0, 0, 0xc0, 0x66, 0x0f, 0xb7, 0xc6, 0x66, 0x31, 0xd2) // MOV ECX, C0000082H; MOVZX EAX, SI; XOR EDX, EDX
  .wrmsr()
  .raw(0x66, 0x31, 0xc0) // XOR EAX, EAX
  .rdmsr()
  .raw(0x39, 0xf0) // CMP AX, SI
  .jnz('wrong')
  .out(0x80)
  .raw(0x4e) // DEC SI
  .jnz('again')
  .hlt()
  .label('wrong')
  .raw(0xbb, 0xee, 0xee)
  .hlt();

/** INIT and start-up of the second vCPU, as its local APIC would pass them on. */
function startSecond(): Plugin {
  let vector = START >> 12;
  const idle = { pending: () => false, acknowledge: () => 0 };
  const takeStartup = (): number => {
    const taken = vector;
    vector = -1;
    return taken;
  };
  return providing(InterruptSourceToken, {
    ...idle,
    forVcpu: (index: number) => (index === 1 ? { ...idle, takeStartup } : idle),
  });
}

/** What was seen of one kind of exit on one vCPU: before anybody held, while somebody did, afterwards. */
type Counts = Record<string, [before: number, held: number, after: number]>;

/** Runs both vCPUs to their end; `needs` is held on vCPU 1 from HELD to RELEASED. */
async function run(needs?: ControlNeeds) {
  const counts: Counts[] = [{}, {}];
  const guest = definePlugin({
    name: 'guest',
    uses: { memory: GuestMemoryToken, ports: PortBusToken, timers: TimerQueueToken, clock: ClockToken },
    apply({ hooks, vcpus, controls }, { memory, ports, timers }) {
      let phase: 0 | 1 | 2 = 0;
      ports.register(0x80, 1, { readPort: () => 0, writePort() {} }, 'guest');
      hooks.load.tap(() => {
        memory.write(START, LOOP.build());
        memory.write(3 * 4, Uint8Array.of(0x00, 0x40, 0, 0));
        memory.write(0x4000, Uint8Array.of(0x43, 0xcf)); // INC BX; IRET
        vcpus[0].setInitialState({ mode: 'real16', rip: BigInt(START), rsp: 0x8000n });
      });
      hooks.afterExit.tap(({ reason }, { index }) => {
        const seen = (counts[index][exitReasonName(reason)] ??= [0, 0, 0]);
        seen[phase]++;
      });
      if (needs === undefined) return;
      timers.schedule(HELD, () => {
        const release = controls.hold(needs, vcpus[1]);
        phase = 1;
        timers.schedule(RELEASED, () => {
          release();
          phase = 2;
        });
      });
    },
  });
  await using vmm = compose({
    backend: vmx(),
    memory: 1 << 20,
    cpus: 2,
    time: 'virtual',
    plugins: [guest, startSecond(), ...exits()],
  });
  const { reason } = await vmm.run({ maxInstructions: 20_000_000 });
  const registers = vmm.vcpus.map(({ rbx, rsi, rcx, rdx, rsp, rflags }) => [rbx, rsi, rcx, rdx, rsp, rflags]);
  return { reason, counts, registers, instructions: vmm.instructions };
}

const [quiet, held] = await Promise.all([
  run(),
  run({
    primary: ['rdtsc-exiting'],
    exceptions: [3],
    msrs: { read: [0xc000_0082], write: [[0xc000_0080, 0xc000_0084]] },
    ports: [0x80],
  }),
]);

describe('controls held on one of two vCPUs for a time', () => {
  it('the guest comes to its end on both, having seen nothing', () => {
    expect(quiet.reason).toBe('halted');
    expect(quiet.registers.map(([rbx, rsi]) => [rbx & 0xffffn, rsi & 0xffffn])).toEqual([
      [BigInt(TURNS), 0n],
      [BigInt(TURNS), 0n],
    ]);
    expect({ ...held, counts: undefined }).toEqual({ ...quiet, counts: undefined });
  });

  it.each(['rdtsc', 'exception', 'rdmsr', 'wrmsr'])(
    '%s exits there while it is held, and not before, after or elsewhere',
    (name) => {
      expect([quiet.counts[0][name], quiet.counts[1][name], held.counts[0][name]]).toEqual([
        undefined,
        undefined,
        undefined,
      ]);
      const [before, during, after] = held.counts[1][name];
      expect([before, after]).toEqual([0, 0]);
      // One in each turn of the loop, as the writes to the port tell
      const turns = held.counts[1].io[1];
      expect(turns).toBeGreaterThan(1000);
      expect(Math.abs(during - turns)).toBeLessThanOrEqual(1);
    },
  );

  it('ports exit all the time, held or not', () => {
    const all = ({ counts }: typeof held) => counts.map(({ io }) => io[0] + io[1] + io[2]);
    expect([all(held), all(quiet)]).toEqual([
      [TURNS, TURNS],
      [TURNS, TURNS],
    ]);
  });
});

describe('taps made and taken back inside a handler', () => {
  /** CPUID four times. */
  async function told(apply: (tell: (text: string) => void) => Required<Plugin>['apply']): Promise<string[]> {
    const lines: string[] = [];
    await using vmm = compose({
      backend: vmx(),
      memory: 1 << 20,
      time: 'virtual',
      plugins: [
        definePlugin({
          name: 'guest',
          uses: { memory: GuestMemoryToken },
          apply: ({ hooks, vcpus }, { memory }) =>
            void hooks.load.tap(() => {
              memory.write(START, code().cpuid().cpuid().cpuid().cpuid().hlt().build());
              vcpus[0].setInitialState({ mode: 'real16', rip: BigInt(START) });
            }),
        }),
        { name: 'taps', apply: apply((text) => void lines.push(text)) },
        ...exits(),
      ],
    });
    expect(await vmm.run()).toMatchObject({ reason: 'halted', exits: { cpuid: 4 } });
    return lines;
  }

  it('hold from the next exit on', async () => {
    const lines = await told((tell) => ({ hooks }) => {
      let turn = 0;
      const cpuid = hooks.exit.for('cpuid');
      let untap: (() => void) | undefined;
      cpuid.tap(() => {
        turn++;
        tell(`first ${turn}`);
        if (turn === 2) untap = cpuid.tap({ before: 'taps' }, () => void tell(`second ${turn + 1}`));
        if (turn === 3) untap!();
      });
    });
    expect(lines).toEqual(['first 1', 'first 2', 'second 3', 'first 3', 'first 4']);
  });

  it('a tap that takes itself back is not called again, and one behind it is called at the same exit', async () => {
    const lines = await told((tell) => ({ hooks }) => {
      const cpuid = hooks.exit.for('cpuid');
      const once = cpuid.tap(() => {
        tell('once');
        once();
      });
      let left = 2;
      const twice = cpuid.tap(() => {
        tell('twice');
        if (--left === 0) twice();
        return RESUME;
      });
    });
    expect(lines).toEqual(['once', 'twice', 'twice']);
  });
});
