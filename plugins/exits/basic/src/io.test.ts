/** IN, OUT, INS, OUTS, on a backend that plays scripts. */
import { describe, expect, it } from 'vitest';
import { Segment } from '@visorkit/core';
import { inExit, outExit, stringIoExit } from '@visorkit/testkit';
import { injected, play } from './test-play.js';

describe('IN, OUT, INS, OUTS', () => {
  it('sends accesses to the bus, and the rest of RAX stays', async () => {
    const written: string[] = [];
    const { vcpu } = await play(
      [outExit(0x10, 0xab), inExit(0x10, 1), inExit(0x7777, 2)],
      ({ hooks }, used) => {
        used.ports.register(
          0x10,
          4,
          {
            readPort: (port, size) => port + size,
            writePort: (port, size, value) => written.push(`${port} ${size} ${value}`),
          },
          'd',
        );
        hooks.afterExit.tap('x', (exit, v) => {
          if (exit.io.port === 0x10 && exit.io.input) expect(exit.io.value).toBe(0x11);
          else if (exit.io.input) expect(v.rax).toBe(0x1111_2222_3333_4411n);
        });
      },
      (v) => {
        v.rax = 0x1111_2222_3333_4444n;
      },
    );
    expect(written).toEqual(['16 1 171']);
    expect(vcpu.rax).toBe(0x1111_2222_3333_ffffn);
  });

  it('repeats INS and OUTS with the direction flag, and advances the registers', async () => {
    const out: number[] = [];
    let next = 0x10;
    const device: SetUp = (_host, used) => {
      used.ports.register(0x1f0, 1, { readPort: () => next++, writePort: (_p, _s, value) => out.push(value) }, 'd');
      used.ports.register(
        0x1f8,
        4,
        { readPort: () => 0, writePort: (_p, size, value) => out.push(size * 0x1000_0000_0000 + value) },
        'e',
      );
    };
    const ins = await play([stringIoExit(0x1f0, 1, true)], device, (v) => {
      v.rcx = 4n;
      v.rdi = 0x1000n;
    });
    expect([...ins.vmm.memory.read(0x1000, 5)]).toEqual([0x10, 0x11, 0x12, 0x13, 0]);
    expect([ins.vcpu.rcx, ins.vcpu.rdi, ins.vcpu.log[0]]).toEqual([0n, 0x1004n, 'complete']);
    const outs = await play([stringIoExit(0x1f8, 4, false)], device, (v) => {
      v.rcx = 2n;
      v.rsi = 0x2004n;
      v.rflags = 0x402n;
    });
    expect([outs.vcpu.rcx, outs.vcpu.rsi]).toEqual([0n, 0x1ffcn]);
    expect(out).toEqual([4 * 0x1000_0000_0000, 4 * 0x1000_0000_0000]);
    const none = await play([stringIoExit(0x1f0, 1, true)], device, (v) => {
      v.rcx = 0n;
      v.rdi = 0x1000n;
    });
    expect([none.vcpu.rdi, none.vcpu.log[0]]).toEqual([0x1000n, 'complete']);
  });

  it('stops at the element that faults, with #PF and CR2, and can go on', async () => {
    const { vcpu, vmm } = await play(
      [stringIoExit(0x1f0, 2, true)],
      (_host, used) => {
        used.ports.register(0x1f0, 2, { readPort: () => 0xbeef, writePort() {} }, 'd');
      },
      (v) => {
        v.rcx = 4n;
        v.rdi = 0xffdn;
        v.unmapped = (linear) => linear >= 0x1000n;
      },
    );
    expect([vcpu.rcx, vcpu.rdi, vcpu.controlRegisters.get(2)]).toEqual([3n, 0xfffn, 0x1000n]);
    expect(injected(vcpu)).toEqual(['exception 14 0x2']);
    expect([...vmm.memory.read(0xffd, 3)]).toEqual([0xef, 0xbe, 0]);
  });

  it('checks the limit of the segment outside 64-bit mode', async () => {
    const { vcpu } = await play([stringIoExit(0x1f0, 1, false)], undefined, (v) => {
      v.codeBits = 16;
      v.setSegment(Segment.DS, { selector: 0, base: 0x100n, limit: 0xff, accessRights: 0x93 });
      v.rcx = 5n;
      v.rsi = 0xfen;
    });
    expect([vcpu.rcx, vcpu.rsi]).toEqual([3n, 0x100n]);
    expect(injected(vcpu)).toEqual(['exception 13 0x0']);
  });

  it('gives long repeats back to the run loop now and then', async () => {
    const { vcpu } = await play([stringIoExit(0x1f0, 1, true)], undefined, (v) => {
      v.rcx = 5000n;
      v.rdi = 0n;
    });
    expect(vcpu.rcx).toBe(5000n - 1024n);
    expect(vcpu.log[0]).toBe('complete');
    expect(vcpu.log).toHaveLength(1);
  });
});
