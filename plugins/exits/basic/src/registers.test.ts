/** CPUID, MSRs and control registers, on a backend that plays scripts. */
import { describe, expect, it } from 'vitest';
import { ExitReason, Gpr } from '@visorkit/core';
import { MsrBusToken, compose } from '@visorkit/machine';
import { anExit, cpuidExit, fakeBackend, rdmsrExit, wrmsrExit } from '@visorkit/testkit';
import { exits } from './index.js';
import { CPUID, apicsOf, injected, play, watch } from './test-play.js';

describe('CPUID', () => {
  it('gives the leaf, zeros for a hole, the highest basic leaf above a range', async () => {
    const seen: number[][] = [];
    await play(
      [
        cpuidExit(0x8000_0001),
        cpuidExit(2),
        cpuidExit(0x0d, 2),
        cpuidExit(0x1000),
        cpuidExit(0x4000_0000),
        cpuidExit(0x9000_0000),
      ],
      watch(seen),
    );
    expect(seen.slice(0, 3)).toEqual([
      [1, 2, 3, 4],
      [0, 0, 0, 0],
      [256, 576, 0, 0],
    ]);
    expect(seen[3].slice(0, 1)).toEqual([7]);
    expect(seen[4]).toEqual(seen[3]);
    expect(seen[5]).toEqual(seen[3]);
  });

  it('lacks what IA32_MISC_ENABLE takes away: MONITOR, leaves above 2, execute-disable (SDM 4, table 2-2)', async () => {
    const answers = async (value: bigint): Promise<unknown[]> => {
      const seen: number[][] = [],
        table = [...CPUID].map((each) =>
          each.leaf === 1
            ? { ...each, ecx: each.ecx | 8 }
            : each.leaf === 0x8000_0001
              ? { ...each, edx: 1 << 20 }
              : each,
        );
      const backend = fakeBackend([cpuidExit(0), cpuidExit(1), cpuidExit(0x8000_0001)], {
        cpuid: table,
        vcpu: (vcpu) => vcpu.msrs.set(0x1a0, value),
        controls: { primary: new Set(['hlt-exiting', 'mwait-exiting', 'cr8-load-exiting', 'cr8-store-exiting']) },
      });
      await using vmm = compose({
        backend,
        memory: 0x10000,
        time: 'virtual',
        plugins: [{ name: 'test', apply: watch(seen) }, ...exits()],
      });
      await vmm.run({ maxInstructions: 10_000 });
      return [seen[0][0], (seen[1][2] & 8) !== 0, (seen[2][3] & (1 << 20)) !== 0];
    };
    expect(await answers(0x41801n)).toEqual([0x0d, true, true]);
    expect(await answers(0x01801n)).toEqual([0x0d, false, true]);
    expect(await answers((1n << 34n) | (1n << 22n) | 0x41801n)).toEqual([2, true, false]);
  });

  it('follows CR4, XCR0 and the local APIC', async () => {
    const seen: number[][] = [];
    const apic = { cr8: 0, enabled: true, x2apic: false, id: 3 };
    await play(
      [cpuidExit(1), cpuidExit(7), cpuidExit(0x0d), cpuidExit(0x0d, 1)],
      watch(seen),
      (vcpu) => {
        vcpu.controlRegisters.set(4, (1n << 18n) | (1n << 22n));
        vcpu.xcr0 = 7n;
        vcpu.msrs.set(0xda0, 0n);
      },
      [apicsOf(apic)],
    );
    expect(seen[0][1] >>> 24).toBe(3);
    expect(seen[0][2] & (1 << 27)).not.toBe(0);
    expect(seen[0][3] & (1 << 9)).not.toBe(0);
    expect(seen[1][2]).toBe(0x10);
    expect(seen[2][1]).toBe(832);
    expect(seen[3][1]).toBe(832);
    const off: number[][] = [];
    await play([cpuidExit(1), cpuidExit(7), cpuidExit(0x0d)], watch(off));
    expect([off[0][2] & (1 << 27), off[0][3] & (1 << 9), off[1][2], off[2][1]]).toEqual([0, 0, 0, 576]);
  });

  it('shows what plugins change', async () => {
    const seen: number[][] = [];
    await play([cpuidExit(0x8000_0001)], (host, { table }) => {
      table.patch(0x8000_0001, 0, ({ edx }) => ({ edx: edx | 0x100 }));
      table.atExecution(0x8000_0001, (result) => {
        result[0] = 77;
      });
      watch(seen)(host);
    });
    expect(seen[0]).toEqual([77, 2, 3, 0x104]);
  });
});

describe('RDMSR and WRMSR', () => {
  it('asks the bus, then the processor, and refuses the rest with #GP(0)', async () => {
    const device = new Map([[0x800, 0x1234_5678_9abcn]]);
    const { vcpu } = await play(
      [rdmsrExit(0x800), wrmsrExit(0x800, 5n), wrmsrExit(0x277, 6n), rdmsrExit(0xdead), wrmsrExit(0xdead, 1n)],
      ({ hooks }, used) => {
        used.msrs.register(
          0x800,
          1,
          {
            readMsr: (index) => device.get(index),
            writeMsr: (index, value) => {
              device.set(index, value);
              return true;
            },
          },
          'dev',
        );
        let first = true;
        hooks.afterExit.tap('w', (_exit, v) => {
          if (first) expect([v.getRegister32(Gpr.RAX), v.getRegister32(Gpr.RDX)]).toEqual([0x5678_9abc, 0x1234]);
          first = false;
        });
      },
    );
    expect(device.get(0x800)).toBe(5n);
    expect(vcpu.msrs.get(0x277)).toBe(6n);
    expect(injected(vcpu)).toEqual(['exception 13 0x0', 'exception 13 0x0']);
  });

  it('keeps platform registers the CPUID promises, with their reserved bits', async () => {
    const { vcpu, vmm } = await play([
      wrmsrExit(0x200, 0xc000_0006n),
      wrmsrExit(0x200, 1n << 60n),
      wrmsrExit(0x2ff, 0xc06n),
      wrmsrExit(0xfe, 0n),
      wrmsrExit(0x250, 0x0606_0606_0606_0606n),
      wrmsrExit(0x8b, 0n),
    ]);
    const bus = vmm.services.get(MsrBusToken);
    const read = (index: number) => bus.find(index)?.readMsr(index, 0);
    expect([read(0x200), read(0x2ff), read(0xfe), read(0x250), read(0x8b)]).toEqual([
      0xc000_0006n,
      0xc06n,
      0x508n,
      0x0606_0606_0606_0606n,
      1n << 32n,
    ]);
    expect(injected(vcpu)).toEqual(['exception 13 0x0', 'exception 13 0x0']);
    expect(bus.find(0x277)).toBeUndefined();
  });

  it('takes the command to flush branch predictions, which cannot be read', async () => {
    const { vcpu } = await play([wrmsrExit(0x49, 1n), rdmsrExit(0x49), wrmsrExit(0x49, 2n)]);
    expect(injected(vcpu)).toEqual(['exception 13 0x0', 'exception 13 0x0']);
  });
});

describe('control registers', () => {
  const access = (cr: number, type: number, gpr: number, source = 0) =>
    anExit(ExitReason.CONTROL_REGISTER, (exit) => {
      exit.qualification = (source << 16) | (gpr << 8) | (type << 4) | cr;
    });

  it('moves, clears TS, and does LMSW without clearing PE', async () => {
    const { vcpu } = await play(
      [access(0, 0, 3), access(0, 1, 6), access(0, 2, 0), access(0, 3, 0, 0b1000), access(3, 0, 7)],
      undefined,
      (v) => {
        v.rbx = 0x8000_003bn;
        v.rdi = 0x5000n;
      },
    );
    expect(vcpu.rsi).toBe(0x8000_003bn);
    expect(vcpu.controlRegisters.get(0)).toBe(0x8000_0039n);
    expect(vcpu.controlRegisters.get(3)).toBe(0x5000n);
    expect(injected(vcpu)).toEqual([]);
  });

  it('gives #GP(0) for values the instruction refuses', async () => {
    for (const [cr, value, before] of [
      [0, 1n << 31n, {}],
      [0, 1n << 29n, {}],
      [0, 1n << 40n, {}],
      [4, 1n << 17n, {}],
      [4, 0n, { lma: true }],
      [8, 16n, {}],
    ] as const) {
      const { vcpu } = await play([access(cr, 0, 0)], undefined, (v) => {
        v.rax = value;
        if ('lma' in before) v.efer = 1n << 10n;
      });
      expect([cr, value, injected(vcpu)]).toEqual([cr, value, ['exception 13 0x0']]);
    }
  });

  it('sends CR8 to the local APIC', async () => {
    const apic = { cr8: 0, enabled: true, x2apic: false, id: 0 };
    const { vcpu } = await play(
      [access(8, 0, 0), access(8, 1, 2)],
      undefined,
      (v) => {
        v.rax = 9n;
      },
      [apicsOf(apic)],
    );
    expect(apic.cr8).toBe(9);
    expect(vcpu.rdx).toBe(9n);
  });
});
