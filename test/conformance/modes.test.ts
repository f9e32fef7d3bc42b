/** Code of every mode: arithmetic, stack, segments, switches between modes, paging, privilege. */
import { AX, BX, CX, DI, DX, code } from './code.js';
import { conform } from './conform.js';
import { gateForUser, identityMap, longs, tss, userPages, words } from './data.js';
import { GDT, IDT, PRINT, STACK, TABLES } from './machine.js';

conform(
  'real mode: prints, calls and computes',
  {
    mode: 'real16',
    code: code()
      .print('real')
      .mov16(AX, 7)
      .mov16(BX, 6)
      .raw(0xf7, 0xe3)
      .raw(0xe8, 2, 0)
      .jmp('on')
      .raw(0x93, 0xc3)
      .label('on')
      .raw(0x50, 0x5a)
      .end(), // MUL BX; CALL; XCHG AX, BX; RET; PUSH AX; POP DX
  },
  { output: 'real', registers: { rbx: 42n, rdx: 6n }, events: ['hlt'] },
);

conform(
  'real mode: segments, far jump, string move',
  {
    mode: 'real16',
    // MOV AX, 200H; MOV DS, AX; MOV AX, 300H; MOV ES, AX; XOR SI, SI; XOR DI, DI; MOV CX, 5; CLD; REP MOVSB; JMP 0000:2800H
    code: code()
      .mov16(AX, 0x200)
      .raw(0x8e, 0xd8)
      .mov16(AX, 0x400)
      .raw(0x8e, 0xc0, 0x31, 0xf6, 0x31, 0xff)
      .mov16(CX, 5)
      .raw(0xfc, 0xf3, 0xa4, 0xea, 0x00, 0x28, 0, 0),
    data: { 0x2000: Uint8Array.of(1, 2, 3, 4, 5, 6), 0x2800: code().print('!').end() },
    shows: { copied: [0x4000, 6] },
  },
  { output: '!', memory: { copied: [1, 2, 3, 4, 5, 0] }, registers: { rcx: 0n, rsi: 5n, rdi: 5n } },
);

conform(
  'real mode: software interrupt and divide error',
  {
    mode: 'real16',
    code: code().raw(0xcd, 0x21).mov16(AX, 1).mov16(DX, 5).mov16(BX, 2).raw(0xf7, 0xf3).print('d').end(), // INT 21H; DIV BX overflows
    // The divide error's handler moves over DIV: POP AX; ADD AX, 2; PUSH AX; IRET
    data: { 0x5000: code().print('i').iret(), 0x5100: code().print('0').raw(0x58, 0x05, 2, 0, 0x50).iret() },
    handlers: { 0x21: 0x5000, 0: 0x5100 },
  },
  { output: 'i0d' },
);

conform(
  'from real mode to protected mode to long mode',
  {
    mode: 'real16',
    code: code()
      .cli()
      .raw(0x0f, 0x01, 0x16, 0x00, 0x06) // LGDT [600H]
      .raw(0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0) // MOV EAX, CR0; OR AL, 1; MOV CR0, EAX
      .raw(0xea, 0x00, 0x14, 0x08, 0x00), // JMP 8:1400H
    data: {
      0x600: Uint8Array.of(0x1f, 0, GDT & 0xff, GDT >> 8, 0, 0),
      0x1400: code()
        .mov(AX, 0x10)
        .raw(0x8e, 0xd8, 0x8e, 0xd0, 0x8e, 0xc0)
        .mov(DX, PRINT)
        .movAl(0x33)
        .outDxAl() // DS, SS, ES; '3'
        .raw(0x0f, 0x20, 0xe0, 0x83, 0xc8, 0x20, 0x0f, 0x22, 0xe0) // CR4.PAE
        .mov(AX, TABLES)
        .raw(0x0f, 0x22, 0xd8) // CR3
        .mov(CX, 0xc000_0080)
        .rdmsr()
        .raw(0x0f, 0xba, 0xe8, 8)
        .wrmsr() // EFER.LME
        .raw(0x0f, 0x20, 0xc0, 0x0f, 0xba, 0xe8, 31, 0x0f, 0x22, 0xc0) // CR0.PG
        .raw(0xea, 0x00, 0x18, 0, 0, 0x18, 0), // JMP 18H:1800H
      0x1800: code()
        .mov(DX, PRINT)
        .movAl(0x36)
        .outDxAl()
        .mov64(AX, 0x1122_3344_5566_7788n)
        .raw(0x48, 0x0f, 0xc8)
        .mov64(BX, 0x10_0000_0001n)
        .raw(0x48, 0x0f, 0xaf, 0xdb)
        .end(), // '6'; BSWAP RAX; IMUL RBX, RBX
    },
    apply: ({ hooks }, { memory }) => hooks.loaded.tap('tables', () => identityMap(memory)),
  },
  { output: '36', registers: { rax: 0x8877_6655_4433_2211n, rbx: 0x20_0000_0001n } },
);

conform(
  'protected mode: paging with 4 KiB pages, page faults, accessed and dirty flags',
  {
    mode: 'protected32',
    // Writes to 400000H (mapped to 6000H), then to 401000H (absent), then reads 402000H (read-only with CR0.WP) and writes it
    code: code()
      .mov(AX, 0x3_0000)
      .raw(0x0f, 0x22, 0xd8)
      .raw(0x0f, 0x20, 0xc0)
      .raw(0x0d, 0, 0, 1, 0x80, 0x0f, 0x22, 0xc0) // CR3; CR0 |= PG | WP
      .mov(DI, 0x40_0000)
      .mov(AX, 0x1234)
      .store(0)
      .store(0x1000)
      .load(0x2000)
      .store(0x2000)
      .print32('x')
      .end(),
    data: {
      // POP EBX (error code); OUT the low byte; MOV EAX, CR2; OUT 12H; ADD [ESP], 6: over the MOV; IRET
      0x5000: code()
        .raw(0x5b, 0x50, 0x88, 0xd8)
        .out(0x10)
        .raw(0x0f, 0x20, 0xd0)
        .outWide(0x12)
        .raw(0x58, 0x83, 0x04, 0x24, 6)
        .iret(),
      0x3_0000: words(0x3_1007, 0x3_2007), // page directory: the first 4 MiB, the second
      0x3_1000: words(...Array.from({ length: 1024 }, (_, page) => page * 0x1000 + 7)),
      0x3_2000: words(0x6007, 0x6006, 0x6005),
    },
    handlers: { 14: 0x5000 },
    shows: { tables: [0x3_2000, 12], page: [0x6000, 4] },
  },
  {
    output: 'x',
    events: ['out 10 1 2', 'out 12 4 401000', 'out 10 1 3', 'out 12 4 402000', 'hlt'],
    memory: { tables: [...words(0x6067, 0x6006, 0x6025)], page: [0x34, 0x12, 0, 0] },
  },
  ['legacy-paging'],
);

conform(
  'long mode: 4 KiB pages, page faults, accessed and dirty flags, no-execute',
  {
    mode: 'long64',
    state: { efer: 0xd00n, cr0: 0x8001_0011n },
    // Writes to 40000000H (mapped to 6000H), to 40001000H (absent), reads 40002000H (read-only) and writes it, calls 40003000H (no-execute)
    code: code()
      .mov(DI, 0x4000_0000)
      .mov(AX, 0x1234)
      .store(0)
      .store(0x1000)
      .load(0x2000)
      .store(0x2000)
      .raw(0x81, 0xc7, 0, 0x30, 0, 0, 0xff, 0xd7)
      .print32('x')
      .end(), // ADD EDI, 3000H; CALL RDI
    data: {
      // POP RBX (error code); OUT its low byte; MOV RAX, CR2; OUT 12H; a fetch: RET to the caller, else over the MOV
      0x5000: code()
        .raw(0x5b, 0x50, 0x88, 0xd8)
        .out(0x10)
        .raw(0x0f, 0x20, 0xd0)
        .outWide(0x12)
        .raw(0xf6, 0xc3, 0x10)
        .raw(0x58)
        .jnz('fetch')
        .raw(0x48, 0x83, 0x04, 0x24, 6)
        .iretq()
        .label('fetch')
        .raw(0x48, 0x8b, 0x5c, 0x24, 0x18, 0x48, 0x8b, 0x1b, 0x48, 0x89, 0x1c, 0x24)
        .iretq(), // MOV RBX, [RSP + 24]; MOV RBX, [RBX]; MOV [RSP], RBX
      0x3_0000: longs(0x3_1007n), // page directory of the second GiB
      0x3_1000: longs(0x6007n, 0x6006n, 0x6005n, 0x8000_0000_0000_6007n),
    },
    handlers: { 14: 0x5000 },
    apply: ({ hooks }, { memory }) => hooks.loaded.tap('tables', () => memory.writeU64(TABLES + 0x1008, 0x3_0007n)),
    shows: { tables: [0x3_1000, 32], page: [0x6000, 4] },
  },
  {
    output: 'x',
    events: [
      'out 10 1 2',
      'out 12 4 40001000',
      'out 10 1 3',
      'out 12 4 40002000',
      'out 10 1 11',
      'out 12 4 40003000',
      'hlt',
    ],
    memory: { tables: [...longs(0x6067n, 0x6006n, 0x6025n, 0x8000_0000_0000_6007n)], page: [0x34, 0x12, 0, 0] },
  },
);

conform(
  'protected mode: exceptions with their error codes',
  {
    mode: 'protected32',
    // UD2; MOV DS, selector beyond the table; INT3; INTO with OF
    code: code().ud2().mov(AX, 0xf8).raw(0x8e, 0xd8).raw(0xcc).mov(AX, 0x7fff_ffff).raw(0x40, 0xce).print32('e').end(),
    data: {
      0x5000: code().raw(0x50).movAl(6).out(0x10).raw(0x58, 0x83, 0x04, 0x24, 2).iret(),
      0x5100: code().raw(0x5b, 0x50).raw(0x89, 0xd8).outWide(0x10).raw(0x58, 0x83, 0x04, 0x24, 2).iret(), // #GP: the error code, then over MOV
      0x5200: code().raw(0x50).movAl(3).out(0x10).raw(0x58).iret(),
      0x5300: code().raw(0x50).movAl(4).out(0x10).raw(0x58).iret(),
    },
    handlers: { 6: 0x5000, 13: 0x5100, 3: 0x5200, 4: 0x5300 },
  },
  { output: 'e', events: ['out 10 1 6', 'out 10 4 f8', 'out 10 1 3', 'out 10 1 4', 'hlt'] },
);

conform(
  'long mode: 64-bit arithmetic, RIP-relative data, flags',
  {
    mode: 'long64',
    code: code()
      .mov64(AX, 0xffff_ffff_ffff_fffen)
      .raw(0x48, 0x83, 0xc0, 1) // ADD RAX, 1
      .raw(0x49, 0x89, 0xc0, 0x49, 0xff, 0xc0) // MOV R8, RAX; INC R8
      .raw(0x9c, 0x59) // PUSHFQ; POP RCX
      .raw(0x48, 0x8b, 0x1d, 0, 0x10, 0, 0) // MOV RBX, [RIP + 1000H]
      .raw(0x48, 0xd1, 0xc3)
      .end(), // ROL RBX, 1
    data: { 0x201d: Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0x80) },
  },
  { registers: { rax: 0xffff_ffff_ffff_ffffn, r8: 0n, rcx: 0x56n, rbx: 3n } },
);

conform(
  'long mode: SSE and x87',
  {
    mode: 'long64',
    state: { cr4: 0x620n, cr0: 0x8000_0033n },
    code: code()
      .mov(AX, 3)
      .raw(0xf2, 0x0f, 0x2a, 0xc0)
      .mov(AX, 4)
      .raw(0xf2, 0x0f, 0x2a, 0xc8) // CVTSI2SD XMM0, EAX; XMM1
      .raw(0xf2, 0x0f, 0x59, 0xc0, 0xf2, 0x0f, 0x59, 0xc9, 0xf2, 0x0f, 0x58, 0xc1, 0xf2, 0x0f, 0x51, 0xc0) // squares, sum, SQRTSD
      .raw(0xf2, 0x48, 0x0f, 0x2d, 0xc0) // CVTSD2SI RAX, XMM0
      .mov(DI, 0x6000)
      .raw(0xdb, 0xe3, 0xd9, 0xeb, 0xdb, 0x3f)
      .end(), // FNINIT; FLDPI; FSTP TBYTE [RDI]
    shows: { pi: [0x6000, 10] },
  },
  { registers: { rax: 5n }, memory: { pi: [0x35, 0xc2, 0x68, 0x21, 0xa2, 0xda, 0x0f, 0xc9, 0x00, 0x40] } },
);

conform(
  'long mode: to ring 3, and back by its faults',
  {
    mode: 'long64',
    state: { gdtr: { base: BigInt(GDT), limit: 0x4f } },
    code: code()
      .mov(AX, 0x40)
      .raw(0x0f, 0x00, 0xd8) // LTR
      .raw(0x6a, 0x2b, 0x68, 0, 0x90, 0, 0, 0x6a, 0x02, 0x6a, 0x33, 0x68, 0, 0x60, 0, 0)
      .iretq(), // SS 2BH, RSP 9000H, RFLAGS, CS 33H, RIP 6000H
    data: {
      [GDT + 0x20]: longs(0x00cf_9300_0000_ffffn, 0x00cf_f300_0000_ffffn, 0x00af_fb00_0000_ffffn, 0n, ...tss(0x7000)), // 20H: data, 28H: user data, 30H: user code, 40H: TSS
      0x5000: code()
        .raw(0x50)
        .movAl(6)
        .out(0x10)
        .raw(0x8c, 0xc8)
        .out(0x11)
        .raw(0x58, 0x48, 0x83, 0x04, 0x24, 2)
        .iretq(), // #UD: CS; over UD2
      0x5100: code()
        .raw(0x41, 0x5c, 0x50)
        .movAl(14)
        .out(0x10)
        .raw(0x44, 0x89, 0xe0)
        .out(0x11)
        .raw(0x58, 0x48, 0x83, 0x04, 0x24, 2)
        .iretq(), // #PF: POP R12, the error code; over the MOV
      0x5200: code().raw(0x41, 0x5d).movAl(13).out(0x10).raw(0x48, 0x8b, 0x44, 0x24, 8).out(0x11).end(), // #GP: POP R13; CS of the user
      0x6000: code()
        .mov(DI, 0x20_0000)
        .ud2()
        .raw(0x8b, 0x07)
        .raw(0x49, 0xff, 0xc7)
        .raw(0x8c, 0xc8, 0x41, 0x89, 0xc6)
        .hlt(), // UD2; MOV EAX, [RDI]; INC R15; CS to R14D; HLT
      0x7004: longs(BigInt(STACK)),
    },
    handlers: { 6: 0x5000, 14: 0x5100, 13: 0x5200 },
    apply: ({ hooks }, { memory }) =>
      hooks.loaded.tap('user', () => {
        userPages(memory);
        // The second 2 MiB are the supervisor's
        memory.writeU8(TABLES + 0x2008, memory.readU8(TABLES + 0x2008) & ~4);
      }),
  },
  {
    registers: { r15: 1n, r14: 0x33n, r13: 0n, r12: 5n },
    events: ['out 10 1 6', 'out 11 1 18', 'out 10 1 e', 'out 11 1 5', 'out 10 1 d', 'out 11 1 33', 'hlt'],
  },
);

conform(
  'long mode: to ring 3 and back by SYSCALL and by an interrupt',
  {
    mode: 'long64',
    state: { efer: 0x501n, gdtr: { base: BigInt(GDT), limit: 0x4f } },
    code: code()
      .mov(AX, 0x40)
      .raw(0x0f, 0x00, 0xd8) // LTR
      .mov(CX, 0xc000_0081)
      .mov(AX, 0)
      .mov(DX, 0x0023_0018)
      .wrmsr() // STAR: SYSCALL to 18H, SYSRET to 33H
      .mov(CX, 0xc000_0082)
      .mov(AX, 0x5000)
      .mov(DX, 0)
      .wrmsr() // LSTAR
      .mov(CX, 0xc000_0084)
      .mov(AX, 0x200)
      .wrmsr() // FMASK: IF
      .raw(0x6a, 0x2b, 0x68, 0, 0x90, 0, 0, 0x6a, 0x02, 0x6a, 0x33, 0x68, 0, 0x60, 0, 0)
      .iretq(), // SS 2BH, RSP 9000H, RFLAGS, CS 33H, RIP 6000H
    data: {
      [GDT + 0x20]: longs(0x00cf_9300_0000_ffffn, 0x00cf_f300_0000_ffffn, 0x00af_fb00_0000_ffffn, 0n, ...tss(0x7000)), // 20H: data, 28H: user data, 30H: user code, 40H: TSS
      0x5000: code().raw(0x41, 0xff, 0xc7).mov(DX, PRINT).movAl(0x73).outDxAl().raw(0x48, 0x0f, 0x07), // SYSCALL: INC R15D; 's'; SYSRETQ
      0x5100: code().mov(DX, PRINT).movAl(0x69).outDxAl().raw(0x8c, 0xc8, 0x41, 0x89, 0xc5).iretq(), // interrupt 80H: 'i'; MOV EAX, CS; MOV R13D, EAX
      0x5200: code().mov(DX, PRINT).movAl(0x67).outDxAl().raw(0x41, 0x5c).end(), // #GP: 'g'; POP R12
      0x6000: code().raw(0x0f, 0x05).raw(0xcd, 0x80).raw(0x0f, 0x05).raw(0x8c, 0xc8, 0x41, 0x89, 0xc6).hlt(), // SYSCALL; INT 80H; SYSCALL; CS to R14D; HLT is #GP
      0x7004: longs(BigInt(STACK)),
    },
    handlers: { 0x80: 0x5100, 13: 0x5200 },
    apply: ({ hooks }, { memory }) =>
      hooks.loaded.tap('user', () => {
        userPages(memory);
        gateForUser(memory, 0x80);
      }),
  },
  { output: 'sisg', registers: { r15: 2n, r14: 0x33n, r13: 0x18n, r12: 0n }, events: ['hlt'] },
  ['user-calls'],
);

conform(
  'a triple fault ends the run',
  {
    mode: 'protected32',
    state: { idtr: { base: BigInt(IDT), limit: 0 } },
    code: code().ud2(),
  },
  { reason: 'triple-fault', events: ['triple-fault'], rip: 0x1000n },
  ['shutdown-state'],
);
