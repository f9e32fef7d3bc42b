/** Interrupts through the 8259s, the local and I/O APIC, timers, and waking from HLT. */
import { apic } from '@visorkit/apic';
import { InterruptSourceToken, definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { pic, pit } from '@visorkit/devices-pc';
import { InterruptLinesToken, LocalApicsToken, PortBusToken } from '@visorkit/machine';
import { AX, BX, CX, DI, DX, code } from './code.js';
import type { Code } from './code.js';
import { conform } from './conform.js';
import { PORTS } from './machine.js';

/** Initialises the 8259s with vectors from 20H and 28H; only the IRQs in `open` are let through. */
function initialisePics(guest: Code, open: number): Code {
  const out = (port: number, value: number): Code => guest.movAl(value).out(port);
  for (const [command, data, base, third] of [
    [0x20, 0x21, 0x20, 4],
    [0xa0, 0xa1, 0x28, 2],
  ]) {
    out(command, 0x11);
    out(data, base);
    out(data, third);
    out(data, 1);
  }
  out(0x21, 0xff & ~open & (open > 0xff ? ~4 : 0xff));
  return out(0xa1, 0xff & ~(open >> 8));
}

/** A write to port 2FH raises line `gsi` and lowers it again. */
const raisedByPort = (gsi: number): Plugin =>
  definePlugin({
    name: 'raise',
    uses: { lines: InterruptLinesToken, ports: PortBusToken },
    apply(_host, { lines, ports }) {
      const line = lines.line(gsi);
      ports.register(
        0x2f,
        1,
        {
          readPort: () => 0,
          writePort: () => {
            line.set(true);
            line.set(false);
          },
        },
        'raise',
      );
    },
  });

conform(
  '8259: an edge interrupts, is acknowledged, and comes again after EOI',
  {
    mode: 'real16',
    code: initialisePics(code(), 1 << 3)
      .sti()
      .out(0x2f)
      .nop(2)
      .out(0x2f)
      .nop(2)
      .end(),
    data: { 0x5000: code().raw(0x43).movAl(0x20).out(0x20).iret() },
    handlers: { 0x23: 0x5000 },
    plugins: () => [pic(), raisedByPort(3)],
  },
  { registers: { rbx: 2n } },
);

conform(
  '8259: through the second controller, and masked',
  {
    mode: 'real16',
    code: initialisePics(code(), 1 << 11)
      .sti()
      .out(0x2f)
      .nop(2)
      .movAl(0xff)
      .out(0xa1)
      .out(0x2f)
      .nop(2)
      .end(),
    data: { 0x5000: code().raw(0x43).movAl(0x20).out(0xa0).out(0x20).iret() },
    handlers: { 0x2b: 0x5000 },
    plugins: () => [pic(), raisedByPort(11)],
  },
  { registers: { rbx: 1n } },
);

conform(
  'an interrupt waits for IF',
  {
    mode: 'real16',
    // Raised with IF = 0; delivered at the latest when the guest accesses a port
    code: initialisePics(code(), 1 << 3)
      .out(0x2f)
      .inc(CX)
      .nop(20)
      .out(PORTS)
      .inc(CX)
      .sti()
      .out(PORTS)
      .nop(2)
      .end(),
    data: { 0x5000: code().raw(0x89, 0xcb).movAl(0x20).out(0x20).iret() }, // MOV BX, CX
    handlers: { 0x23: 0x5000 },
    plugins: () => [pic(), raisedByPort(3)],
  },
  { registers: { rbx: 2n, rcx: 2n } },
);

conform(
  'an interrupt comes right behind the shadow of STI',
  {
    mode: 'real16',
    // Raised with IF = 0: INC CX is done before; STI; INC CX runs in the shadow
    code: initialisePics(code(), 1 << 3)
      .out(0x2f)
      .inc(CX)
      .sti()
      .inc(CX)
      .inc(DX)
      .inc(DX)
      .end(),
    data: { 0x5000: code().raw(0x89, 0xcb).movAl(0x20).out(0x20).iret() }, // MOV BX, CX
    handlers: { 0x23: 0x5000 },
    plugins: () => [pic(), raisedByPort(3)],
  },
  { registers: { rbx: 2n, rcx: 2n, rdx: 2n } },
  ['prompt-interrupts'],
);

conform(
  '8254: ticks wake from HLT',
  {
    timed: true,
    mode: 'real16',
    // Counter 0, mode 2, 1193 counts: 1 kHz. again: HLT; CMP BX, 5; JB again
    code: initialisePics(code(), 1)
      .movAl(0x34)
      .out(0x43)
      .movAl(0xa9)
      .out(0x40)
      .movAl(0x04)
      .out(0x40)
      .sti()
      .label('again')
      .hlt()
      .raw(0x83, 0xfb, 5)
      .jc('again')
      .end(),
    data: { 0x5000: code().raw(0x83, 0xfb, 5).jz('enough').raw(0x43).label('enough').movAl(0x20).out(0x20).iret() },
    handlers: { 0x20: 0x5000 },
    plugins: () => [pic(), pit()],
  },
  { registers: { rbx: 5n }, events: ['hlt'] },
);

const APIC = 0xfee0_0000,
  IO_APIC = 0xfec0_0000;
const EOI = 0xb0,
  SPURIOUS = 0xf0,
  TIMER = 0x320,
  INITIAL_COUNT = 0x380,
  DIVIDE = 0x3e0;
/** MOV EDI, APIC; MOV DWORD [EDI + register], value */
const writeApic = (guest: Code, register: number, value: number): Code => guest.mov(AX, value).store(register);
const apicHandler = (register: number): Code =>
  code()
    .raw(0x50, 0xff, 0xc0 + register)
    .raw(0xc7, 0x87, EOI, 0, 0, 0, 0, 0, 0, 0)
    .raw(0x58); // PUSH; INC; MOV [EDI+EOI], 0; POP

conform(
  'local APIC: its timer, one shot and periodic',
  {
    timed: true,
    mode: 'protected32',
    code: [
      [TIMER, 0x40],
      [DIVIDE, 0xb],
      [INITIAL_COUNT, 2_000_000],
    ]
      .reduce(
        (guest, [register, value]) => writeApic(guest, register, value),
        writeApic(code().mov(DI, APIC), SPURIOUS, 0x1ff),
      )
      .sti()
      .hlt()
      .cli()
      .mov(AX, 0x2_0041)
      .store(TIMER)
      .mov(AX, 4_000_000)
      .store(INITIAL_COUNT)
      .sti()
      .label('again')
      .hlt()
      .raw(0x83, 0xf9, 3)
      .jc('again')
      .end(),
    // Ticks beyond the third are not counted: on a slow machine they may come while the guest is on its way out
    data: {
      0x5000: apicHandler(BX).iret(),
      0x5100: code()
        .raw(0x83, 0xf9, 3)
        .jz('enough')
        .inc(CX)
        .label('enough')
        .raw(0xc7, 0x87, EOI, 0, 0, 0, 0, 0, 0, 0)
        .iret(),
    },
    handlers: { 0x40: 0x5000, 0x41: 0x5100 },
    plugins: () => [apic()],
  },
  { registers: { rbx: 1n, rcx: 3n }, events: ['hlt'] },
);

conform(
  'I/O APIC: a line becomes a vector',
  {
    mode: 'protected32',
    code: writeApic(code().mov(DI, APIC), SPURIOUS, 0x1ff)
      .mov(DI, IO_APIC)
      .mov(AX, 0x16)
      .store(0)
      .mov(AX, 0x42)
      .store(0x10)
      .mov(AX, 0x17)
      .store(0)
      .mov(AX, 0)
      .store(0x10) // redirection entry 3: vector 42H, to APIC 0
      .mov(DI, APIC)
      .sti()
      .out(0x2f)
      .nop(2)
      .out(0x2f)
      .nop(2)
      .end(),
    data: { 0x5000: apicHandler(BX).iret() },
    handlers: { 0x42: 0x5000 },
    plugins: () => [apic(), raisedByPort(3)],
  },
  { registers: { rbx: 2n } },
);

conform(
  'local APIC: task priority in CR8 holds interrupts back',
  {
    mode: 'long64',
    // CR8 = 5; raise vector 45H: held; R8 = BX; CR8 = 0: delivered
    code: writeApic(code().mov(DI, APIC), SPURIOUS, 0x1ff)
      .mov(AX, 5)
      .raw(0x44, 0x0f, 0x22, 0xc0)
      .sti()
      .out(0x2f)
      .nop(2)
      .raw(0x49, 0x89, 0xd8, 0x44, 0x0f, 0x20, 0xc1) // MOV R8, RBX; MOV RCX, CR8
      .mov(AX, 0)
      .raw(0x44, 0x0f, 0x22, 0xc0)
      .out(PORTS)
      .nop(2)
      .end(),
    data: { 0x5000: apicHandler(BX).iretq() },
    handlers: { 0x45: 0x5000 },
    plugins: () => [
      apic(),
      definePlugin({
        name: 'raise',
        uses: { apics: LocalApicsToken, ports: PortBusToken },
        apply(_host, { apics, ports }) {
          const device = { readPort: () => 0, writePort: () => apics.sendMessage(0xfee0_0000, 0x45) };
          ports.register(0x2f, 1, device, 'raise');
        },
      }),
    ],
  },
  { registers: { rbx: 1n, rcx: 5n, r8: 0n } },
);

conform(
  'x2APIC: registers are MSRs',
  {
    mode: 'long64',
    // IA32_APIC_BASE.EXTD; spurious vector; TPR; ID and TPR read back; self IPI of vector 50H
    code: code()
      .mov(CX, 0x1b)
      .rdmsr()
      .raw(0x0d, 0, 4, 0, 0)
      .wrmsr()
      .mov(CX, 0x80f)
      .mov(AX, 0x1ff)
      .mov(DX, 0)
      .wrmsr()
      .mov(CX, 0x808)
      .mov(AX, 0x20)
      .wrmsr()
      .rdmsr()
      .raw(0x41, 0x89, 0xc0) // MOV R8D, EAX
      .mov(CX, 0x802)
      .rdmsr()
      .raw(0x41, 0x89, 0xc1)
      .sti()
      .mov(CX, 0x83f)
      .mov(AX, 0x50)
      .mov(DX, 0)
      .wrmsr()
      .nop(2)
      .end(), // MOV R9D, EAX
    data: { 0x5000: code().raw(0xff, 0xc3).mov(CX, 0x80b).mov(AX, 0).mov(DX, 0).wrmsr().iretq() }, // INC EBX; EOI
    handlers: { 0x50: 0x5000 },
    plugins: () => [apic()],
  },
  {
    registers: { r8: 0x20n, r9: 0n, rbx: 1n },
    events: [
      'rdmsr 1b',
      'wrmsr 1b',
      'wrmsr 80f',
      'wrmsr 808',
      'rdmsr 808',
      'rdmsr 802',
      'wrmsr 83f',
      'wrmsr 80b',
      'hlt',
    ],
  },
);

let nmis = 0;
const nmiSource = { pending: () => false, acknowledge: () => 0, takeNmi: () => nmis > 0 && nmis-- > 0 };

conform(
  'NMI: comes with IF = 0, and not again before IRET',
  {
    mode: 'long64',
    // Each write to port 1EH makes an NMI; the handler makes another, which waits for its IRET
    code: code()
      .out(PORTS + 14)
      .nop(2)
      .out(PORTS)
      .end(),
    data: {
      0x5000: code()
        .raw(0xff, 0xc3)
        .raw(0x83, 0xfb, 1)
        .jnz('second')
        .out(PORTS + 14)
        .nop(2)
        .raw(0x89, 0xda)
        .label('second')
        .iretq(),
    }, // INC EBX; CMP EBX, 1; MOV EDX, EBX
    handlers: { 2: 0x5000 },
    declares: { provides: [{ token: InterruptSourceToken, make: () => nmiSource }] },
    apply({ hooks, onSave }) {
      nmis = 0;
      onSave({
        save: () => nmis,
        restore: (saved) => {
          nmis = saved as number;
        },
      });
      hooks.exit.for('io').tap('nmi', (exit) => {
        if (exit.io.port === PORTS + 14 && !exit.io.input) nmis++;
        return undefined;
      });
    },
  },
  { registers: { rbx: 2n, rdx: 1n } },
);
