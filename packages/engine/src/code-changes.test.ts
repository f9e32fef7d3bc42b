/** Code that changes: the processor decodes once and keeps the result, and yet sees every change (SDM 3A 10.6, 13.1.3). */
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { BareGuest, CODE, STACK, le32 } from '../assembly/system/test/bare-guest.js';

let g: BareGuest;
beforeAll(async () => {
  g = await BareGuest.create();
});
beforeEach(() => {
  g.protectedMode();
});

const HLT = 0xf4;
const AX = 0,
  BX = 3,
  CX = 1,
  SI = 6,
  DI = 7;
const set = (register: number, value: number): number[] => [0xb8 + register, ...le32(value)];
const al = (): number => g.engine.getRegister32(AX) & 0xff;
/** Runs what is in memory from `at`. */
function go(at: number): void {
  g.engine.rip = BigInt(at);
  g.resume();
}

describe('a program that writes its own code', () => {
  test('the very next instruction', () => {
    g.run([0xc6, 0x05, ...le32(CODE + 8), 7, 0xb0, 1, HLT]); // mov byte [CODE+8], 7; mov al, 1
    expect(al()).toBe(7);
  });

  test('an instruction of a loop that has run already', () => {
    const body = CODE + 10; // mov al, 0; add bl, al; inc byte [the 0]; loop
    g.run([...set(BX, 0), ...set(CX, 5), 0xb0, 0, 0x00, 0xc3, 0xfe, 0x05, ...le32(body + 1), 0xe2, 0xf4, HLT]);
    expect(g.engine.getRegister32(BX) & 0xff).toBe(0 + 1 + 2 + 3 + 4);
  });

  test('with a repeated string instruction', () => {
    g.code([0xb0, 42, HLT], 0x9000);
    // rep movsb of 3 bytes over what follows it
    const after = CODE + 17;
    g.run([...set(SI, 0x9000), ...set(DI, after), ...set(CX, 3), 0xf3, 0xa4, 0xb0, 1, HLT]);
    expect(al()).toBe(42);
  });

  test('in the part of an instruction that lies in the next page', () => {
    const at = 0x9ffe; // mov eax, imm32: opcode and first byte in one page, the rest in the next
    g.code([...set(AX, 0x11111111), HLT], at);
    go(at);
    expect(g.engine.getRegister32(AX)).toBe(0x11111111);
    g.run([0xc6, 0x05, ...le32(0xa000), 0x22, 0xe9, ...le32(at - (CODE + 12))]);
    expect(g.engine.getRegister32(AX)).toBe(0x11112211);
  });

  test('with a write that crosses into the page of the code', () => {
    const at = 0xb000;
    g.code([0xb0, 1, HLT], at);
    go(at);
    expect(al()).toBe(1);
    // mov dword [0xaffe], 0x05b00000: the last two bytes are mov al, 5
    g.run([0xc7, 0x05, ...le32(0xaffe), ...le32(0x05b00000), 0xe9, ...le32(at - (CODE + 15))]);
    expect(al()).toBe(5);
  });

  test('by the return address of a call, into the target of that call', () => {
    // The call at 8100h pushes 00008105h. Over the target "mov eax, 1; ret" that makes "add eax, 81h; ret".
    const call = 0x8100,
      target = 0x8200;
    g.code([0xe8, ...le32(target - (call + 5)), HLT], call);
    g.code([...set(AX, 1), 0xc3], target);
    g.engine.setRegister(4, BigInt(STACK));
    go(call);
    expect(g.engine.getRegister32(AX)).toBe(1);
    g.engine.setRegister(4, BigInt(target + 4));
    g.engine.setRegister(AX, 0n);
    go(call);
    expect(g.engine.getRegister32(AX)).toBe(0x81);
  });

  test('one instruction at a time, with the trap flag', () => {
    g.engine.rflags = 0x102;
    const stop = g.run([0xc6, 0x05, ...le32(CODE + 8), 7, 0xb0, 1, HLT]);
    expect(stop.vector).toBe(1); // behind the write
    g.engine.rip = BigInt(CODE + 7);
    g.engine.rflags = 2;
    g.resume();
    expect(al()).toBe(7);
  });
});

describe('an alias', () => {
  test('code is kept by its physical address: a write through another linear one is seen', () => {
    // 64-bit mode: linear 0x200000 + x is made an alias of x
    g.longMode();
    g.write64(0x42008, 0x87n);
    g.engine.touchGuest();
    const at = CODE;
    g.code([0xb0, 1, HLT], at);
    go(at);
    expect(al()).toBe(1);
    go(0x200000 + at);
    expect(al()).toBe(1);
    // mov byte [rip-relative alias], 9, then run both
    g.code([0xc6, 0x04, 0x25, ...le32(0x200000 + at + 1), 9, HLT], 0x9000);
    go(0x9000);
    go(at);
    expect(al()).toBe(9);
    go(0x200000 + at);
    expect(al()).toBe(9);
  });
});

describe('a device', () => {
  test('what it writes to guest memory is run', () => {
    g.code([0xb0, 1, HLT], CODE);
    go(CODE);
    expect(al()).toBe(1);
    g.engine.memory.writeU8(CODE + 1, 77);
    go(CODE);
    expect(al()).toBe(77);
  });

  test('data beside code change without the code being decoded anew', () => {
    const COUNTERS_BLOCKS = (0x2300 + 8) >>> 2;
    // 1000 writes to a variable in the page of the loop
    g.run([...set(CX, 1000), 0xff, 0x05, ...le32(CODE + 0x800), 0xe2, 0xf8, HLT]);
    const made = g.engine.words[COUNTERS_BLOCKS];
    g.engine.setRegister(CX, 1000n);
    go(CODE + 5);
    expect(g.read32(CODE + 0x800)).toBe(2000);
    expect(g.engine.words[COUNTERS_BLOCKS] - made).toBeLessThan(4);
  });
});
