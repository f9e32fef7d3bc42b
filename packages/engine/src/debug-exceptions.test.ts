/** Single steps, breakpoints and general detect, and what counts branches: PAUSE-loop exiting, BTF (SDM 3B 18; SDM 3C 26.1.3). */
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { VmcsField as F } from '@visorkit/x86';
import { CODE, KERNEL_CODE, STACK, le32 } from '../assembly/system/test/bare-guest.js';

import { HLT, g, makeBareGuest, resetBareGuest, wrmsr } from './test-bare.js';

beforeAll(makeBareGuest);
beforeEach(resetBareGuest);

describe('debug exceptions', () => {
  test('single step: MOV SS holds the trap back, POPF that clears TF does not', () => {
    const steps: number[] = [];
    g.gate(1, KERNEL_CODE, 0x9f00, 0x8e);
    g.code([HLT, 0x48, 0xcf], 0x9f00); // HLT, IRETQ
    const body = [
      0x9c,
      0x81,
      0x0c,
      0x24,
      ...le32(0x100),
      0x9d,
      0x90,
      0x8e,
      0xd0,
      0x90,
      0x9c,
      0x81,
      0x24,
      0x24,
      ...le32(~0x100),
      0x9d,
      HLT,
    ];
    g.engine.setRegister32(0, 0x10);
    let stop = g.run(body);
    while (stop.rip === 0x9f00) {
      steps.push(stop.stack[0] - CODE);
      expect(Number(g.engine.getDebugRegister(6)) & 0x4000).toBe(0x4000);
      g.stepOver();
      stop = g.resume();
    }
    expect(steps).toEqual([10, 13, 14, 21, 22]);
  });
  test('a data breakpoint traps after the access, an execution breakpoint faults before', () => {
    g.engine.setDebugRegister(0, 0x9000n);
    g.engine.setDebugRegister(7, 0x000d0401n); // writes of 4 bytes
    let stop = g.run([0x8b, 0x04, 0x25, ...le32(0x9000), 0xc6, 0x04, 0x25, ...le32(0x9003), 1, 0x90]);
    expect([stop.vector, stop.stack[0], stop.stack[2] & 0x10000, Number(g.engine.getDebugRegister(6)) & 15]).toEqual([
      1,
      CODE + 15,
      0,
      1,
    ]);
    g.longMode();
    g.engine.setDebugRegister(1, BigInt(CODE + 1));
    g.engine.setDebugRegister(7, 0x404n);
    stop = g.run([0x90, 0x90]);
    expect([stop.vector, stop.stack[0], Number(g.engine.getDebugRegister(6)) & 15]).toEqual([1, CODE + 1, 2]);
  });
  test('between iterations of a repeated string instruction RF is 1, and its execution breakpoint is not met again', () => {
    /** RF in the images that the handler sees; it goes on with `flags` set besides. */
    const images = (code: number[], flags = 0): number[] => {
      const list: number[] = [];
      for (let stop = g.run(code); stop.vector === 1 && list.length < 10; stop = g.resume()) {
        list.push(stop.stack[2] & 0x10000);
        g.engine.rip = BigInt(stop.stack[0]);
        g.engine.rflags = stop.stack[2] | flags;
        g.engine.setRegister(4, BigInt(stop.stack[3]));
      }
      return list;
    };
    g.engine.setRegister32(1, 3);
    g.engine.setRegister32(7, 0x9000);
    // PUSHFQ; OR WORD [RSP], 100H; POPFQ; REP STOSB; NOP; HLT
    expect(images([0x9c, 0x66, 0x81, 0x0c, 0x24, 0, 1, 0x9d, 0xf3, 0xaa, 0x90, HLT])).toEqual([0x10000, 0x10000, 0, 0]);
    g.longMode();
    g.engine.setRegister32(1, 3);
    g.engine.setRegister32(7, 0x9000);
    g.engine.setDebugRegister(1, BigInt(CODE));
    g.engine.setDebugRegister(7, 0x404n);
    expect(images([0xf3, 0xaa, HLT], 0x10000)).toEqual([0]); // before the first alone; the handler sets RF
    expect(g.engine.getRegister32(1)).toBe(0);
  });
  test('MOV SS suppresses an execution breakpoint on the instruction behind it', () => {
    g.engine.setDebugRegister(1, BigInt(CODE + 2));
    g.engine.setDebugRegister(7, 0x404n);
    g.engine.setRegister32(0, 0x10);
    const stop = g.run([0x8e, 0xd0, 0x90, HLT]); // MOV SS, AX
    expect([stop.vector, stop.reason, stop.rip]).toEqual([-1, 12, CODE + 3]);
  });
  test('a data breakpoint that MOV SS holds back is told with the #DB of INT1, once', () => {
    g.write32(0x9000, 0x10);
    g.engine.setDebugRegister(1, 0x9000n);
    g.engine.setDebugRegister(7, 0x00f0040cn); // reads and writes of 4 bytes
    let stop = g.run([0x8e, 0x14, 0x25, ...le32(0x9000), 0xf1]);
    expect([stop.vector, stop.stack[0], Number(g.engine.getDebugRegister(6)) & 0x400f]).toEqual([1, CODE + 8, 2]);
    g.stepOver();
    expect(g.resume().rip).toBe(0x5011); // the next HLT of the handler, not the handler once more
    g.longMode();
    g.write32(0x9000, 0x10);
    g.engine.setDebugRegister(1, 0x9000n);
    g.engine.setDebugRegister(7, 0x00f0040cn);
    // INT n is delivered first; the breakpoint traps at the first instruction of its handler (SDM 3A 6.8.3)
    stop = g.run([0x8e, 0x14, 0x25, ...le32(0x9000), 0xcd, 0x40]);
    expect([stop.vector, stop.stack[0]]).toEqual([1, 0x5000 + 0x400]);
  });
  test('RF in the image lets the instruction pass once', () => {
    g.engine.setDebugRegister(1, 0x9000n);
    g.engine.setDebugRegister(7, 0x404n);
    g.code([0xeb, 0xfe], 0x9000); // JMP to itself
    const image = 0x10002;
    const stop = g.run([
      0x68,
      ...le32(0x10),
      0x68,
      ...le32(STACK),
      0x68,
      ...le32(image),
      0x68,
      ...le32(KERNEL_CODE),
      0x68,
      ...le32(0x9000),
      0x48,
      0xcf,
    ]);
    expect([stop.vector, stop.stack[0]]).toEqual([1, 0x9000]);
  });
  test('general detect', () => {
    g.engine.setDebugRegister(7, 0x2400n);
    const stop = g.run([0x0f, 0x21, 0xc0]);
    expect([
      stop.vector,
      stop.stack[0],
      Number(g.engine.getDebugRegister(6)) & 0x2000,
      Number(g.engine.getDebugRegister(7)),
    ]).toEqual([1, CODE, 0x2000, 0x400]);
  });
  test('an intercepted #DB reports its cause and leaves DR6 alone', () => {
    g.engine.vmcs.write32(F.EXCEPTION_BITMAP, 2);
    expect(g.run([0x9c, 0x81, 0x0c, 0x24, ...le32(0x100), 0x9d, 0x90]).reason).toBe(0);
    expect(g.engine.vmcs.read32(F.EXIT_QUALIFICATION)).toBe(0x4000);
    expect(Number(g.engine.getDebugRegister(6))).toBe(0xffff0ff0);
  });
});

describe('loops and branches', () => {
  test('PAUSE-loop exiting: only a loop at CPL 0 that lasts longer than the window', () => {
    const { vmcs } = g.engine;
    vmcs.write32(F.SECONDARY_CONTROLS, 0x108a | (1 << 10));
    vmcs.write32(F.PLE_GAP, 100);
    vmcs.write32(F.PLE_WINDOW, 1000);
    const before = g.engine.retired;
    expect(g.run([0xf3, 0x90, 0xeb, 0xfc]).reason).toBe(40);
    expect(g.engine.retired - before).toBeGreaterThan(1000);
    expect(g.engine.retired - before).toBeLessThan(1010);
    expect(g.run([0xf3, 0x90, HLT]).reason).toBe(12);
    vmcs.write32(F.SECONDARY_CONTROLS, 0x108a);
  });
  test('with BTF a single step traps behind taken branches only', () => {
    const stop = g.run([
      ...wrmsr(0x1d9, 2n),
      0x9c,
      0x81,
      0x0c,
      0x24,
      ...le32(0x100),
      0x9d,
      0x90,
      0x74,
      0x00,
      0x90,
      0xeb,
      0x01,
      0x90,
      0x90,
    ]);
    expect([stop.vector, stop.stack[0]]).toEqual([1, CODE + 17 + 9 + 7]);
    expect(g.engine.readMsr(0x1d9)).toBe(0n);
  });
});
