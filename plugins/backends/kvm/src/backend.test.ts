/** The kvm backend on this machine's /dev/kvm. */
import { describe, expect, it } from 'vitest';
import { RESUME, Stage, definePlugin, stop } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { GuestMemoryToken, InterruptSourceToken, MmioBusToken, PortBusToken, compose } from '@visorkit/machine';
import { exits } from '@visorkit/exits';
import { providing } from '@visorkit/testkit';
import { kvm } from './index.js';
import { CODE, HLT, flat32, kvmUsable, machineOf, ran, runGuest } from './test-machine.js';

const usable = kvmUsable();

describe.skipIf(!usable)('kvm backend', () => {
  it('runs the guest of the KVM API example', async () => {
    await ran(
      [0xba, 0xf8, 0x03, 0x00, 0xd8, 0x04, 0x30, 0xee, 0xb0, 0x0a, 0xee, HLT],
      { state: { registers: { rax: 2n, rbx: 2n } } },
      ({ output, report }) => {
        expect(String.fromCharCode(...output)).toBe('4\n');
        expect(report).toMatchObject({ reason: 'halted', backend: 'kvm', exits: { io: 2, hlt: 1 } });
      },
    );
  });

  it('puts what a port gives into AL alone', async () => {
    await ran([0xba, 0xf8, 0x03, 0xec, HLT], { state: { registers: { rax: 0x1234_5678_9abc_def0n } } }, ({ vcpu }) => {
      expect(vcpu.rax & 0xffffn).toBe(0xde5an);
    });
  });

  it('finishes an IN before anybody sees the registers', async () => {
    const plugin: Partial<Plugin> = {
      apply({ hooks }) {
        hooks.exit.for('io').tap({ name: 'end', stage: Stage.Observe }, (exit) => {
          if (!exit.io.input) return undefined;
          exit.io.value = 0x77;
          return stop('enough');
        });
      },
    };
    await ran([0xba, 0xf8, 0x03, 0xec, 0xf4], { plugin }, ({ vcpu }) => {
      expect(vcpu.rax & 0xffn).toBe(0x77n);
      expect(vcpu.rip).toBe(0x1004n);
    });
  });

  it('moves strings to and from ports', async () => {
    const data = Uint8Array.from('strings', (character) => character.charCodeAt(0));
    // CLD; MOV SI, 2000H; MOV CX, 7; MOV DX, 3F8H; REP OUTSB; MOV DI, 3000H; MOV CX, 3; REP INSB
    const code = [
      0xfc,
      0xbe,
      0x00,
      0x20,
      0xb9,
      7,
      0,
      0xba,
      0xf8,
      0x03,
      0xf3,
      0x6e,
      0xbf,
      0x00,
      0x30,
      0xb9,
      3,
      0,
      0xf3,
      0x6c,
      HLT,
    ];
    await ran(code, { data: { 0x2000: data } }, ({ output, memory, vcpu }) => {
      expect(String.fromCharCode(...output)).toBe('strings');
      expect([...memory.read(0x3000, 4)]).toEqual([0x5a, 0x5a, 0x5a, 0]);
      expect([vcpu.rcx & 0xffffn, vcpu.rsi & 0xffffn, vcpu.rdi & 0xffffn]).toEqual([0n, 0x2007n, 0x3003n]);
    });
  });

  it('stops a guest that never exits when its time is over', async () => {
    const started = performance.now();
    const run = await runGuest([0xeb, 0xfe], {}, 0.05);
    expect(run.report.reason).toBe('timeout');
    expect(performance.now() - started).toBeLessThan(2000);
    await run.vmm.dispose();
  });

  it('starts at the reset vector when nobody says otherwise', async () => {
    const backend = kvm();
    const vmm = compose({
      backend,
      memory: 1 << 20,
      plugins: [
        {
          name: 'rom',
          apply({ hooks }) {
            hooks.load.tap(() => {
              backend.mapRom(0xffff_0000, new Uint8Array(0x10000).fill(HLT));
            });
          },
        },
        ...exits(),
      ],
    });
    expect(await vmm.run({ timeout: 10 })).toMatchObject({ reason: 'halted', exits: { hlt: 1 } });
    expect(vmm.vcpus[0].rip).toBe(0xfff1n);
    await vmm.dispose();
  });

  it('ignores writes to read-only memory', async () => {
    // MOV BYTE [EAX], 1; MOV BL, [EAX]
    const { vmm, backend, vcpu } = await machineOf([0xc6, 0x00, 0x01, 0x8a, 0x18, HLT], {
      state: { ...flat32, registers: { rax: 0xe000_0000n } },
    });
    backend.mapRom(0xe000_0000, new Uint8Array(4096).fill(0x42));
    const report = await vmm.run({ timeout: 10 });
    expect([report.reason, vcpu.rbx & 0xffn]).toEqual(['halted', 0x42n]);
    expect(report.exits['ept-violation']).toBeUndefined();
    await vmm.dispose();
  });

  it('notes which pages the guest writes', async () => {
    // MOV [EDI], EAX three times in three pages
    const { vmm, backend } = await machineOf([0x89, 0x07, 0x89, 0x87, 0, 0x10, 0, 0, 0x89, 0x87, 0, 0x50, 0, 0, HLT], {
      state: { ...flat32, registers: { rdi: 0x4_0000n } },
    });
    backend.slots.setDirtyLog(true);
    await vmm.run({ timeout: 10 });
    expect(backend.slots.readDirtyLog().filter((page) => page >= 0x4_0000)).toEqual([0x4_0000, 0x4_1000, 0x4_5000]);
    expect(backend.slots.readDirtyLog()).toEqual([]);
    await vmm.dispose();
  });

  it('refuses what it cannot do, saying so', async () => {
    const vmm = compose({ backend: kvm(), memory: 1 << 20, time: 'virtual', plugins: [...exits()] });
    await expect(vmm.run({})).rejects.toMatchObject({ code: 'KVM_TIME' });
    const needs =
      (plugin: Partial<Plugin>): (() => unknown) =>
      () =>
        compose({
          backend: kvm(),
          memory: 1 << 20,
          plugins: [{ name: 'greedy', apply() {}, ...plugin }],
          alternatives: [{ name: 'vmx', capabilities: new Set(['ept.execute-only']) }],
        });
    expect(needs({ capabilities: ['ept.execute-only'] })).toThrow(
      'Backend kvm lacks "ept.execute-only" (asked for by greedy; backend vmx has it)',
    );
    expect(needs({ needs: { primary: ['rdtsc-exiting'] } })).toThrow(
      /greedy needs the primary control "rdtsc-exiting", which backend kvm does not have/,
    );
    expect(needs({ needs: { exceptions: [14] } })).toThrow(
      /greedy asks for exits of exception vector 14, which backend kvm does not give/,
    );
  });

  it('ends with a report when the guest triple-faults', async () => {
    // LIDT of an empty table in protected mode, then UD2
    await ran([0x0f, 0x0b], { state: { ...flat32, idtr: { base: 0n, limit: 0 } } }, ({ report, vcpu }) => {
      const amd = vcpu.lostState !== undefined;
      expect(report).toMatchObject({ reason: 'triple-fault', failure: { vcpu: { rip: amd ? '0xfff0' : '0x1000' } } });
      expect(report.why).toContain(amd ? 'AMD processors do not keep the state' : 'at RIP 0x1000');
    });
  });

  it('runs two vCPUs in turn', async () => {
    const seen = new Set<number>();
    let started = false;
    const idle = { pending: () => false, acknowledge: () => 0 };
    const second = {
      ...idle,
      takeStartup: () => {
        const vector = started ? -1 : 1;
        started = true;
        return vector;
      },
    };
    const { vmm } = await machineOf([0xe6, 0x10, 0xeb, 0xfc], {
      cpus: 2,
      plugins: [
        providing(InterruptSourceToken, { ...idle, forVcpu: (index: number) => (index === 0 ? idle : second) }),
      ],
      plugin: definePlugin({
        name: 'guest',
        uses: { ports: PortBusToken },
        apply({ hooks }, { ports }) {
          ports.register(0x10, 1, { readPort: () => 0, writePort: () => {} }, 'guest');
          hooks.exit.for('io').tap({ name: 'see', stage: Stage.Observe }, (_exit, vcpu) => {
            seen.add(vcpu.index);
            return seen.size === 2 ? stop('both') : undefined;
          });
        },
      }),
    });
    expect((await vmm.run({ timeout: 10 })).why).toBe('both');
    await vmm.dispose();
  });
});

describe.skipIf(!usable)('memory-mapped devices on kvm', () => {
  const DEVICE = 0xd000_0000;
  const device = (log: string[]): Plugin =>
    definePlugin({
      name: 'device',
      uses: { mmio: MmioBusToken },
      apply(_host, { mmio }) {
        mmio.register(
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

  it('see each access once', async () => {
    const log: string[] = [];
    // PUSH [ESI]; ADD [ESI+8], EAX; XCHG [ESI+12], AL
    await ran(
      [0xff, 0x36, 0x01, 0x46, 0x08, 0x86, 0x46, 0x0c, HLT],
      { state: { ...flat32, rsp: 0x8000n, registers: { rsi: BigInt(DEVICE), rax: 0x20n } }, plugin: device(log) },
      ({ vcpu }) => {
        expect(log).toEqual(['read 0 4', 'read 8 4', 'write 8 4 41', 'read 12 1', 'write 12 1 32']);
        expect(vcpu.getRegister32(0)).toBe(13);
      },
    );
  });

  it('get accesses across a page in pieces', async () => {
    const log: string[] = [];
    await ran(
      [0x89, 0x07, HLT],
      { state: { ...flat32, registers: { rdi: BigInt(DEVICE + 0xffd), rax: 0x4433_2211n } }, plugin: device(log) },
      () => {
        expect(log).toEqual([`write ${0xffd} 2 ${0x2211}`, `write ${0xfff} 1 ${0x33}`, `write ${0x1000} 1 ${0x44}`]);
      },
    );
  });
});

describe.skipIf(!usable)('interrupts on kvm', () => {
  it('are injected once the guest has them on', async () => {
    let pending = true;
    const plugin = providing(InterruptSourceToken, {
      pending: () => pending,
      acknowledge: () => {
        pending = false;
        return 0x40;
      },
    });
    // OUT 3F8H; STI; NOP; again: HLT; CLI; JMP again. Vector 40H: INC BX; IRET
    const code = [0xba, 0xf8, 0x03, 0xee, 0xfb, 0x90, 0x90, HLT, 0xfa, 0xeb, 0xfc];
    await ran(
      code,
      { plugin, data: { 0x100: Uint8Array.of(0x00, 0x40, 0, 0), 0x4000: Uint8Array.of(0x43, 0xcf) } },
      ({ vcpu, report }) => {
        expect(vcpu.rbx & 0xffffn).toBe(1n);
        expect(report.reason).toBe('halted');
      },
    );
  });

  it('end a halt', async () => {
    let ticks = 0;
    let halts = 0,
      taken = 0;
    const source = {
      pending: () => halts > taken && taken < 3,
      acknowledge: () => {
        taken++;
        ticks++;
        return 0x40;
      },
    };
    const plugin: Partial<Plugin> = {
      provides: [{ token: InterruptSourceToken, make: () => source }],
      apply({ hooks }) {
        hooks.exit.for('hlt').tap({ name: 'count', stage: Stage.Observe }, () => {
          halts++;
          return undefined;
        });
      },
    };
    // STI; again: HLT; JMP again. Vector 40H: INC BX; IRET
    await ran(
      [0xfb, HLT, 0xeb, 0xfd],
      { plugin, data: { 0x100: Uint8Array.of(0x00, 0x40, 0, 0), 0x4000: Uint8Array.of(0x43, 0xcf) } },
      ({ vcpu, report }) => {
        expect([ticks, vcpu.rbx & 0xffffn]).toEqual([3, 3n]);
        expect(report.reason).toBe('halted');
      },
    );
  });

  it('gives NMIs and exceptions', async () => {
    const plugin: Partial<Plugin> = {
      apply({ hooks }) {
        hooks.exit.for('io').tap({ name: 'inject', stage: Stage.Observe }, (exit, vcpu) => {
          if (exit.io.value === 1) vcpu.injectNmi();
          else vcpu.injectException(13, 0);
          return RESUME;
        });
      },
    };
    // OUT 10H of 1, then of 2. Vector 2: INC BX; IRET. Vector 13: INC CX; IRET (no error code in real mode)
    const code = [0xb0, 1, 0xe6, 0x10, 0xb0, 2, 0xe6, 0x10, HLT];
    const data = {
      0x08: Uint8Array.of(0x00, 0x40, 0, 0),
      0x34: Uint8Array.of(0x10, 0x40, 0, 0),
      0x4000: Uint8Array.of(0x43, 0xcf),
      0x4010: Uint8Array.of(0x41, 0xcf),
    };
    await ran(code, { plugin, data }, ({ vcpu }) => {
      expect([vcpu.rbx & 0xffffn, vcpu.rcx & 0xffffn]).toEqual([1n, 1n]);
    });
  });
});

describe.skipIf(!usable)('a run that ended at an exit that nobody took on kvm', () => {
  it('goes on where somebody moves it, without the instruction', async () => {
    // MOV AL, 1; IN AL, 10H; HLT; at 1010H: INC BX; HLT
    const code = [0xb0, 1, 0xe4, 0x10, HLT, ...new Array<number>(11).fill(0x90), 0x43, HLT];
    const vmm = compose({
      backend: kvm(),
      memory: 1 << 20,
      plugins: [
        definePlugin({
          name: 'guest',
          uses: { memory: GuestMemoryToken },
          apply({ hooks, vcpus }, { memory }) {
            hooks.load.tap(() => {
              memory.write(CODE, Uint8Array.from(code));
              vcpus[0].setInitialState({ mode: 'real16', rip: BigInt(CODE) });
            });
            hooks.exit.for('hlt').tap(() => stop('halted'));
          },
        }),
      ],
    });
    expect((await vmm.run({ timeout: 10 })).reason).toBe('unhandled-exit');
    vmm.vcpus[0].rip = 0x1010n;
    expect((await vmm.run({ timeout: 10 })).why).toBe('halted');
    const { rax, rbx, rip } = vmm.vcpus[0];
    expect([rax & 0xffn, rbx & 0xffffn, rip]).toEqual([1n, 1n, 0x1012n]);
    await vmm.dispose();
  });
});

describe.skipIf(!usable)('state of a kvm vCPU', () => {
  const count = [0x66, 0x40, 0xe6, 0x10, 0xeb, 0xfa]; // INC EAX; OUT 10H, AL; JMP

  const until = (turns: number): Partial<Plugin> => ({
    apply({ hooks }) {
      let seen = 0;
      hooks.exit
        .for('io')
        .tap({ name: 'end', stage: Stage.Observe }, () => (++seen === turns ? stop('enough') : undefined));
    },
  });

  it('is saved and goes on elsewhere', async () => {
    const first = await runGuest(count, { plugin: until(50) });
    const saved = structuredClone(first.vcpu.saveState());
    await first.vmm.dispose();
    const second = await machineOf(count, { plugin: until(50) });
    await second.vmm.load();
    second.vcpu.restoreState(saved);
    expect(second.vcpu.saveState()).toMatchObject({
      general: saved.general,
      xsave: saved.xsave,
      debug: saved.debug,
      events: saved.events,
    });
    await second.vmm.run({ timeout: 10 });
    expect(second.vcpu.getRegister32(0)).toBe(100);
    await second.vmm.dispose();
  });

  it('keeps floating-point registers, MSRs, debug registers and CR8', async () => {
    // FLD1; FLDPI; HLT
    const first = await runGuest([0xd9, 0xe8, 0xd9, 0xeb, HLT]);
    first.vcpu.writeMsr(0xc000_0082, 0x1234_5678n);
    first.vcpu.setDebugRegister(0, 0xabcdn);
    first.vcpu.setControlRegister(8, 5n);
    const saved = structuredClone(first.vcpu.saveState());
    await first.vmm.dispose();
    // FADDP; FISTP WORD [2000H]
    const second = await machineOf([0xde, 0xc1, 0xdf, 0x1e, 0x00, 0x20, HLT]);
    await second.vmm.load();
    second.vcpu.restoreState(saved);
    second.vcpu.rip = BigInt(CODE);
    expect([
      second.vcpu.readMsr(0xc000_0082),
      second.vcpu.getDebugRegister(0),
      second.vcpu.getControlRegister(8),
    ]).toEqual([0x1234_5678n, 0xabcdn, 5n]);
    await second.vmm.run({ timeout: 10 });
    expect(second.memory.readU16(0x2000)).toBe(4);
    await second.vmm.dispose();
  });

  it('refuses what is no state of this format', async () => {
    const { vmm, vcpu } = await machineOf([HLT]);
    expect(() => vcpu.restoreState({ format: 99 })).toThrow(/format 99/);
    await vmm.dispose();
  });
});
