/** What the board of a PC drives on the processor besides interrupts: the A20 gate, and x87 errors with CR0.NE = 0. On the backends that have the pins. */
import { describe, expect, it } from 'vitest';
import { GuestMemoryToken, definePlugin } from '@visorkit/core';
import type { GuestMemory } from '@visorkit/core';
import { coprocessorErrors, keyboard, pic, resetPorts } from '@visorkit/devices-pc';
import { exits } from '@visorkit/exits';
import { PortBusToken, compose } from '@visorkit/machine';
import { vmx } from '@visorkit/backend-vmx';
import { Code } from './code.js';

const CODE = 0x1000,
  HANDLER = 0x1800,
  OUTPUT = 0x10;

interface Ran {
  /** What was written to port 10H, and how the run ended. */
  output: number[];
  why: string;
  memory: GuestMemory;
}

/** Runs real-mode code on a PC without firmware. Vector 75H goes to `handler`. */
async function run(code: Code, handler?: Code): Promise<Ran> {
  const output: number[] = [];
  let ram: GuestMemory | undefined;
  const guest = definePlugin({
    name: 'guest',
    uses: { memory: GuestMemoryToken, ports: PortBusToken },
    apply({ hooks, vcpus }, { memory, ports }) {
      ram = memory;
      ports.register(
        OUTPUT,
        1,
        { readPort: () => 0, writePort: (_port, _size, value) => void output.push(value) },
        'guest',
      );
      hooks.load.tap('guest', () => {
        memory.write(CODE, code.build());
        memory.writeU32(0x75 * 4, HANDLER);
        if (handler !== undefined) memory.write(HANDLER, handler.build());
        vcpus[0].setInitialState({ mode: 'real16', rip: BigInt(CODE), rsp: 0x8000n });
      });
    },
  });
  const vmm = compose({
    backend: vmx(),
    memory: '4M',
    time: 'virtual',
    plugins: [guest, pic(), keyboard(), resetPorts(), coprocessorErrors(), ...exits()],
  });
  const { why } = await vmm.run({ maxInstructions: 100_000 });
  const ran = { output, why, memory: ram! };
  await vmm.dispose();
  return ran;
}

describe('the A20 gate', () => {
  const LOW = 0x500,
    HIGH = 0x10_0500;
  /** ES = FFFFH, so that ES:510H is 100500H. */
  const begin = (): Code =>
    new Code()
      .raw(0xb8, 0xff, 0xff, 0x8e, 0xc0)
      .raw(0xc7, 0x06, 0x00, 0x05, 0x11, 0x11) // MOV WORD [500H], 1111H
      .raw(0x26, 0xc7, 0x06, 0x10, 0x05, 0x22, 0x22); // MOV WORD ES:[510H], 2222H
  const show = (code: Code): Code => code.raw(0x26, 0xa0, 0x10, 0x05).out(OUTPUT); // MOV AL, ES:[510H]
  const OPEN = 0x22,
    CLOSED = 0x11;

  it.each<[string, (code: Code) => Code, (code: Code) => Code]>([
    ['commands DDH and DFH', (code) => code.movAl(0xdd).out(0x64), (code) => code.movAl(0xdf).out(0x64)],
    [
      'the output port of the keyboard controller',
      (code) => code.movAl(0xd1).out(0x64).movAl(0xfd).out(0x60),
      (code) => code.movAl(0xd1).out(0x64).movAl(0xff).out(0x60),
    ],
    ['port 92H', (code) => code.movAl(0).out(0x92), (code) => code.movAl(2).out(0x92)],
    ['one, opened by the other', (code) => code.movAl(0xdd).out(0x64), (code) => code.movAl(2).out(0x92)],
  ])('by %s', async (_, close, open) => {
    const code = show(open(show(close(show(begin())))));
    expect((await run(code.raw(0xf4))).output).toEqual([OPEN, CLOSED, OPEN]);
  });

  it('writes, code and stacks wrap too', async () => {
    const code = begin().movAl(0xdd).out(0x64);
    code.raw(0x26, 0xc6, 0x06, 0x10, 0x05, 0x33); // MOV BYTE ES:[510H], 33H
    code.raw(0x9a, 0x10, 0x06, 0xff, 0xff).raw(0xf4); // CALL FFFFH:0610H, which is 100600H, or 600H
    const ran = await run(
      new Code()
        .raw(0xb8, 0xb0, 0x44, 0xa3, 0x00, 0x06) // MOV AL, 44H; OUT 10H, AL; RETF at 600H
        .raw(0xb8, 0xe6, OUTPUT, 0xa3, 0x02, 0x06)
        .raw(0xb0, 0xcb, 0xa2, 0x04, 0x06)
        .raw(...code.build()),
    );
    expect(ran.output).toEqual([0x44]);
    expect([ran.memory.readU8(LOW), ran.memory.readU16(HIGH)]).toEqual([0x33, 0x2222]);
  });
});

describe('x87 errors with CR0.NE = 0', () => {
  /** The 8259s as a PC's firmware leaves them, with IRQ 13 alone; then 1/0 with all errors unmasked, and a store that waits. */
  const begin = (): Code => {
    const code = new Code();
    for (const [port, value] of [
      [0x20, 0x11],
      [0x21, 8],
      [0x21, 4],
      [0x21, 1],
      [0xa0, 0x11],
      [0xa1, 0x70],
      [0xa1, 2],
      [0xa1, 1],
      [0x21, 0xfb],
      [0xa1, 0xdf],
    ] as const)
      code.movAl(value).out(port);
    return code
      .raw(0xc7, 0x06, 0x00, 0x06, 0x7b, 0x03) // MOV WORD [600H], 37BH: zero divide unmasked
      .raw(0xdb, 0xe3, 0xd9, 0x2e, 0x00, 0x06) // FNINIT; FLDCW [600H]
      .raw(0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9); // FLD1; FLDZ; FDIVP
  };
  const store = (code: Code): Code => code.raw(0xd9, 0x1e, 0x04, 0x06); // FSTP DWORD [604H]
  const note = (code: Code, value: number): Code => code.movAl(value).out(OUTPUT);
  const ONE = 0x3f80_0000;
  /** Ends the interrupt and returns. */
  const end = (code: Code): Code => code.movAl(0x20).out(0xa0).out(0x20).raw(0xcf);

  it('freeze the processor before the next waiting instruction, until IRQ 13 has been served', async () => {
    // the handler shows what has been stored so far
    const handler = new Code().raw(0xa0, 0x07, 0x06).out(OUTPUT).movAl(0).out(0xf0).raw(0xdb, 0xe2); // FNCLEX
    const { output } = await run(note(store(begin().raw(0xfb)), 2).raw(0xfa, 0xf4), end(handler));
    expect(output).toEqual([0, 2]);
  });

  it('are ignored after a write to port F0H, until another one comes', async () => {
    const handler = note(new Code(), 1)
      .movAl(0)
      .out(0xf0)
      .raw(0xd9, 0xe8, 0xd9, 0x1e, 0x08, 0x06) // FLD1; FSTP DWORD [608H]: they wait for nothing now
      .raw(0xdb, 0xe2);
    const code = store(begin().raw(0xfb)).raw(0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9); // and once more
    const { output, memory } = await run(note(store(code), 2).raw(0xfa, 0xf4), end(handler));
    expect([output, memory.readU32(0x608)]).toEqual([[1, 1, 2], ONE]);
  });

  it('with the interrupt masked nothing wakes the processor', async () => {
    const { output, why } = await run(note(store(begin()), 2).raw(0xf4));
    expect([output, why]).toEqual([[], expect.stringContaining('halted')]);
  });

  it('non-waiting instructions do not stop', async () => {
    const { output } = await run(note(begin().raw(0xdf, 0xe0, 0xdb, 0xe2), 2).raw(0xfa, 0xf4)); // FNSTSW AX; FNCLEX
    expect(output).toEqual([2]);
  });

  it('with CR0.NE = 1 they are #MF, on whatever interrupt vector 16 is', async () => {
    const code = begin().raw(0x0f, 0x20, 0xc0, 0x0c, 0x20, 0x0f, 0x22, 0xc0); // CR0.NE
    const set = new Code().raw(0xc7, 0x06, 0x40, 0x00, 0x00, 0x18, 0xc7, 0x06, 0x42, 0x00, 0x00, 0x00); // vector 16
    const { output } = await run(
      note(store(set.raw(...code.build())), 2).raw(0xf4),
      note(new Code(), 3).raw(0xdb, 0xe2, 0xcf),
    );
    expect(output).toEqual([3, 2]);
  });
});
