/** Memory-mapped devices on the vmx backend. */
import { describe, expect, it } from 'vitest';
import { Stage } from '@visorkit/core';
import { InterruptSourceToken } from '@visorkit/machine';
import { providing } from '@visorkit/testkit';
import { HLT, flat32, run } from './test-guest.js';
import type { Added } from './test-guest.js';

describe('memory-mapped devices', () => {
  const DEVICE = 0xd000_0000;

  /** A device that answers with its offset and remembers writes. */
  const device = (log: string[]): Added => ({
    apply(_host, used) {
      used.mmio.register(
        DEVICE,
        0x2000,
        {
          readMmio: (offset, size) => {
            log.push(`read ${offset} ${size}`);
            return offset + 1;
          },
          writeMmio: (offset, size, value) => {
            log.push(`write ${offset} ${size} ${value}`);
          },
        },
        'device',
      );
    },
  });

  it('see each access once, whatever the instruction', async () => {
    const log: string[] = [];
    // PUSH [ESI]; ADD [ESI+8], EAX; XCHG [ESI+12], AL
    const { vcpu } = await run([0xff, 0x36, 0x01, 0x46, 0x08, 0x86, 0x46, 0x0c, HLT], {
      state: { ...flat32, registers: { rsi: BigInt(DEVICE), rax: 0x20n } },
      plugin: device(log),
    });
    expect(log).toEqual(['read 0 4', 'read 8 4', 'write 8 4 41', 'read 12 1', 'write 12 1 32']);
    expect(vcpu.getRegister32(0)).toBe(13);
  });

  it('get wide and page-crossing accesses in pieces', async () => {
    const log: string[] = [];
    // MOVDQU XMM0, [ESI] with CR4.OSFXSR; MOV [EDI], EAX across a page
    await run([0xf3, 0x0f, 0x6f, 0x06, 0x89, 0x07, HLT], {
      state: {
        ...flat32,
        cr4: 0x200n,
        registers: { rsi: BigInt(DEVICE), rdi: BigInt(DEVICE + 0xffd), rax: 0x4433_2211n },
      },
      plugin: device(log),
    });
    expect(log.slice(0, 4)).toEqual(['read 0 4', 'read 4 4', 'read 8 4', 'read 12 4']);
    expect(log.slice(4)).toEqual([
      `write ${0xffd} 2 ${0x2211}`,
      `write ${0xfff} 1 ${0x33}`,
      `write ${0x1000} 1 ${0x44}`,
    ]);
  });

  it('lie over RAM where they claim it, and give it back', async () => {
    const log: string[] = [];
    const over = 0xb_8000;
    let undo = (): void => {};
    // MOV EAX, [ESI]; MOV [ESI], AL; MOV EBX, [ESI-4]; MOV ECX, [ESI+2000H]; OUT 10H, AL; MOV EDX, [ESI]; HLT
    const code = [0x8b, 0x06, 0x88, 0x06, 0x8b, 0x5e, 0xfc, 0x8b, 0x8e, 0, 0x20, 0, 0, 0xe6, 0x10, 0x8b, 0x16, HLT];
    const { vcpu, memory } = await run(code, {
      state: { ...flat32, registers: { rsi: BigInt(over) } },
      plugin: {
        apply(_host, { mmio, ports, memory: ram }) {
          for (const [gpa, value] of [
            [over - 4, 0x11],
            [over, 0x22],
            [over + 0x2000, 0x33],
          ])
            ram.writeU32(gpa, value);
          undo = mmio.register(
            over,
            0x2000,
            {
              readMmio: (offset) => offset + 0x41,
              writeMmio: (offset, _size, value) => log.push(`${offset} ${value}`),
            },
            'screen',
          );
          ports.register(0x10, 1, { readPort: () => 0, writePort: () => undo() }, 'switch');
        },
      },
    });
    expect(log).toEqual(['0 65']);
    const [eax, ecx, edx, ebx] = [0, 1, 2, 3].map((register) => vcpu.getRegister32(register));
    expect([eax, ebx, ecx, edx]).toEqual([0x41, 0x11, 0x33, 0x22]);
    expect(memory.readU32(over)).toBe(0x22);
  });

  it('are not accessed again when an interrupt waits', async () => {
    const log: string[] = [];
    let pending = false;
    const source = {
      pending: () => pending,
      acknowledge: () => {
        pending = false;
        return 0x40;
      },
    };
    const { apply } = device(log);
    // STI; MOV EAX, [ESI]; NOP; HLT
    const { vcpu } = await run([0xfb, 0x90, 0x8b, 0x06, 0x90, HLT], {
      state: {
        ...flat32,
        registers: { rsi: BigInt(DEVICE), rsp: 0x8000n },
        idtr: { base: 0x3000n, limit: 0x7ff },
        gdtr: { base: 0x2000n, limit: 0xff },
      },
      plugin: {
        apply(host, used) {
          apply!(host, used);
          host.hooks.afterExit.tap('raise', (exit) => {
            if (exit.mmio.valid) pending = true;
          });
          host.hooks.load.tap({ name: 'idt', stage: Stage.Fallback }, async () => {
            const memory = used.memory;
            memory.writeU64(0x2008, 0x00cf9b000000ffffn);
            memory.writeU64(0x2010, 0x00cf93000000ffffn);
            memory.writeU64(0x3000 + 0x40 * 8, 0x0000_8e00_0008_4000n);
            memory.write(0x4000, Uint8Array.of(0x43, 0xcf)); // INC EBX; IRET
          });
        },
      },
      others: [providing(InterruptSourceToken, source)],
      maxInstructions: 1000,
    });
    expect(log).toEqual(['read 0 4']);
    expect([vcpu.getRegister32(0), vcpu.getRegister32(3)]).toEqual([1, 1]);
  });
});
