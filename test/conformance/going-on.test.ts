/** A run ends in every way that there is, and the guest goes on as if nothing had been. */
import { GuestMemoryToken, InterruptSourceToken, RESUME, RETRY, definePlugin, pause, stop } from '@visorkit/core';
import type { InitialState, Plugin, Vcpu, VmExit, Vmm } from '@visorkit/core';
import { exits } from '@visorkit/exits';
import { MemoryViewsToken, MmioBusToken, compose } from '@visorkit/machine';
import { providing } from '@visorkit/testkit';
import { describe, expect, it } from 'vitest';
import { BACKENDS, itOn } from './backends.js';
import type { ConformingBackend } from './backends.js';
import { AX, BX, CX, DI, code } from './code.js';
import type { Code } from './code.js';
import { patternAt } from './machine.js';

const START = 0x1000;
const DEVICE = 0xd000_0000;

interface GuestOptions {
  readonly state?: Partial<InitialState>;
  readonly data?: Readonly<Record<number, readonly number[]>>;
  readonly plugins?: readonly Plugin[];
  /** Exits that nobody handles at first. */
  readonly without?: readonly string[];
}

/** A machine with protected-mode code at 1000H, and every handler of exits but those left out. */
function guestOf(
  backend: ConformingBackend,
  guest: Code,
  { state, data = {}, plugins = [], without = [] }: GuestOptions = {},
): Vmm {
  const loader = definePlugin({
    name: 'guest',
    uses: { memory: GuestMemoryToken },
    apply({ hooks, vcpus }, { memory }) {
      hooks.load.tap(() => {
        memory.write(START, guest.build());
        for (const [gpa, bytes] of Object.entries(data)) memory.write(Number(gpa), Uint8Array.from(bytes));
        vcpus[0].setInitialState({ mode: 'protected32', rip: BigInt(START), rsp: 0x8000n, ...state });
      });
    },
  });
  const handlers = exits().filter(({ handles = [] }) => !handles.some((name) => without.includes(name)));
  return compose({
    backend: backend.make(),
    memory: 1 << 20,
    time: backend.time,
    plugins: [loader, ...handlers, ...plugins],
  });
}

/** INC EBX for ever. */
const counting = (): Code => code().mov(BX, 0).label('again').inc(BX).jmp('again');
/** Until EBX is 0. */
const waiting = (): Code => code().label('again').raw(0x85, 0xdb).jnz('again').mov(CX, 7).end();

/** An instruction of two bytes at 100AH whose exit somebody may take, on the backends that give this exit. EDI is 5 at the end. */
const ASKED_AT = 0x100an;
const ASKING = [
  {
    exit: 'cpuid',
    guest: () => code().mov(AX, 0).mov(BX, 0x1111).cpuid().mov(DI, 5).end(),
    take: (_exit: VmExit, vcpu: Vcpu, value: number) => (vcpu.rbx = BigInt(value)),
    result: (vcpu: Vcpu) => Number(vcpu.rbx),
  },
  {
    exit: 'io',
    guest: () => code().mov(AX, 0x1111).mov(BX, 0).inWide(0x10).mov(DI, 5).end(),
    take: ({ io }: VmExit, _vcpu: Vcpu, value: number) => (io.value = value),
    result: (vcpu: Vcpu) => Number(vcpu.rax),
  },
  {
    exit: 'rdmsr',
    guest: () => code().mov(CX, 0x4b56_0300).mov(AX, 0x1111).rdmsr().mov(DI, 5).end(),
    take: (_exit: VmExit, vcpu: Vcpu, value: number) => vcpu.setRegister32(AX, value),
    result: (vcpu: Vcpu) => vcpu.getRegister32(AX),
  },
] as const;

describe.each(BACKENDS)('a guest on $name goes on', (backend) => {
  itOn(
    backend,
    ['instruction-count'],
    'after limits of instructions, each of which counts from the beginning of its run',
    async () => {
      await using vmm = guestOf(backend, counting());
      for (const limit of [1001, 1, 998]) {
        const before = vmm.instructions;
        expect((await vmm.run({ maxInstructions: limit })).reason).toBe('max-instructions');
        expect(vmm.instructions - before).toBe(limit);
      }
      await using whole = guestOf(backend, counting());
      await whole.run({ maxInstructions: 2000 });
      expect([vmm.vcpus[0].rbx, vmm.vcpus[0].rip]).toEqual([whole.vcpus[0].rbx, whole.vcpus[0].rip]);
    },
  );

  it('after a timeout and an abort, with a register that was changed', async () => {
    await using vmm = guestOf(backend, waiting(), { state: { registers: { rbx: 1n } } });
    await vmm.load();
    expect((await vmm.run({ timeout: 0.01 })).reason).toBe('timeout');
    const abort = new AbortController();
    abort.abort();
    expect((await vmm.run({ signal: abort.signal })).reason).toBe('aborted');
    expect(vmm.state).toBe('paused');
    vmm.vcpus[0].rbx = 0n;
    expect((await vmm.run({ timeout: 20 })).reason).toBe('halted');
    expect(vmm.vcpus[0].rcx).toBe(7n);
  });

  describe.each(ASKING)('at an exit of $exit', ({ exit: name, guest, take, result }) => {
    const needs = [`exit.${name}`] as const;
    const states = (vmm: Vmm) => [result(vmm.vcpus[0]), vmm.vcpus[0].rdi];
    const options = { without: [name] };

    itOn(backend, needs, 'that nobody took, when somebody takes it', async () => {
      await using vmm = guestOf(backend, guest(), options);
      for (let turn = 0; turn < 2; turn++) {
        const { reason, failure } = await vmm.run();
        expect([reason, failure?.exit.name, vmm.vcpus[0].rip]).toEqual(['unhandled-exit', name, ASKED_AT]);
      }
      vmm.hooks.exit.for(name).tap((exit, vcpu) => {
        take(exit, vcpu, 0x2222);
        return RESUME;
      });
      expect((await vmm.run()).reason).toBe('halted');
      expect(states(vmm)).toEqual([0x2222, 5n]);
    });

    itOn(backend, needs, 'that nobody took, past the instruction', async () => {
      await using vmm = guestOf(backend, guest(), options);
      await vmm.run();
      vmm.vcpus[0].rip = ASKED_AT + 2n;
      expect(await vmm.run()).toMatchObject({ reason: 'halted', exits: { [name]: 1 } });
      expect(states(vmm)).toEqual([0x1111, 5n]);
    });

    itOn(backend, needs, 'that a plugin failed at: the exit comes again', async () => {
      let broken = true;
      const plugin: Plugin = {
        name: 'broken',
        apply: ({ hooks }) =>
          void hooks.exit.for(name).tap((exit, vcpu) => {
            if (broken) throw new Error('not yet');
            take(exit, vcpu, 0x3333);
            return RESUME;
          }),
      };
      await using vmm = guestOf(backend, guest(), { plugins: [plugin], ...options });
      expect(await vmm.run()).toMatchObject({ reason: 'plugin-error', failure: { plugin: 'broken' } });
      broken = false;
      expect((await vmm.run()).reason).toBe('halted');
      expect(states(vmm)).toEqual([0x3333, 5n]);
    });

    for (const [what, answer, at, value] of [
      ['behind the instruction at which it was stopped', undefined, ASKED_AT + 2n, 0x5555],
      ['at it, when the handler says so', RETRY, ASKED_AT, 0x4444],
    ] as const)
      itOn(backend, needs, what, async () => {
        await using vmm = guestOf(backend, guest(), options);
        const untap = vmm.hooks.exit.for(name).tap((exit, vcpu) => {
          if (answer === undefined) take(exit, vcpu, 0x5555);
          return stop('enough', { ...(answer && { answer }) });
        });
        expect((await vmm.run()).why).toBe('enough');
        expect(vmm.vcpus[0].rip).toBe(at);
        untap();
        vmm.hooks.exit.for(name).tap((exit, vcpu) => {
          take(exit, vcpu, 0x4444);
          return RESUME;
        });
        expect((await vmm.run()).reason).toBe('halted');
        expect(states(vmm)).toEqual([value, 5n]);
      });
  });

  it('after a pause at an IN, whose value is in the register then', async () => {
    const reads = code().mov(AX, 0).in(0x10).raw(0x88, 0xc3).end(); // MOV BL, AL
    await using vmm = guestOf(backend, reads, { without: ['io'] });
    vmm.hooks.exit.for('io').tap((exit) => {
      exit.io.value = 0x5a;
      return pause('look');
    });
    expect(await vmm.run()).toMatchObject({ reason: 'paused', why: 'look' });
    expect(vmm.vcpus[0].rax).toBe(0x5an);
    vmm.vcpus[0].rax = 0xa5n;
    expect((await vmm.run()).reason).toBe('halted');
    expect(vmm.vcpus[0].rbx & 0xffn).toBe(0xa5n);
  });
});

describe.each(BACKENDS)('an access to a device of $name that nobody took', (backend) => {
  /** MOVDQU XMM0, [DEVICE + EDI]; MOVDQU [6000H], XMM0: two pieces of eight bytes. */
  const wide = (): Code =>
    code().mov(DI, DEVICE).raw(0xf3, 0x0f, 0x6f, 0x07).raw(0xf3, 0x0f, 0x7f, 0x05, 0, 0x60, 0, 0).mov(CX, 9).end();
  const SSE = { cr4: 0x200n, cr0: 0x31n } as const;
  const expected = [...Array(16).keys()].map((offset) => (offset + 1) & 0xff);

  /** Notes each access, and gives bytes that tell the address. */
  const device = (log: string[]): Plugin =>
    definePlugin({
      name: 'device',
      uses: { mmio: MmioBusToken },
      apply(_host, { mmio }) {
        const readMmio = (offset: number, size: number): number => {
          log.push(`read ${offset} ${size}`);
          return patternAt(offset, size);
        };
        mmio.register(DEVICE, 0x1000, { readMmio, writeMmio: () => {} }, 'device');
      },
    });

  it('is carried out by a handler that comes later, each piece once', async () => {
    const log: string[] = [];
    await using vmm = guestOf(backend, wide(), { state: SSE, without: ['ept-violation'] });
    expect(await vmm.run()).toMatchObject({ reason: 'unhandled-exit', failure: { exit: { mmio: { size: 8 } } } });
    vmm.hooks.exit.for('ept-violation').tap(({ mmio }) => {
      log.push(`${(mmio.gpa - DEVICE).toString()} ${mmio.size}`);
      mmio.value = patternAt(mmio.gpa, 4);
      mmio.valueHigh = patternAt(mmio.gpa + 4, 4);
      return RESUME;
    });
    expect((await vmm.run()).reason).toBe('halted');
    expect(log).toEqual(['0 8', '8 8']);
    expect([[...vmm.memory.read(0x6000, 16)], vmm.vcpus[0].rcx]).toEqual([expected, 9n]);
  });

  it('in its second piece goes on there', async () => {
    const offered: string[] = [];
    let pieces = 1;
    await using vmm = guestOf(backend, wide(), { state: SSE, without: ['ept-violation'] });
    vmm.hooks.exit.for('ept-violation').tap(({ mmio }) => {
      offered.push(`${mmio.gpa - DEVICE}`);
      if (pieces-- <= 0) return undefined;
      mmio.value = patternAt(mmio.gpa, 4);
      mmio.valueHigh = patternAt(mmio.gpa + 4, 4);
      return RESUME;
    });
    expect((await vmm.run()).reason).toBe('unhandled-exit');
    pieces = 10;
    expect((await vmm.run()).reason).toBe('halted');
    expect([offered, [...vmm.memory.read(0x6000, 16)]]).toEqual([['0', '8', '8'], expected]);
  });

  it('is forgotten when the guest goes on elsewhere, in its first piece and in its second', async () => {
    for (const taken of [0, 1]) {
      let pieces = taken;
      const log: string[] = [];
      // At 1100H: MOV EBX, [DEVICE + 20H]
      const elsewhere = [0x8b, 0x1d, 0x20, 0, 0, 0xd0, 0xf4];
      await using vmm = guestOf(backend, wide(), { state: SSE, data: { 0x1100: elsewhere }, plugins: [device(log)] });
      vmm.hooks.exit.for('ept-violation').tap({ before: 'exits/ept-violation' }, ({ mmio }) => {
        if (!mmio.valid || mmio.gpa >= DEVICE + 0x10) return undefined;
        return pieces-- > 0 ? RESUME : stop('nobody', { reason: 'enough', answer: RETRY });
      });
      expect((await vmm.run()).reason).toBe('enough');
      vmm.vcpus[0].rip = 0x1100n;
      expect((await vmm.run()).reason).toBe('halted');
      expect([log, vmm.vcpus[0].rbx]).toEqual([['read 32 4'], BigInt(patternAt(0x20, 4))]);
    }
  });
});

describe.each(BACKENDS)('an exit during the delivery of an event of $name that nobody took', (backend) => {
  const STACK_PAGE = 0x7000;
  const HANDLER = 0x5000;
  /** IDT at 3800H with 32-bit interrupt gates; a flat GDT at 3000H. */
  const gate = [HANDLER & 0xff, HANDLER >> 8, 8, 0, 0, 0x8e, 0, 0];
  const data = {
    0x3008: [0xff, 0xff, 0, 0, 0, 0x9b, 0xcf, 0],
    0x3010: [0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0],
    [0x3800 + 0x20 * 8]: gate,
    [0x3800 + 0x80 * 8]: gate,
    [HANDLER]: [0x43, 0xcf], // INC EBX; IRETD
  };
  const state = { gdtr: { base: 0x3000n, limit: 0x17 }, idtr: { base: 0x3800n, limit: 0xfff } };
  /** Takes the page that the stack is in away. */
  const hidden: Plugin = definePlugin({
    name: 'hidden',
    uses: { views: MemoryViewsToken },
    apply: ({ hooks }, { views }) => void hooks.loaded.tap(() => views.base.protect(STACK_PAGE, 0)),
  });

  async function delivered(guest: Code, plugins: readonly Plugin[] = []): Promise<Vcpu> {
    const vmm = guestOf(backend, guest, { state, data, plugins: [hidden, ...plugins] });
    try {
      const { reason, failure } = await vmm.run({ timeout: 20 });
      expect([reason, failure?.exit.name]).toEqual(['unhandled-exit', 'ept-violation']);
      expect(failure?.exit.idtVectoring).toBeDefined();
      const views = vmm.services.get(MemoryViewsToken);
      vmm.hooks.exit.for('ept-violation').tap(() => {
        views.base.restore(STACK_PAGE);
        return RETRY;
      });
      expect((await vmm.run({ timeout: 20 })).reason).toBe('halted');
      return vmm.vcpus[0];
    } finally {
      await vmm.dispose();
    }
  }

  itOn(backend, ['ept.views'], 'a software interrupt is delivered once', async () => {
    const vcpu = await delivered(code().mov(BX, 0).raw(0xcd, 0x80).mov(CX, 3).end());
    expect([vcpu.rbx, vcpu.rcx]).toEqual([1n, 3n]);
  });

  itOn(backend, ['ept.views'], 'an external interrupt, acknowledged once, is delivered once', async () => {
    let waits = true;
    let acknowledged = 0;
    const acknowledge = (): number => {
      waits = false;
      acknowledged++;
      return 0x20;
    };
    const source = providing(InterruptSourceToken, { pending: () => waits, acknowledge });
    const vcpu = await delivered(code().mov(BX, 0).sti().nop(4).mov(CX, 3).end(), [source]);
    expect([vcpu.rbx, vcpu.rcx, acknowledged]).toEqual([1n, 3n, 1]);
  });
});
