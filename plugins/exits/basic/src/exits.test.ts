/** Every handler of an exit, on a backend that plays scripts. */
import { describe, expect, it } from 'vitest';
import fc from 'fast-check';
import {
  ExitReason,
  Gpr,
  InterruptSourceToken,
  RESUME,
  Segment,
  SystemControlToken,
  WAIT,
  definePlugin,
} from '@visorkit/core';
import type { CpuidEntry, Plugin, PluginHost, Used, Vmm } from '@visorkit/core';
import {
  CpuidTableToken,
  LocalApicsToken,
  MmioBusToken,
  MsrBusToken,
  PortBusToken,
  TimerQueueToken,
  compose,
} from '@visorkit/machine';
import type { LocalApicPort, LocalApics } from '@visorkit/machine';
import {
  anExit,
  cpuidExit,
  fakeBackend,
  hltExit,
  inExit,
  mmioReadExit,
  mmioWriteExit,
  outExit,
  providing,
  rdmsrExit,
  stringIoExit,
  wrmsrExit,
} from '@visorkit/testkit';
import type { FakeVcpu, ScriptedExit } from '@visorkit/testkit';
import { exits, isValidXcr0 } from './index.js';

const entry = (leaf: number, eax: number, ebx: number, ecx: number, edx: number, subleaf?: number): CpuidEntry => ({
  leaf,
  subleaf: subleaf ?? 0,
  indexed: subleaf !== undefined,
  eax,
  ebx,
  ecx,
  edx,
});

const CPUID: CpuidEntry[] = [
  entry(0, 0x0d, 0x756e6547, 0x6c65746e, 0x49656e69),
  entry(1, 0x906ea, 0x0500_0800, 0x0800_0000, 0x0000_1281),
  entry(7, 0, 0x20, 0x10, 0x0400_0000, 0),
  entry(0x0d, 7, 576, 832, 0, 0),
  entry(0x0d, 0xa, 0, 0, 0, 1),
  entry(0x0d, 256, 576, 0, 0, 2),
  entry(0x8000_0000, 0x8000_0008, 0, 0, 0),
  entry(0x8000_0001, 1, 2, 3, 4),
  entry(0x8000_0008, 0x3028, 0, 0, 0),
];

interface Played {
  vmm: Vmm;
  vcpu: FakeVcpu;
  report: Awaited<ReturnType<Vmm['run']>>;
}

const USES = {
  ports: PortBusToken,
  mmio: MmioBusToken,
  msrs: MsrBusToken,
  table: CpuidTableToken,
  timers: TimerQueueToken,
  system: SystemControlToken,
};
type SetUp = (host: PluginHost, used: Used<typeof USES>) => void;

/** Plays a script with all handlers; `setUp` is applied as one more plugin, beside `others`. */
async function play(
  script: readonly ScriptedExit[],
  setUp: SetUp = () => {},
  prepare: (vcpu: FakeVcpu) => void = () => {},
  others: readonly Plugin[] = [],
): Promise<Played> {
  const backend = fakeBackend(script, {
    cpuid: CPUID,
    vcpu: prepare,
    controls: { primary: new Set(['hlt-exiting', 'mwait-exiting', 'cr8-load-exiting', 'cr8-store-exiting']) },
  });
  const vmm = compose({
    backend,
    memory: 0x10000,
    time: 'virtual',
    plugins: [definePlugin({ name: 'test', uses: USES, apply: setUp }), ...others, ...exits()],
  });
  const report = await vmm.run({ maxInstructions: 10_000 });
  return { vmm, vcpu: backend.vcpus[0], report };
}

/** Registers RAX, RBX, RCX, RDX after each exit. */
function watch(into: number[][]): (host: PluginHost) => void {
  return ({ hooks }) =>
    hooks.afterExit.tap('watch', (_exit, vcpu) => {
      into.push([
        vcpu.getRegister32(Gpr.RAX),
        vcpu.getRegister32(Gpr.RBX),
        vcpu.getRegister32(Gpr.RCX),
        vcpu.getRegister32(Gpr.RDX),
      ]);
    });
}

const apicsOf = (apic: LocalApicPort): Plugin =>
  providing(LocalApicsToken, { forVcpu: () => apic, sendMessage() {} } as unknown as LocalApics);

const injected = (vcpu: FakeVcpu): string[] =>
  vcpu.log.filter((line) => line.startsWith('exception') || line.startsWith('event'));

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

describe('EPT violations', () => {
  it('sends MMIO to the bus, eight bytes as two accesses', async () => {
    const log: string[] = [];
    const values: number[][] = [];
    await play(
      [
        mmioWriteExit(0xfec0_0010, 0x1234, 2),
        mmioWriteExit(0xfec0_0008, 1, 8, 2),
        mmioReadExit(0xfec0_0000, 8),
        mmioReadExit(0xd000_0000, 4),
        mmioReadExit(0xd000_0000, 8),
      ],
      ({ hooks }, used) => {
        used.mmio.register(
          0xfec0_0000,
          0x100,
          {
            readMmio: (offset, size) => offset * 256 + size,
            writeMmio: (offset, size, value) => log.push(`${offset} ${size} ${value}`),
          },
          'd',
        );
        hooks.afterExit.tap('v', ({ mmio }) => {
          if (mmio.valid && !mmio.write) values.push([mmio.value, mmio.valueHigh]);
        });
      },
    );
    expect(log).toEqual(['16 2 4660', '8 4 1', '12 4 2']);
    expect(values).toEqual([
      [4, 1028],
      [0xffffffff, 0],
      [0xffffffff, 0xffffffff],
    ]);
  });

  it('ends the run with a report when the guest jumps into nothing', async () => {
    const { report } = await play([
      anExit(ExitReason.EPT_VIOLATION, (exit) => {
        exit.gpa = 0x9000_0000;
        exit.guestLinearLow = 0x9000_0000;
        exit.qualification = 4;
      }),
    ]);
    expect(report).toMatchObject({
      reason: 'unhandled-exit',
      exitStatus: 72,
      failure: { exit: { gpa: '0x90000000' } },
    });
    expect(report.why).toContain('jumped to guest-physical 0x90000000');
  });

  it('leaves a violation on RAM to others', async () => {
    const { report } = await play([
      anExit(ExitReason.EPT_VIOLATION, (exit) => {
        exit.gpa = 0x1000;
        exit.qualification = 2;
      }),
    ]);
    expect(report).toMatchObject({ reason: 'unhandled-exit', failure: { suggestion: expect.any(String) } });
  });
});

describe('the rest', () => {
  it('halts', async () => {
    expect((await play([hltExit(false)])).report).toMatchObject({ reason: 'halted', exitStatus: 0 });
  });

  it('stops at a triple fault with the state, or resets', async () => {
    const stopped = await play([anExit(ExitReason.TRIPLE_FAULT)]);
    expect(stopped.report).toMatchObject({
      reason: 'triple-fault',
      exitStatus: 70,
      failure: { exit: { name: 'triple-fault' } },
    });
    const lostState = 'Its registers are lost.';
    const lost = await play(
      [anExit(ExitReason.TRIPLE_FAULT)],
      () => {},
      (vcpu) => Object.assign(vcpu, { lostState }),
    );
    expect(lost.report.why).toMatch(/^The guest triple-faulted: .*\. Its registers are lost\.$/);
    const backend = fakeBackend([anExit(ExitReason.TRIPLE_FAULT)], {
      controls: { primary: new Set(['hlt-exiting', 'mwait-exiting', 'cr8-load-exiting', 'cr8-store-exiting']) },
    });
    await using vmm = compose({
      backend,
      memory: 4096,
      time: 'virtual',
      plugins: exits({ tripleFault: { action: 'reset' } }),
    });
    expect(await vmm.run()).toMatchObject({ reason: 'reset', why: 'the guest triple-faulted' });
  });

  it('gives exceptions back to the guest, with CR2 for page faults', async () => {
    const { vcpu } = await play([
      anExit(ExitReason.EXCEPTION, (exit) => {
        exit.interruptionInfo = 0x8000_0b0e;
        exit.interruptionErrorCode = 6;
        exit.qualification = 0xdead000;
      }),
    ]);
    expect(injected(vcpu)).toEqual(['event 0x80000b0e 6 1']);
    expect(vcpu.controlRegisters.get(2)).toBe(0xdead000n);
  });

  it('checks XSETBV', async () => {
    const xsetbv = (value: number, index = 0) => ({
      fill: (exit: { reason: number }, vcpu: FakeVcpu) => {
        exit.reason = ExitReason.XSETBV;
        vcpu.setRegister32(Gpr.RAX, value);
        vcpu.setRegister32(Gpr.RDX, 0);
        vcpu.setRegister32(Gpr.RCX, index);
      },
    });
    const { vcpu } = await play([xsetbv(7), xsetbv(5), xsetbv(7, 1), xsetbv(0x1f)]);
    expect(vcpu.xcr0).toBe(7n);
    expect(injected(vcpu)).toEqual(['exception 13 0x0', 'exception 13 0x0', 'exception 13 0x0']);
    fc.assert(
      fc.property(
        fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
        fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
        (value, supported) => {
          if (isValidXcr0(value, supported)) expect(value & 1n & supported).toBe(1n);
        },
      ),
    );
  });

  it('makes undefined what the guest does not have, unless a plugin takes it', async () => {
    const script = [anExit(ExitReason.VMXON), anExit(ExitReason.VMCALL), anExit(ExitReason.GETSEC)];
    expect(injected((await play(script)).vcpu)).toEqual(['exception 6', 'exception 6', 'exception 6']);
    const taken = await play(script, ({ hooks }) => {
      hooks.exit.for('vmcall').tap('hypercalls', () => RESUME);
    });
    expect(injected(taken.vcpu)).toEqual(['exception 6', 'exception 6']);
  });

  it('does nothing for cache control, and MWAIT waits only with interrupts on', async () => {
    const { vcpu, report } = await play([
      anExit(ExitReason.WBINVD),
      anExit(ExitReason.INVD),
      anExit(ExitReason.MONITOR),
      anExit(ExitReason.MWAIT),
      anExit(ExitReason.PAUSE),
    ]);
    expect(vcpu.log).toEqual(['complete', 'complete', 'complete', 'complete', 'complete', 'complete']);
    expect(report.exits).toMatchObject({ hlt: 1, mwait: 1 });
  });

  it('waits in an armed MWAIT, also for masked interrupts when ECX says so', async () => {
    const mwait = (armed: number, ecx: number) => ({
      fill: (exit: { reason: number; qualification: number }, vcpu: FakeVcpu) => {
        exit.reason = ExitReason.MWAIT;
        exit.qualification = armed;
        vcpu.setRegister32(Gpr.RCX, ecx);
      },
    });
    const after: string[] = [];
    let raised = false;
    const source = {
      pending: () => raised,
      acknowledge: () => {
        raised = false;
        return 32;
      },
    };
    const { vcpu, report } = await play(
      [mwait(0, 1), mwait(1, 1), mwait(1, 0)],
      ({ hooks }, { timers }) => {
        timers.schedule(1_000_000, () => {
          raised = true;
        });
        hooks.afterExit.tap('a', (exit, _vcpu, outcome) => {
          if (exit.reason === ExitReason.MWAIT) after.push(`${String(outcome)} ${timers.clock.now()}`);
        });
      },
      undefined,
      [providing(InterruptSourceToken, source)],
    );
    expect(after).toEqual([`${RESUME} 0`, `${WAIT} 1`, `${RESUME} 1000000`]);
    expect(vcpu.log.filter((line) => line.startsWith('interrupt'))).toEqual([]);
    expect(report.reason).toBe('halted');
  });

  it('gives #GP for reserved bits of ECX in MWAIT, which exits before it looks', async () => {
    const { vcpu } = await play(
      [
        anExit(ExitReason.MWAIT, (exit) => {
          exit.qualification = 1;
        }),
      ],
      undefined,
      (v) => v.setRegister32(Gpr.RCX, 2),
    );
    expect(injected(vcpu)).toEqual(['exception 13 0x0']);
  });

  it('moves debug registers', async () => {
    const mov = (dr: number, from: boolean, gpr: number) =>
      anExit(ExitReason.DEBUG_REGISTER, (exit) => {
        exit.qualification = (gpr << 8) | (from ? 16 : 0) | dr;
      });
    const { vcpu } = await play(
      [mov(0, false, 3), mov(0, true, 1), mov(7, false, 6), mov(5, true, 2)],
      undefined,
      (v) => {
        v.rbx = 0xffff_8000_0000_1000n;
        v.rsi = 1n << 33n;
      },
    );
    expect(vcpu.rcx).toBe(0xffff_8000_0000_1000n);
    expect(vcpu.rdx).toBe(0x400n);
    expect(injected(vcpu)).toEqual(['exception 13 0x0']);
  });

  it('answers RDTSC from the clock, and RDPMC with #GP', async () => {
    const seen: number[][] = [];
    const { vcpu } = await play([anExit(ExitReason.RDTSC, () => {}, 500), anExit(ExitReason.RDPMC)], watch(seen));
    expect(seen[0][0]).toBe(500);
    expect(injected(vcpu)).toEqual(['exception 13 0x0']);
  });
});

it('leaves the system control to devices', async () => {
  const { report } = await play([outExit(0x604, 0x34, 2)], (_host, { ports, system }) => {
    ports.register(0x604, 2, { readPort: () => 0, writePort: () => system.powerOff('S5') }, 'pm');
  });
  expect(report).toMatchObject({ reason: 'power-off', exitStatus: 0, why: 'S5' });
});

it('ends UMWAIT and TPAUSE at once, with their flags, and gives #GP for reserved bits of their operand', async () => {
  const wait = (reason: number, operand: number): ScriptedExit => ({
    fill: (exit, vcpu) => {
      exit.reason = reason;
      exit.instructionInfo = (1 << 11) | (1 << 3); // ECX
      vcpu.setRegister32(1, operand);
      vcpu.rflags = 0x8d7n;
    },
  });
  const { vcpu } = await play([wait(ExitReason.TPAUSE, 1), wait(ExitReason.UMWAIT, 0), wait(ExitReason.TPAUSE, 2)]);
  expect(vcpu.log.filter((line) => line === 'complete' || line.startsWith('exception'))).toEqual([
    'complete',
    'complete',
    'exception 13 0x0',
    'complete',
  ]);
});
