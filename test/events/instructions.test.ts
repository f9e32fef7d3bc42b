/** Registers, exceptions, interrupts, instructions and steps: what is told, what may be answered, and what the guest notices (nothing). */
import { describe, expect, it } from 'vitest';
import { InterruptSourceToken, livingVms } from '@visorkit/core';
import { providing } from '@visorkit/testkit';
import { CODE, DATA, OTHER, TABLES, asm, machineOf, runGuest } from './machine.js';

const { hlt, load, movEax, movEcx, movEdx, print, cpuid, vmcall, int3, nop, sti } = asm;
const LSTAR = 0xc000_0082;

describe('register events', () => {
  const second = 0x3_0000;
  const switches = [movEax(TABLES), asm.movCr(3), movEax(second), asm.movCr(3), movEax(second), asm.movCr(3), hlt];

  it.each<[string, object, [bigint, bigint][]]>([
    [
      'all',
      {},
      [
        [BigInt(TABLES), BigInt(TABLES)],
        [BigInt(second), BigInt(TABLES)],
        [BigInt(second), BigInt(second)],
      ],
    ],
    [
      'those of one value',
      { equal: BigInt(second) },
      [
        [BigInt(second), BigInt(TABLES)],
        [BigInt(second), BigInt(second)],
      ],
    ],
    ['those of a change', { onChange: true }, [[BigInt(second), BigInt(TABLES)]]],
    ['of another vCPU: none', { vcpus: [] }, []],
  ])('are %s of the writes to CR3', async (_name, filter, expected) => {
    const seen: [bigint, bigint][] = [];
    await runGuest({
      code: switches,
      subscribe: ({ events, memory }) => {
        memory.write(second, memory.read(TABLES, 4096));
        events.register({ register: 'cr3', ...filter }, ({ value, previous }) => void seen.push([value, previous]));
      },
    });
    expect(seen).toEqual(expected);
  });

  it('may be denied', async () => {
    const { output } = await runGuest({
      code: [movEax(0x7000), asm.movCr(3), asm.readCr(3), print, hlt],
      subscribe: ({ events }) => void events.register({ register: 'cr3' }, () => ({ deny: true })),
    });
    expect(output).toEqual([TABLES]);
  });

  it('are of the bits of CR0 and CR4 that change, and the guest reads them as they are', async () => {
    const seen: string[] = [];
    const { output } = await runGuest({
      code: [
        asm.readCr(0),
        [0x48, 0x83, 0xc8, 0x08], // OR RAX, 8: TS
        asm.movCr(0),
        asm.movCr(0),
        asm.readCr(0),
        print,
        [0x0f, 0x06], // CLTS
        asm.readCr(0),
        print,
        asm.readCr(4),
        [0x48, 0x83, 0xc8, 0x04], // OR RAX, 4: TSD
        asm.movCr(4),
        asm.readCr(4),
        print,
        hlt,
      ],
      subscribe: ({ events }) => {
        events.register({ register: 'cr0' }, ({ value, previous }) => void seen.push(`cr0 ${value ^ previous}`));
        events.register({ register: 'cr4' }, ({ value, previous }) => void seen.push(`cr4 ${value ^ previous}`));
      },
    });
    expect(seen).toEqual(['cr0 8', 'cr0 8', 'cr4 4']);
    expect(output.map((value) => value & 0xc)).toEqual([8, 0, 4]);
  });

  it('are of MSRs by index, or any, and of XCR0', async () => {
    const seen: string[] = [];
    const write = (index: number, value: number): number[] => [
      ...movEcx(index),
      ...movEax(value),
      ...movEdx(1),
      ...asm.wrmsr,
    ];
    await runGuest({
      code: [
        write(LSTAR, 5),
        write(LSTAR, 5),
        write(0xc000_0081, 6),
        asm.readCr(4),
        [0x48, 0x0d, 0, 0, 4, 0], // OR RAX, OSXSAVE
        asm.movCr(4),
        movEcx(0),
        movEdx(0),
        movEax(3),
        [0x0f, 0x01, 0xd1], // XSETBV
        hlt,
      ],
      subscribe: ({ events }) => {
        events.register(
          { register: { msr: LSTAR }, onChange: true },
          ({ msr, value }) => void seen.push(`${msr} ${value}`),
        );
        events.register({ register: { msr: 'any' } }, ({ msr }) => void seen.push(`any ${msr}`));
        events.register({ register: 'xcr0' }, ({ value, previous }) => void seen.push(`xcr0 ${value} ${previous}`));
      },
    });
    const value = (1n << 32n) | 5n;
    expect(seen).toEqual([`${LSTAR} ${value}`, `any ${LSTAR}`, `any ${LSTAR}`, `any ${0xc000_0081}`, 'xcr0 3 1']);
  });

  it('name a register that exists', async () => {
    await using machine = await machineOf({ code: [hlt] });
    const { events } = machine.parts;
    expect(() => events.register({ register: 'cr5' as 'cr3' }, () => {})).toThrow(/it is "cr5"/);
    expect(() => events.register({ register: { msr: -1 } }, () => {})).toThrow(/"msr":-1/);
    expect(() => events.register({ register: 'cr3', equal: 5 as never }, () => {})).toThrow(
      /equal is a bigint; it is 5/,
    );
  });
});

describe('exceptions', () => {
  const guest = {
    code: [int3, print, movEax(9), print, hlt],
    data: { [OTHER]: [...movEax(3), 0x48, 0xcf] },
    handlers: { 3: OTHER },
  };

  it('INT3 is told, and goes to the guest', async () => {
    const seen: unknown[] = [];
    const { output } = await runGuest({
      ...guest,
      subscribe: ({ events }) =>
        void events.breakpoint(
          {},
          ({ rip, instructionLength, type }) => void seen.push([rip, instructionLength, type]),
        ),
    });
    expect(seen).toEqual([[BigInt(CODE), 1, 6]]);
    expect(output).toEqual([3, 9]);
  });

  it('INT3 may be kept from the guest, or another instruction executed', async () => {
    const skipped = await runGuest({
      ...guest,
      subscribe: ({ events }) => void events.breakpoint({}, () => ({ reinject: false })),
    });
    expect(skipped.output).toEqual([0, 9]);
    const replaced = await runGuest({
      ...guest,
      subscribe: ({ events }) => void events.breakpoint({}, () => ({ instruction: Uint8Array.from([0xf8]) })), // CLC
    });
    expect(replaced.output).toEqual([0, 9]);
  });

  it('#DB of the trap flag is told with its conditions', async () => {
    const seen: unknown[] = [];
    const flags = (on: boolean): number[] => [0x9c, ...(on ? [0x48, 0x81, 0x0c, 0x24, 0, 1, 0, 0] : []), 0x9d]; // PUSHF; OR [RSP], TF; POPF
    const { output } = await runGuest({
      code: [flags(true), nop, nop, print, hlt],
      data: { [OTHER]: [0x48, 0x81, 0x64, 0x24, 16, 0xff, 0xfe, 0xff, 0xff, ...movEax(1), 0x48, 0xcf] }, // AND [RSP + 16], ~TF; MOV EAX, 1; IRETQ
      handlers: { 1: OTHER },
      subscribe: ({ events }) =>
        void events.debugException(
          {},
          ({ conditions, vector, rip }) => void seen.push([conditions, vector, Number(rip) - CODE]),
        ),
    });
    expect(seen).toEqual([[0x4000, 1, 11]]);
    expect(output).toEqual([1]);
  });
});

describe('the next interrupt', () => {
  it('is told when an answer has asked for it, exceptions included', async () => {
    const seen: unknown[] = [];
    const { output } = await runGuest({
      code: [[0x0f, 0x0b], vmcall, [0x0f, 0x0b], load(2 ** 31 - 4096), [0x0f, 0x0b], print, hlt],
      data: { [OTHER]: [0x48, 0x83, 0x04, 0x24, 2, 0x48, 0xcf] },
      handlers: { 6: OTHER },
      subscribe: ({ events }) => {
        events.interrupt({ asked: true }, ({ kind, vector, errorCode }) => void seen.push([kind, vector, errorCode]));
        events.guestRequest({}, () => ({ nextInterrupt: true }));
      },
    });
    expect(seen).toEqual([['exception', 6, -1]]);
    expect(output).toHaveLength(1);
  });

  it('of the exceptions that are named is told each time', async () => {
    const seen: unknown[] = [];
    const unmapped = [0x48, 0xa1, 0, 0, 0, 0, 0, 1, 0, 0]; // MOV RAX, [1 << 40]
    await runGuest({
      code: [unmapped, hlt],
      // Its handler moves RIP over it
      data: { [OTHER]: [0x48, 0x83, 0xc4, 8, 0x48, 0x83, 0x04, 0x24, 10, 0x48, 0xcf] },
      handlers: { 14: OTHER },
      subscribe: ({ events }) =>
        void events.interrupt(
          { exceptions: [14] },
          ({ kind, vector, errorCode, cr2 }) => void seen.push([kind, vector, errorCode, cr2]),
        ),
    });
    expect(seen).toEqual([['exception', 14, 0, 1n << 40n]]);
  });

  it('is told when it is injected, and what waits for it is asked once', async () => {
    const seen: unknown[] = [];
    const source = { pending: () => waiting, acknowledge: () => ((waiting = false), 0x40) };
    let waiting = false;
    const { output } = await runGuest({
      code: [sti, vmcall, nop, vmcall, nop, print, hlt],
      data: { [OTHER]: [0xff, 0xc0, 0x48, 0xcf] }, // INC EAX; IRETQ
      handlers: { 0x40: OTHER },
      plugins: [providing(InterruptSourceToken, source)],
      subscribe: ({ events }) => {
        events.guestRequest({}, () => {
          waiting = true;
          return seen.length === 0 ? { nextInterrupt: true } : undefined;
        });
        events.interrupt({}, ({ kind, vector }) => void seen.push([kind, vector]));
        events.interrupt({ asked: true }, ({ kind, vector }) => void seen.push(['asked', kind, vector]));
      },
    });
    expect(output).toEqual([2]);
    expect(seen).toEqual([
      ['external', 0x40],
      ['asked', 'external', 0x40],
      ['external', 0x40],
    ]);
  });
});

describe('instructions', () => {
  it('CPUID is told by leaf, and may be answered', async () => {
    const seen: number[] = [];
    const { output } = await runGuest({
      code: [movEax(0), cpuid, movEax(0x4000_0000), movEcx(0), cpuid, print, hlt],
      subscribe: ({ events }) => {
        events.cpuid({}, ({ leaf }) => void seen.push(leaf));
        events.cpuid({ leaf: 0x4000_0000 }, () => ({ registers: { rax: 0x77n }, deny: true }));
      },
    });
    expect(seen).toEqual([0, 0x4000_0000]);
    expect(output).toEqual([0x77]);
  });

  it('VMCALL is told by its number, and is carried out', async () => {
    const { output } = await runGuest({
      code: [movEax(5), vmcall, print, hlt],
      subscribe: ({ events }) => {
        events.guestRequest({ rax: 6 }, () => ({ registers: { rax: 1n } }));
        events.guestRequest({ rax: 5 }, () => ({ registers: { rax: 2n } }));
      },
    });
    expect(output).toEqual([2]);
  });

  it('I/O is told by port and direction, and may be answered or denied', async () => {
    const seen: string[] = [];
    const { output } = await runGuest({
      code: [movEax(1), print, asm.inEax, print, asm.inEax, print, movEax(0x99), print, hlt],
      subscribe: ({ events }) => {
        let reads = 0;
        events.io({ ports: [0xe0, 0xef], direction: 'out' }, ({ port, size, value }) => {
          seen.push(`${port} ${size} ${value}`);
          return value === 0x99 ? { deny: true } : undefined;
        });
        events.io({ ports: 0xe0, direction: 'in' }, () => (++reads === 1 ? { value: 7 } : undefined));
        events.io({ ports: 0x80 }, () => void seen.push('never'));
      },
    });
    expect(output).toEqual([1, 7, 0x1234]);
    expect(seen).toEqual(['224 4 1', '224 4 7', '224 4 4660', '224 4 153']);
  });

  it('accesses to descriptor tables are told, and the processor carries them out', async () => {
    const seen: string[] = [];
    const { output, exits } = await runGuest({
      code: [
        [0x0f, 0x01, 0x0c, 0x25, ...[DATA & 0xff, DATA >> 8, 0, 0]], // SIDT [DATA]
        [0x0f, 0x01, 0x1c, 0x25, ...[DATA & 0xff, DATA >> 8, 0, 0]], // LIDT [DATA]
        [0x0f, 0x01, 0x04, 0x25, ...[OTHER & 0xff, OTHER >> 8, 0, 0]], // SGDT [OTHER]
        [0x31, 0xc0],
        [0x0f, 0x00, 0xd0], // LLDT AX
        load(DATA + 2),
        print,
        load(OTHER + 2),
        print,
        hlt,
      ],
      subscribe: ({ events }) =>
        void events.descriptor({}, ({ register, write }) => void seen.push(`${register} ${write}`)),
    });
    expect(seen).toEqual(['idtr false', 'idtr true', 'gdtr false', 'ldtr true']);
    expect(output).toEqual([0x3800, 0x3000]);
    expect(exits).toMatchObject({ 'gdtr-idtr': 3, 'ldtr-tr': 1 });
  });

  it('accesses to descriptor tables may be denied', async () => {
    const { output } = await runGuest({
      code: [[0x0f, 0x01, 0x04, 0x25, ...[OTHER & 0xff, OTHER >> 8, 0, 0]], load(OTHER), print, hlt],
      subscribe: ({ events }) => void events.descriptor({}, () => ({ deny: true })),
    });
    expect(output).toEqual([0]);
  });

  it('exits are told by name', async () => {
    const seen: string[] = [];
    await runGuest({
      code: [cpuid, vmcall, hlt],
      subscribe: ({ events }) => {
        events.vmexit({ exits: ['cpuid', 'hlt'] }, ({ name, reason }) => void seen.push(`${name} ${reason}`));
        events.guestRequest({}, () => {});
        expect(() => events.vmexit({ exits: [] }, () => {})).toThrow(/Events of exits are of the exits that are named/);
        expect(() => events.vmexit({ exits: ['cpuidd' as 'cpuid'] }, () => {})).toThrow(
          /There is no exit reason "cpuidd"/,
        );
      },
    });
    expect(seen).toEqual(['cpuid 10', 'hlt 12']);
  });
});

describe('single steps', () => {
  it('tell each instruction, those that handlers carry out too', async () => {
    const seen: number[] = [];
    await runGuest({
      code: [nop, movEax(0), cpuid, nop, load(DATA), hlt],
      subscribe: ({ events }) => void events.singleStep({}, ({ rip }) => void seen.push(Number(rip) - CODE)),
    });
    expect(seen).toEqual([1, 6, 8, 9, 16]);
  });

  it('begin and end by answers', async () => {
    const seen: number[] = [];
    const { exits } = await runGuest({
      code: [nop, vmcall, nop, nop, vmcall, nop, nop, hlt],
      subscribe: ({ events }) => {
        events.singleStep({ enabled: false }, ({ rip }) => void seen.push(Number(rip) - CODE));
        events.guestRequest({}, () => ({ singleStep: 'toggle' }));
      },
    });
    // From the instruction behind the one that asked, to the one that asks again
    expect(seen).toEqual([5, 6]);
    expect(exits['monitor-trap-flag']).toBe(2);
  });

  it('begin where they were asked for, also when somebody steps already', async () => {
    const seen: number[] = [];
    await runGuest({
      code: [nop, vmcall, cpuid, nop, vmcall, nop, hlt],
      subscribe: ({ events }) => {
        events.breakpointAt({ gpa: OTHER }, () => {});
        events.singleStep({ enabled: false }, ({ rip }) => void seen.push(Number(rip) - CODE));
        events.guestRequest({}, () => ({ singleStep: 'toggle' }));
      },
    });
    expect(seen).toEqual([6, 7]);
  });

  it('are counted', async () => {
    const seen: number[] = [];
    const { exits } = await runGuest({
      code: [nop, nop, nop, nop, nop, hlt],
      subscribe: ({ events, host }) => {
        events.afterSteps(host.vcpus[0], 3, ({ rip }) => void seen.push(Number(rip) - CODE));
        events.afterSteps(host.vcpus[0], 4, () => void seen.push(-1))();
      },
    });
    expect(seen).toEqual([3]);
    expect(exits['monitor-trap-flag']).toBeLessThanOrEqual(4);
  });
});

describe('the VMs of the process', () => {
  it('come and go', async () => {
    const seen: string[] = [];
    await using machine = await machineOf({ code: [hlt] });
    const undo = machine.parts.events.domainWatch(({ created, domain }) => void seen.push(`${created} ${domain}`));
    const other = await machineOf({ code: [hlt] });
    const { id } = other.vmm;
    expect(livingVms()).toContain(other.vmm);
    await other.vmm.dispose();
    expect(livingVms()).not.toContain(other.vmm);
    undo();
    await using third = await machineOf({ code: [hlt] });
    expect(third.vmm.id).toBeGreaterThan(id);
    expect(seen).toEqual([`true ${id}`, `false ${id}`]);
  });

  it('has no privileged calls, which are ARM’s', async () => {
    await using machine = await machineOf({ code: [hlt] });
    expect(() => machine.parts.events.privilegedCall()).toThrow(/ARM/);
  });
});
