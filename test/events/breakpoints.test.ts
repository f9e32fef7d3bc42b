/** Breakpoints that the guest cannot see, and traces of functions by them. */
import { describe, expect, it } from 'vitest';
import { CODE, DATA, FUNCTION, OTHER, TABLES, asm, le32, machineOf, runGuest } from './machine.js';

const { hlt, load, store, movEax, print, call, ret, int3, nop } = asm;

describe('a hidden breakpoint', () => {
  it('is hit each time, the guest goes on, and reads its own bytes', async () => {
    const hits: unknown[] = [];
    const { output, exits } = await runGuest({
      code: [call(CODE, FUNCTION), print, call(CODE + 7, FUNCTION), print, load(FUNCTION), print, hlt],
      data: { [FUNCTION]: [...movEax(7), ...ret] },
      subscribe: ({ events }) =>
        void events.breakpointAt({ gpa: FUNCTION }, ({ rip, gpa, vcpu }) => void hits.push([rip, gpa, vcpu.index])),
    });
    expect(output).toEqual([7, 7, 0x7b8]);
    expect(hits).toEqual([
      [BigInt(FUNCTION), FUNCTION, 0],
      [BigInt(FUNCTION), FUNCTION, 0],
    ]);
    expect(exits).toMatchObject({ exception: 2, 'ept-violation': 1 });
  });

  it('stays when the guest writes there, and what is written is executed', async () => {
    let hits = 0;
    const { output } = await runGuest({
      // MOV EAX, 7 becomes MOV EAX, 8, by a write to the byte behind the breakpoint and one over it
      code: [
        call(CODE, FUNCTION),
        print,
        movEax(0x8b8),
        store(FUNCTION),
        call(CODE + 19, FUNCTION),
        print,
        load(FUNCTION),
        print,
        hlt,
      ],
      data: { [FUNCTION]: [...movEax(7), ...ret] },
      subscribe: ({ events }) => void events.breakpointAt({ gpa: FUNCTION }, () => void hits++),
    });
    expect(output).toEqual([7, 8, 0x8b8]);
    expect(hits).toBe(2);
  });

  it('is there for code that is loaded later, by a loader or a device', async () => {
    let hits = 0;
    const { output } = await runGuest({
      code: [call(CODE, FUNCTION), print, asm.vmcall, call(CODE + 10, FUNCTION), print, hlt],
      data: { [FUNCTION]: [...movEax(1), ...ret] },
      apply: ({ events }) => void events.breakpointAt({ gpa: FUNCTION }, () => void hits++),
      subscribe: ({ events, memory }) =>
        void events.guestRequest({}, () => memory.write(FUNCTION, Uint8Array.from([...movEax(2), ...ret]))),
    });
    expect(output).toEqual([1, 2]);
    expect(hits).toBe(2);
  });

  it('is exact on every kind of instruction', async () => {
    const hits: number[] = [];
    const instructions = [
      [0xb9, 3, 0, 0, 0], // MOV ECX, 3
      [0xbf, DATA & 0xff, DATA >> 8, 0, 0], // MOV EDI, DATA
      [0xb0, 5], // MOV AL, 5
      [0xf3, 0xaa], // REP STOSB
      [0x50], // PUSH RAX
      [0x5b], // POP RBX
      [0xe8, 0, 0, 0, 0], // CALL the next instruction
      [0x58], // POP RAX
      [0xff, 0xc9], // DEC ECX
      [0x75, 0], // JNZ the next instruction
      [0x0f, 0xa2], // CPUID, which a handler carries out
      [0x8b, 0x05, ...le32(DATA - (FUNCTION + 34))], // MOV EAX, [RIP + …]
      [0xc3], // RET
    ];
    const places = instructions.map((_unused, n) => instructions.slice(0, n).flat().length);
    const { output } = await runGuest({
      code: [call(CODE, FUNCTION), print, hlt],
      data: { [FUNCTION]: instructions.flat() },
      subscribe: ({ events }) => {
        for (const place of places)
          events.breakpointAt({ gpa: FUNCTION + place }, ({ gpa }) => void hits.push(gpa - FUNCTION));
      },
    });
    expect(hits).toEqual(places);
    expect(output).toEqual([0x05_0505]);
  });

  it('on an instruction across pages executes all of it', async () => {
    let hits = 0;
    const { output } = await runGuest({
      code: [call(CODE, OTHER + 0xffe), print, hlt],
      data: { [OTHER + 0xffe]: [...movEax(0x1122_3344), ...ret] },
      subscribe: ({ events }) => void events.breakpointAt({ gpa: OTHER + 0xffe }, () => void hits++),
    });
    expect([hits, output]).toEqual([1, [0x1122_3344]]);
  });

  it('on an instruction that faults gives the guest its fault', async () => {
    const hits: bigint[] = [];
    const { output } = await runGuest({
      code: [call(CODE, FUNCTION), print, hlt],
      // LGDT-like fault: UD2 in the function; its handler moves RIP over it
      data: { [FUNCTION]: [0x0f, 0x0b, ...movEax(6), ...ret], [OTHER]: [0x48, 0x83, 0x04, 0x24, 2, 0x48, 0xcf] },
      handlers: { 6: OTHER },
      subscribe: ({ events }) => void events.breakpointAt({ gpa: FUNCTION }, ({ rip }) => void hits.push(rip)),
    });
    expect(output).toEqual([6]);
    expect(hits).toEqual([BigInt(FUNCTION)]);
  });

  it('does not take the INT3 of the guest', async () => {
    let hits = 0;
    const { output } = await runGuest({
      code: [call(CODE, FUNCTION), print, hlt],
      data: { [FUNCTION]: [...nop, ...int3, ...ret], [OTHER]: [...movEax(3), 0x48, 0xcf] },
      handlers: { 3: OTHER },
      subscribe: ({ events }) => void events.breakpointAt({ gpa: FUNCTION }, () => void hits++),
    });
    expect([hits, output]).toEqual([1, [3]]);
  });

  it('on an INT3 of the guest tells both, and the guest gets its exception', async () => {
    for (const watched of [false, true]) {
      const seen: string[] = [];
      const { output } = await runGuest({
        code: [call(CODE, FUNCTION), print, hlt],
        data: { [FUNCTION]: [...int3, ...ret], [OTHER]: [...movEax(3), 0x48, 0xcf] },
        handlers: { 3: OTHER },
        subscribe: ({ events }) => {
          if (watched) events.memory({ gpa: FUNCTION, access: 'x' }, ({ offset }) => void seen.push(`x ${offset}`));
          events.breakpointAt({ gpa: FUNCTION }, () => void seen.push('hidden'));
          events.breakpoint({}, () => void seen.push('own'));
        },
      });
      expect(output).toEqual([3]);
      expect(seen).toEqual(watched ? ['x 0', 'hidden', 'own', 'x 1'] : ['hidden', 'own']);
    }
  });

  it('in read-only memory is like any other', async () => {
    const hits: number[] = [];
    const ROM = 0xffff_0000;
    const { output } = await runGuest({
      code: [movEax(ROM), [0xff, 0xd0], print, movEax(ROM), [0xff, 0xd0], print, hlt], // CALL RAX
      apply: ({ rom }) => {
        const bytes = new Uint8Array(4096);
        bytes.set([...movEax(5), ...ret]);
        rom(ROM, bytes);
      },
      subscribe: ({ events }) => {
        events.breakpointAt({ gpa: ROM }, ({ gpa }) => void hits.push(gpa));
        const undo = events.breakpointAt({ gpa: ROM + 5 }, ({ gpa }) => {
          hits.push(gpa);
          undo();
        });
      },
    });
    expect(output).toEqual([5, 5]);
    expect(hits).toEqual([ROM, ROM + 5, ROM]);
  });

  it('may have another instruction executed, or RIP moved', async () => {
    const { output } = await runGuest({
      code: [call(CODE, FUNCTION), print, call(CODE + 7, FUNCTION + 0x10), print, hlt],
      data: { [FUNCTION]: [...movEax(1), ...ret], [FUNCTION + 0x10]: [...movEax(1), ...ret] },
      subscribe: ({ events }) => {
        events.breakpointAt({ gpa: FUNCTION }, () => ({ instruction: Uint8Array.from(movEax(5)) }));
        events.breakpointAt({ gpa: FUNCTION + 0x10 }, ({ rip }) => ({ registers: { rax: 6n, rip: rip + 5n } }));
      },
    });
    expect(output).toEqual([5, 6]);
  });

  it('and a watch of the page for execution both tell', async () => {
    const seen: string[] = [];
    const { output } = await runGuest({
      code: [call(CODE, FUNCTION), print, hlt],
      data: { [FUNCTION]: [...movEax(1), ...ret] },
      subscribe: ({ events }) => {
        events.breakpointAt({ gpa: FUNCTION }, () => void seen.push('breakpoint'));
        events.memory({ gpa: FUNCTION, access: 'x' }, ({ offset }) => void seen.push(`x ${offset}`));
      },
    });
    expect(output).toEqual([1]);
    expect(seen).toEqual(['x 0', 'breakpoint', 'x 5']);
  });

  it('and watches of what its instruction accesses both tell', async () => {
    const seen: string[] = [];
    const { output } = await runGuest({
      code: [call(CODE, FUNCTION), load(DATA), print, hlt],
      data: { [FUNCTION]: [...asm.inc(DATA), ...ret], [DATA]: [1] },
      subscribe: ({ events }) => {
        events.breakpointAt({ gpa: FUNCTION }, () => void seen.push('breakpoint'));
        events.memory({ gpa: DATA, access: 'w' }, ({ value }) => void seen.push(`w ${value}`));
      },
    });
    expect(output).toEqual([2]);
    expect(seen).toEqual(['breakpoint', 'w 2']);
  });

  it('by a linear address is looked up in the tables that are named', async () => {
    await using machine = await machineOf({ code: [hlt] });
    await machine.vmm.load();
    const { events } = machine.parts;
    const undo = events.breakpointAt({ linear: BigInt(FUNCTION), root: TABLES }, () => {});
    undo();
    undo();
    expect(() => events.breakpointAt({ linear: 1n << 40n }, () => {})).toThrow(/not mapped where vCPU 0 is now/);
    expect(() => events.breakpointAt({ linear: 1n << 40n, root: TABLES }, () => {})).toThrow(
      /not mapped by the tables at 0x20000/,
    );
    expect(() => events.breakpointAt({ gpa: 2 ** 40 }, () => {})).toThrow(
      /VIEW_UNMAPPED|not show the machine's own page/,
    );
  });

  it('in one address space is not told in another', async () => {
    const second = 0x3_0000;
    const seen: bigint[] = [];
    await runGuest({
      code: [call(CODE, FUNCTION), movEax(second), asm.movCr(3), call(CODE + 13, FUNCTION), hlt],
      data: { [FUNCTION]: ret },
      subscribe: ({ events, memory }) => {
        // The same tables at another root
        memory.write(second, memory.read(TABLES, 4096));
        events.breakpointAt(
          { linear: BigInt(FUNCTION), root: second, onlyRoot: true },
          ({ cr3 }) => void seen.push(cr3),
        );
      },
    });
    expect(seen).toEqual([BigInt(second)]);
  });
});

describe('the trace of a function', () => {
  /** Calls FUNCTION with 1 to 7 in System V's and Microsoft's places; the function returns what it was called with in RDI, doubled. */
  const body = [0x48, 0x8d, 0x04, 0x3f, 0xc3]; // LEA RAX, [RDI + RDI]; RET
  const set = [
    [0xbf, 1, 0, 0, 0], // EDI
    [0xbe, 2, 0, 0, 0], // ESI
    [0xba, 3, 0, 0, 0], // EDX
    [0xb9, 4, 0, 0, 0], // ECX
    [0x41, 0xb8, 5, 0, 0, 0], // R8D
    [0x41, 0xb9, 6, 0, 0, 0], // R9D
    [0x6a, 55], // PUSH 55: for Microsoft's, fifth argument above the home
    [0x6a, 10],
    [0x6a, 9],
    [0x6a, 8],
    [0x6a, 7], // System V's seventh
  ];
  const at = CODE + set.flat().length;

  it('has its arguments and what it returns', async () => {
    const seen: unknown[] = [];
    const { output } = await runGuest({
      code: [...set, call(at, FUNCTION), print, hlt],
      data: { [FUNCTION]: body },
      subscribe: ({ events }) => {
        const resolve = (name: string): bigint | undefined => (name === 'double' ? BigInt(FUNCTION) : undefined);
        events.traceFunction({ name: 'double', resolve }, (call) => void seen.push([call.name, call.arguments]), {
          arguments: 7,
          onReturn: (value, { name }) => void seen.push([name, value]),
        });
        events.traceFunction(
          BigInt(FUNCTION),
          ({ name, arguments: args, returnAddress }) => void seen.push([name, args, returnAddress]),
          {
            arguments: 5,
            convention: 'microsoft',
          },
        );
        expect(() => events.traceFunction({ name: 'halve', resolve }, () => {})).toThrow(/no symbol "halve"/);
      },
    });
    expect(output).toEqual([2]);
    expect(seen).toEqual([
      ['double', [1n, 2n, 3n, 4n, 5n, 6n, 7n]],
      ['0xb000', [4n, 3n, 5n, 6n, 55n], BigInt(at + 5)],
      ['double', 2n],
    ]);
  });

  it('takes a call for one that does not return where nothing is mapped at its return address', async () => {
    const seen: string[] = [];
    const { output } = await runGuest({
      // MOV RAX, 2^40; PUSH RAX; JMP FUNCTION, which pops it and goes on
      code: [asm.movRax(1n << 40n), [0x50], [0xe9, ...le32(FUNCTION - (CODE + 16))]],
      data: { [FUNCTION]: [...[0x58], ...movEax(4), ...print, ...hlt] },
      subscribe: ({ events }) => {
        events.traceFunction(BigInt(FUNCTION), ({ returnAddress }) => void seen.push(`from ${returnAddress}`), {
          onReturn: () => void seen.push('never'),
        });
      },
    });
    expect(output).toEqual([4]);
    expect(seen).toEqual([`from ${1n << 40n}`]);
  });

  it('tells recursive calls apart, and lets go of places that nobody returns to', async () => {
    const seen: string[] = [];
    // DEC EDI; JZ out; PUSH RDI; CALL FUNCTION; POP RDI; out: MOV EAX, EDI; RET
    const recursive = [0xff, 0xcf, 0x74, 7, 0x57, ...call(FUNCTION + 5, FUNCTION), 0x5f, 0x8b, 0xc7, 0xc3];
    await using machine = await machineOf({
      code: [[0xbf, 3, 0, 0, 0], call(CODE + 5, FUNCTION), print, hlt],
      data: { [FUNCTION]: recursive },
      subscribe: ({ events }) => {
        events.traceFunction(BigInt(FUNCTION), ({ arguments: [n] }) => void seen.push(`call ${n}`), {
          arguments: 1,
          onReturn: (value, { arguments: [n] }) => void seen.push(`${n} gives ${value}`),
        });
      },
    });
    expect(await machine.run()).toMatchObject({ reason: 'halted' });
    expect(machine.output).toEqual([2]);
    expect(seen).toEqual(['call 3', 'call 2', 'call 1', '1 gives 0', '2 gives 1', '3 gives 2']);
    expect(machine.parts.views.pages).toHaveLength(1);
  });
});
