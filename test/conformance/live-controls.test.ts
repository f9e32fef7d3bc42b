/** Controls held for a time on one of two vCPUs, and taps that come and go: exits come when they are wanted, and the guest sees nothing of it. */
import { GuestMemoryToken, InterruptSourceToken, RESUME, definePlugin, exitReasonName } from '@visorkit/core';
import type { ControlNeeds, Plugin } from '@visorkit/core';
import { exits } from '@visorkit/exits';
import { PortBusToken, compose } from '@visorkit/machine';
import { providing } from '@visorkit/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import { BACKENDS, failingAt } from './backends.js';
import type { ConformingBackend, Deviation } from './backends.js';
import { code } from './code.js';

const START = 0x1000;
const TURNS = 6000;
/** In which turns of vCPU 1 the controls are held and released. */
const HELD = 1000;
const RELEASED = 3000;

/**
 * Real-mode code that both vCPUs run: each turn reads the time stamp counter, which must not go back, raises #BP, whose handler counts in BX,
 * writes an MSR and reads it again, and writes to a port. BX is EEEEH when something was wrong.
 */
const LOOP = code()
  .cli()
  .raw(0x31, 0xdb, 0x66, 0x31, 0xff) // XOR BX, BX; XOR EDI, EDI
  .raw(0xbe, TURNS & 0xff, TURNS >> 8) // MOV SI, TURNS
  .label('again')
  .raw(0x0f, 0x31, 0x66, 0x0f, 0xac, 0xd0, 0x10, 0x66, 0x39, 0xf8) // RDTSC; SHRD EAX, EDX, 16; CMP EAX, EDI
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

/** Runs both vCPUs to their end; `needs` is held on vCPU 1 from its turn HELD to RELEASED. */
async function run(backend: ConformingBackend, needs?: ControlNeeds) {
  const counts: Counts[] = [{}, {}];
  const guest = definePlugin({
    name: 'guest',
    uses: { memory: GuestMemoryToken, ports: PortBusToken },
    apply({ hooks, vcpus, controls }, { memory, ports }) {
      let phase: 0 | 1 | 2 = 0;
      let turn = 0;
      let release: (() => void) | undefined;
      const writePort = (_port: number, _size: number, _value: number, vcpu: number): void => {
        if (needs === undefined || vcpu !== 1) return;
        turn++;
        if (turn === HELD) release = controls.hold(needs, vcpus[1]);
        if (turn === RELEASED) release!();
        phase = turn < HELD ? 0 : turn < RELEASED ? 1 : 2;
      };
      ports.register(0x80, 1, { readPort: () => 0, writePort }, 'guest');
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
    },
  });
  await using vmm = compose({
    backend: backend.make(),
    memory: 1 << 20,
    cpus: 2,
    time: backend.time,
    plugins: [guest, startSecond(), ...exits()],
  });
  const { reason } = await vmm.run({ timeout: 100 });
  const registers = vmm.vcpus.map(({ rbx, rsi, rcx, rdx, rsp, rflags }) => [rbx, rsi, rcx, rdx, rsp, rflags]);
  return { reason, counts, registers, instructions: vmm.instructions };
}

/** The exits that controls bring, by their names. */
const HOLDABLE: readonly [exit: string, needs: ControlNeeds, deviations?: readonly Deviation[]][] = [
  ['rdtsc', { primary: ['rdtsc-exiting'] }],
  ['exception', { exceptions: [3] }, ['ring-0-debugging']],
  ['rdmsr', { msrs: { read: [0xc000_0082] } }],
  ['wrmsr', { msrs: { write: [[0xc000_0080, 0xc000_0084]] } }],
];

/** What of it a backend can hold. What it cannot is named on standard error. */
function holdable(backend: ConformingBackend): typeof HOLDABLE {
  const { allowed, exceptions, msrs } = backend.make().controls;
  return HOLDABLE.filter(([exit, needs, deviations = []]) => {
    const failing = failingAt(backend, deviations);
    if (failing !== undefined) {
      process.stderr.write(`SKIPPED: holding ${exit} exits on ${backend.name}: ${failing}\n`);
      return false;
    }
    const can =
      (needs.primary ?? []).every((name) => allowed.primary.has(name)) &&
      (needs.exceptions ?? []).every((vector) => exceptions?.has(vector) ?? true) &&
      (needs.msrs === undefined || msrs !== false);
    if (!can) process.stderr.write(`SKIPPED: holding ${exit} exits on ${backend.name}, which has no such control\n`);
    return can;
  });
}

describe.each(BACKENDS)('controls held on one of two vCPUs of $name for a time', (backend) => {
  const held = holdable(backend);
  let quiet: Awaited<ReturnType<typeof run>>;
  let watched: typeof quiet;
  beforeAll(async () => {
    quiet = await run(backend);
    const msrs = Object.assign({}, ...held.map(([, needs]) => needs.msrs)) as ControlNeeds['msrs'];
    watched = await run(backend, Object.assign({ ports: [0x80] }, ...held.map(([, needs]) => needs), { msrs }));
  }, 240_000);

  it('the guest comes to its end on both, having seen nothing', () => {
    expect(quiet.reason).toBe('halted');
    expect(quiet.registers.map(([rbx, rsi]) => [rbx & 0xffffn, rsi & 0xffffn])).toEqual([
      [BigInt(TURNS), 0n],
      [BigInt(TURNS), 0n],
    ]);
    expect({ ...watched, counts: undefined }).toEqual({ ...quiet, counts: undefined });
  });

  it.each(held)('%s exits there while it is held, and not before, after or elsewhere', (name) => {
    expect([quiet.counts[0][name], quiet.counts[1][name], watched.counts[0][name]]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
    const [before, during, after] = watched.counts[1][name];
    expect([before, after]).toEqual([0, 0]);
    // One in each turn of the loop
    expect(during).toBe(RELEASED - HELD);
  });

  it('ports exit all the time, held or not', () => {
    const all = ({ counts }: typeof quiet) => counts.map(({ io }) => io[0] + io[1] + io[2]);
    expect([all(watched), all(quiet)]).toEqual([
      [TURNS, TURNS],
      [TURNS, TURNS],
    ]);
  });
});

describe.each(BACKENDS)('taps made and taken back inside a handler on $name', (backend) => {
  /** OUT four times. */
  async function told(apply: (tell: (text: string) => void) => Required<Plugin>['apply']): Promise<string[]> {
    const lines: string[] = [];
    await using vmm = compose({
      backend: backend.make(),
      memory: 1 << 20,
      time: backend.time,
      plugins: [
        definePlugin({
          name: 'guest',
          uses: { memory: GuestMemoryToken },
          apply: ({ hooks, vcpus }, { memory }) =>
            void hooks.load.tap(() => {
              memory.write(START, code().out(0x10).out(0x10).out(0x10).out(0x10).cli().hlt().build());
              vcpus[0].setInitialState({ mode: 'real16', rip: BigInt(START) });
            }),
        }),
        { name: 'taps', apply: apply((text) => void lines.push(text)) },
        ...exits(),
      ],
    });
    expect(await vmm.run()).toMatchObject({ reason: 'halted', exits: { io: 4 } });
    return lines;
  }

  it('hold from the next exit on', async () => {
    const lines = await told((tell) => ({ hooks }) => {
      let turn = 0;
      const io = hooks.exit.for('io');
      let untap: (() => void) | undefined;
      io.tap(() => {
        turn++;
        tell(`first ${turn}`);
        if (turn === 2) untap = io.tap({ before: 'taps' }, () => void tell(`second ${turn + 1}`));
        if (turn === 3) untap!();
      });
    });
    expect(lines).toEqual(['first 1', 'first 2', 'second 3', 'first 3', 'first 4']);
  });

  it('a tap that takes itself back is not called again, and one behind it is called at the same exit', async () => {
    const lines = await told((tell) => ({ hooks }) => {
      const io = hooks.exit.for('io');
      const once = io.tap(() => {
        tell('once');
        once();
      });
      let left = 2;
      const twice = io.tap(() => {
        tell('twice');
        if (--left === 0) twice();
        return RESUME;
      });
    });
    expect(lines).toEqual(['once', 'twice', 'twice']);
  });
});
