/** Accesses to ports and device memory: all sizes, string forms, both directions, every order that the architecture fixes. */
import { AX, BX, CX, DI, DX, SI, code } from './code.js';
import { conform } from './conform.js';
import { DEVICE } from './machine.js';

const text = (value: string): Uint8Array => Uint8Array.from(value, (character) => character.charCodeAt(0));

conform(
  'ports: OUT and IN of 1, 2 and 4 bytes, by immediate and by DX',
  {
    mode: 'protected32',
    code: code()
      .mov(AX, 0x8765_4321)
      .out(0x10)
      .raw(0x66)
      .outWide(0x12)
      .outWide(0x14) // AL, AX, EAX
      .mov(DX, 0x18)
      .raw(0xee, 0x66, 0xef, 0xef)
      .mov(AX, 0xffff_ffff)
      .in(0x10)
      .raw(0x89, 0xc3)
      .mov(AX, 0xffff_ffff)
      .raw(0x66)
      .inWide(0x12)
      .raw(0x89, 0xc1)
      .inWide(0x14)
      .raw(0x89, 0xc6) // to EBX, ECX, ESI
      .mov(AX, 0xffff_ffff)
      .raw(0xec, 0x89, 0xc7)
      .end(),
  },
  {
    events: [
      'out 10 1 21',
      'out 12 2 4321',
      'out 14 4 87654321',
      'out 18 1 21',
      'out 18 2 4321',
      'out 18 4 87654321',
      'in 10 1',
      'in 12 2',
      'in 14 4',
      'in 18 1',
      'hlt',
    ],
    registers: { rbx: 0xffff_ff11n, rcx: 0xffff_1413n, rsi: 0x1817_1615n, rdi: 0xffff_ff19n },
  },
);

conform(
  'ports: REP OUTSB, OUTSW and OUTSD, forwards',
  {
    mode: 'protected32',
    code: code()
      .raw(0xfc)
      .mov(SI, 0x5000)
      .mov(DX, 0x10)
      .mov(CX, 3)
      .raw(0xf3, 0x6e)
      .mov(CX, 2)
      .raw(0xf3, 0x66, 0x6f)
      .mov(CX, 2)
      .raw(0xf3, 0x6f)
      .end(),
    data: { 0x5000: text('abcDEFG123456789') },
  },
  {
    events: [
      'out 10 1 61',
      'out 10 1 62',
      'out 10 1 63',
      'out 10 2 4544',
      'out 10 2 4746',
      'out 10 4 34333231',
      'out 10 4 38373635',
      'hlt',
    ],
    registers: { rsi: 0x500fn, rcx: 0n },
  },
);

conform(
  'ports: REP INSB, INSW and INSD, and backwards',
  {
    mode: 'protected32',
    code: code()
      .raw(0xfc)
      .mov(DI, 0x5000)
      .mov(DX, 0x10)
      .mov(CX, 3)
      .raw(0xf3, 0x6c)
      .mov(CX, 1)
      .raw(0xf3, 0x66, 0x6d)
      .mov(CX, 2)
      .raw(0xf3, 0x6d)
      .raw(0xfd)
      .mov(DI, 0x5020)
      .mov(DX, 0x14)
      .mov(CX, 3)
      .raw(0xf3, 0x6c, 0xfc)
      .end(), // STD
    shows: { data: [0x5000, 14], backwards: [0x501d, 5] },
  },
  {
    events: ['in 10 1', 'in 10 1', 'in 10 1', 'in 10 2', 'in 10 4', 'in 10 4', 'in 14 1', 'in 14 1', 'in 14 1', 'hlt'],
    memory: {
      data: [0x11, 0x11, 0x11, 0x11, 0x12, 0x11, 0x12, 0x13, 0x14, 0x11, 0x12, 0x13, 0x14, 0],
      backwards: [0, 0x15, 0x15, 0x15, 0],
    },
    registers: { rdi: 0x501dn },
  },
);

conform(
  'ports: a long string goes through whole',
  {
    mode: 'real16',
    code: code().raw(0xfc).mov16(SI, 0x4000).mov16(DX, 0x3f8).mov16(CX, 0x1234).raw(0xf3, 0x6e).end(),
    data: { 0x4000: Uint8Array.from({ length: 0x1234 }, (_, index) => 33 + (index % 90)) },
  },
  {
    output: String.fromCharCode(...Array.from({ length: 0x1234 }, (_, index) => 33 + (index % 90))),
    registers: { rcx: 0n, rsi: 0x5234n },
  },
);

conform(
  'ports: strings in real mode, with a segment override',
  {
    mode: 'real16',
    code: code()
      .mov16(AX, 0x400)
      .raw(0x8e, 0xc0, 0xfc, 0x31, 0xf6)
      .mov16(DX, 0x3f8)
      .mov16(CX, 5)
      .raw(0x26, 0xf3, 0x6e)
      .end(), // ES: REP OUTSB
    data: { 0x4000: text('over!') },
  },
  { output: 'over!' },
);

conform(
  'device memory: MOV of 1, 2, 4 and 8 bytes',
  {
    mode: 'long64',
    code: code()
      .mov64(DI, BigInt(DEVICE))
      .mov64(AX, 0x8877_6655_4433_2211n)
      .raw(0x88, 0x47, 0x00, 0x66, 0x89, 0x47, 0x02, 0x89, 0x47, 0x04, 0x48, 0x89, 0x47, 0x08) // MOV [RDI + n], AL, AX, EAX, RAX
      .mov64(BX, -1n)
      .raw(0x8a, 0x1f)
      .mov64(CX, -1n)
      .raw(0x66, 0x8b, 0x4f, 0x02)
      .raw(0x8b, 0x57, 0x04, 0x48, 0x8b, 0x77, 0x08) // BL, CX, EDX, RSI
      .raw(0x0f, 0xb6, 0x47, 0x10, 0x4c, 0x0f, 0xbf, 0x47, 0x7e)
      .end(), // MOVZX EAX, BYTE [RDI+10H]; MOVSX R8, WORD [RDI+7EH]
  },
  {
    events: [
      'write 0 1 11',
      'write 2 2 2211',
      'write 4 4 44332211',
      'write 8 4 44332211',
      'write c 4 88776655',
      'read 0 1',
      'read 2 2',
      'read 4 4',
      'read 8 4',
      'read c 4',
      'read 10 1',
      'read 7e 2',
      'hlt',
    ],
    registers: {
      rbx: 0xffff_ffff_ffff_ff01n,
      rcx: 0xffff_ffff_ffff_0403n,
      rdx: 0x0807_0605n,
      rsi: 0x100f_0e0d_0c0b_0a09n,
      rax: 0x11n,
      r8: 0xffff_ffff_ffff_807fn,
    },
  },
);

conform(
  'device memory: read-modify-write, compare, test, push and pop',
  {
    mode: 'protected32',
    code: code()
      .mov(DI, DEVICE)
      .mov(AX, 0x10)
      .raw(0x01, 0x07) // ADD [EDI], EAX
      .raw(0x39, 0x47, 0x04) // CMP [EDI+4], EAX
      .raw(0xf6, 0x47, 0x08, 0x01) // TEST BYTE [EDI+8], 1
      .raw(0x87, 0x47, 0x0c) // XCHG [EDI+12], EAX
      .raw(0xff, 0x77, 0x10, 0x8f, 0x47, 0x14) // PUSH [EDI+16]; POP [EDI+20]
      .raw(0xf0, 0x0f, 0xba, 0x6f, 0x18, 0x00)
      .end(), // LOCK BTS DWORD [EDI+24], 0
  },
  {
    events: [
      'read 0 4',
      'write 0 4 4030211',
      'read 4 4',
      'read 8 1',
      'read c 4',
      'write c 4 10',
      'read 10 4',
      'write 14 4 14131211',
      'read 18 4',
      'write 18 4 1c1b1a19',
      'hlt',
    ],
    registers: { rax: 0x100f_0e0dn },
  },
);

conform(
  'device memory: string moves, in and out',
  {
    mode: 'protected32',
    code: code()
      .raw(0xfc)
      .mov(SI, 0x5000)
      .mov(DI, DEVICE)
      .mov(CX, 3)
      .raw(0xf3, 0xa4) // REP MOVSB to the device
      .mov(SI, DEVICE + 0x10)
      .mov(DI, 0x6000)
      .mov(CX, 2)
      .raw(0xf3, 0xa5) // REP MOVSD from it
      .mov(DI, DEVICE + 0x20)
      .mov(AX, 0xabcd)
      .mov(CX, 2)
      .raw(0xf3, 0x66, 0xab)
      .end(), // REP STOSW
    data: { 0x5000: text('xyz') },
    shows: { data: [0x6000, 8] },
  },
  {
    events: [
      'write 0 1 78',
      'write 1 1 79',
      'write 2 1 7a',
      'read 10 4',
      'read 14 4',
      'write 20 2 abcd',
      'write 22 2 abcd',
      'hlt',
    ],
    memory: { data: [0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18] },
    registers: { rcx: 0n, rsi: BigInt(DEVICE + 0x18), rdi: BigInt(DEVICE + 0x24) },
  },
);

conform(
  'where nothing is: reads are all ones, writes go nowhere',
  {
    mode: 'protected32',
    code: code()
      .mov(DI, 0xc800_0000)
      .mov(AX, 5)
      .store(0)
      .load(4)
      .raw(0x89, 0xc3)
      .mov(AX, 0)
      .in(0x77)
      .mov(DX, 0x5555)
      .raw(0x66, 0xef, 0x89, 0xc1)
      .raw(0xed)
      .end(), // MOV EBX, EAX; OUT DX, AX; MOV ECX, EAX; IN EAX, DX
  },
  { events: ['hlt'], registers: { rbx: 0xffff_ffffn, rcx: 0xffn, rax: 0xffff_ffffn } },
);
