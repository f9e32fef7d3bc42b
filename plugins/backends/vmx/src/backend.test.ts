/** The vmx backend: exits, devices, what plugins ask for, saved state. */
import { describe, expect, it } from 'vitest';
import { GuestMemoryToken, RESUME, RETRY, Stage, definePlugin, stop } from '@visorkit/core';
import type {
  ControlNeeds,
  GuestMemory,
  InitialState,
  Plugin,
  PluginHost,
  SavedVm,
  StopReport,
  Used,
  Vmm,
} from '@visorkit/core';
import { exits } from '@visorkit/exits';
import { InterruptSourceToken, MemoryViewsToken, MmioBusToken, PortBusToken, compose } from '@visorkit/machine';
import { providing } from '@visorkit/testkit';
import { VMX_CAPABILITIES, VMX_CONTROLS, type VmxVcpu, vmx } from './index.js';

const CODE = 0x1000;
const HLT = 0xf4;

interface Ran {
  vmm: Vmm;
  report: StopReport;
  vcpu: VmxVcpu;
  output: number[];
  memory: GuestMemory;
}

const USES = { memory: GuestMemoryToken, ports: PortBusToken, mmio: MmioBusToken, views: MemoryViewsToken };

/** What a test adds to the plugin that is its guest. */
interface Added {
  needs?: ControlNeeds;
  apply?(host: PluginHost, used: Used<typeof USES>): void;
}

/** Runs real-mode code at 1000H with a port 3F8H that collects bytes. */
async function run(
  code: readonly number[],
  options: {
    state?: Partial<InitialState>;
    plugin?: Added;
    others?: readonly Plugin[];
    time?: 'virtual' | 'real';
    memory?: number;
    maxInstructions?: number;
    restore?: SavedVm;
  } = {},
): Promise<Ran> {
  const output: number[] = [];
  let vcpu: VmxVcpu | undefined, memory: GuestMemory | undefined;
  const guest = definePlugin({
    name: 'guest',
    uses: USES,
    ...(options.plugin?.needs === undefined ? {} : { needs: options.plugin.needs }),
    apply(host, used) {
      const { hooks, vcpus } = host;
      vcpu = vcpus[0] as VmxVcpu;
      memory = used.memory;
      used.ports.register(
        0x3f8,
        1,
        {
          readPort: () => 0x5a,
          writePort: (_port, _size, value) => {
            output.push(value);
          },
        },
        'guest',
      );
      hooks.load.tap('guest', () => {
        used.memory.write(CODE, Uint8Array.from(code));
        vcpus[0].setInitialState({ mode: 'real16', rip: BigInt(CODE), rsp: 0x8000n, ...options.state });
      });
      options.plugin?.apply?.(host, used);
    },
  });
  const vmm = compose({
    backend: vmx(),
    memory: options.memory ?? 1 << 20,
    time: options.time ?? 'virtual',
    plugins: [guest, ...(options.others ?? []), ...exits()],
  });
  if (options.restore !== undefined) await vmm.restore(options.restore);
  const report = await vmm.run({ maxInstructions: options.maxInstructions ?? 1_000_000 });
  return { vmm, report, vcpu: vcpu!, output, memory: memory! };
}

const flat32: Partial<InitialState> = { mode: 'protected32' };

describe('vmx backend', () => {
  it('runs the guest of the KVM API example', async () => {
    const { output, report } = await run([0xba, 0xf8, 0x03, 0x00, 0xd8, 0x04, 0x30, 0xee, 0xb0, 0x0a, 0xee, HLT], {
      state: { registers: { rax: 2n, rbx: 2n } },
    });
    expect(String.fromCharCode(...output)).toBe('4\n');
    expect(report).toMatchObject({ reason: 'halted', exits: { io: 2, hlt: 1 }, guestInstructions: 7 });
  });

  it('puts what a port gives into AL alone', async () => {
    // MOV DX, 3F8H; IN AL, DX
    const { vcpu } = await run([0xba, 0xf8, 0x03, 0xec, HLT], {
      state: { registers: { rax: 0x1234_5678_9abc_def0n } },
    });
    expect(vcpu.rax).toBe(0x1234_5678_9abc_de5an);
  });

  it('a single step ends a halt at once, though no interrupt comes', async () => {
    // Vector 1 at 1100H: OUT 3F8H, AL; HLT with IF = 0. Code: PUSHF; POP AX; OR AH, 1; PUSH AX; MOV DX, 3F8H; POPF; STI; HLT; HLT
    const code = [0x9c, 0x58, 0x80, 0xcc, 0x01, 0x50, 0xba, 0xf8, 0x03, 0x9d, HLT, HLT];
    const { output, vcpu } = await run(code, {
      plugin: {
        apply: ({ hooks }, used) =>
          hooks.loaded.tap('vector', () => {
            const memory = used.memory;
            memory.writeU32(4, 0x1100);
            memory.write(0x1100, Uint8Array.from([0xb0, 0x21, 0xee, HLT]));
          }),
      },
    });
    expect([output, vcpu.rip]).toEqual([[0x21], 0x1104n]);
  });

  it('gives the same run twice in virtual time', async () => {
    const random = [0x0f, 0xc7, 0xf0, 0x0f, 0x31, 0xe2, 0xf9, HLT]; // RDRAND AX; RDTSC; LOOP
    const state = { registers: { rcx: 1000n } };
    const [first, second] = [await run(random, { state }), await run(random, { state })];
    expect(first.vcpu.snapshot()).toEqual(second.vcpu.snapshot());
    expect(first.report.guestInstructions).toBe(second.report.guestInstructions);
  });

  it('runs in real time', async () => {
    const { report } = await run([0xe2, 0xfe, HLT], { time: 'real', state: { registers: { rcx: 0xffffn } } });
    expect(report).toMatchObject({ reason: 'halted', guestInstructions: 0x10000 });
  });

  it('stops at the instruction limit exactly', async () => {
    const { report } = await run([0xeb, 0xfe], { maxInstructions: 12_345 });
    expect(report).toMatchObject({ reason: 'max-instructions', guestInstructions: 12_345 });
  });

  it('starts at the reset vector when nobody says otherwise', async () => {
    const backend = vmx();
    const vmm = compose({
      backend,
      memory: 1 << 20,
      time: 'virtual',
      plugins: [
        {
          name: 'rom',
          apply({ hooks }) {
            hooks.load.tap('rom', async () => {
              backend.mapRom(0xffff_0000, new Uint8Array(0x10000).fill(HLT));
            });
          },
        },
        ...exits(),
      ],
    });
    expect(await vmm.run({})).toMatchObject({ reason: 'halted', exits: { hlt: 1 } });
    expect(backend.engine.rip).toBe(0xfff1n);
  });

  it('refuses what it cannot do, saying so', async () => {
    const vmm = compose({ backend: vmx(), memory: 1 << 20, cpus: 65, time: 'virtual', plugins: [...exits()] });
    await expect(vmm.run({})).rejects.toMatchObject({ code: 'VMX_CPUS' });
  });

  it('names its exits as the kernel does', () => {
    for (const capability of [
      'exit.exception',
      'exit.io',
      'exit.control-register',
      'exit.ept-violation',
      'exit.rdmsr',
      'exit.xsetbv',
      'exit.monitor-trap-flag',
      'ept.execute-only',
      'mtf',
      'vmfunc',
      'deterministic',
    ]) {
      expect(VMX_CAPABILITIES.has(capability), capability).toBe(true);
    }
    expect(VMX_CONTROLS.allowed.primary.has('rdtsc-exiting')).toBe(true);
    expect(VMX_CONTROLS.allowed.secondary.has('pasid-translation')).toBe(false);
  });
});

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

describe('what plugins ask the processor for', () => {
  it('traps the controls they name', async () => {
    let seen = 0;
    const { report } = await run([0x0f, 0x31, HLT], {
      plugin: {
        needs: { primary: ['rdtsc-exiting'] },
        apply({ hooks }) {
          hooks.exit.for('rdtsc').tap('count', (_exit, vcpu) => {
            seen++;
            vcpu.setRegister32(0, 7);
            return RESUME;
          });
        },
      },
    });
    expect(seen).toBe(1);
    expect(report.exits).toMatchObject({ rdtsc: 1, hlt: 1 });
  });

  it('traps exceptions, ports and MSRs they name', async () => {
    const seen: string[] = [];
    // INT3; MOV ECX, C0000082H; RDMSR
    await run([0xcc, 0x66, 0xb9, 0x82, 0, 0, 0xc0, 0x0f, 0x32, HLT], {
      plugin: {
        needs: { exceptions: [3], msrs: { read: [0xc0000082] } },
        apply({ hooks }) {
          hooks.exit.for('exception').tap('count', (exit) => {
            seen.push(`exception ${exit.interruptionInfo & 0xff}`);
            return RESUME;
          });
          hooks.exit.for('rdmsr').tap('count', () => {
            seen.push('rdmsr');
            return RESUME;
          });
        },
      },
    });
    expect(seen).toEqual(['exception 3', 'rdmsr']);
  });

  it('single-steps with the monitor trap flag', async () => {
    const places: bigint[] = [];
    await run([0x40, 0x43, 0x41, HLT], {
      plugin: {
        needs: { primary: ['monitor-trap-flag'] },
        apply({ hooks }) {
          hooks.exit.for('monitor-trap-flag').tap('trace', (_exit, vcpu) => {
            places.push(vcpu.rip);
            return RETRY;
          });
        },
      },
    });
    expect(places).toEqual([0x1001n, 0x1002n, 0x1003n]);
  });

  it('single-steps over instructions that the framework carries out', async () => {
    const { vcpu, memory } = await run([0x0f, 0xa2, 0x90, 0x90], {
      // CPUID; NOP with TF: #DB through the vector table
      state: { rflags: 0x102n },
      plugin: {
        apply({ hooks }, used) {
          hooks.load.tap({ name: 'ivt', stage: Stage.Fallback }, async () => {
            const memory = used.memory;
            memory.writeU32(4, 0x2000);
            memory.writeU8(0x2000, HLT);
          });
        },
      },
    });
    expect(vcpu.rip).toBe(0x2001n);
    expect(memory.readU16(0x7ffa)).toBe(0x1002);
  });

  it('hides a page: it executes as it is and reads as something else', async () => {
    // MOV AL, [1000H]; MOV BL, [1001H] reads its own code
    const { vcpu, report } = await run([0xa0, 0x00, 0x10, 0x8a, 0x1e, 0x01, 0x10, HLT], {
      plugin: {
        apply({ hooks }, used) {
          hooks.started.tap('hide', () => used.views.base.hide(CODE, new Uint8Array(4096).fill(0x77)));
        },
      },
    });
    expect([vcpu.getRegister32(0) & 0xff, vcpu.getRegister32(3) & 0xff]).toEqual([0x77, 0x77]);
    expect(report.exits).toEqual({ hlt: 1 });
  });

  it('gives views: a write-protected page exits with what was tried', async () => {
    const tried: number[] = [];
    const { report } = await run([0xc6, 0x06, 0x00, 0x50, 0x11, HLT], {
      // MOV BYTE [5000H], 11H
      plugin: {
        apply({ hooks }, used) {
          const views = used.views;
          hooks.started.tap('protect', () => views.base.protect(0x5000, 5));
          hooks.exit.for('ept-violation').tap('see', (exit) => {
            tried.push(exit.qualification & 7, exit.gpa);
            views.base.restore(exit.gpa);
            return RETRY;
          });
        },
      },
    });
    expect(tried).toEqual([2, 0x5000]);
    expect(report.exits).toMatchObject({ 'ept-violation': 1 });
  });

  it('switches to a view of its own', async () => {
    const { vcpu } = await run([0x0f, 0x01, 0xc1, 0xa0, 0x00, 0x50, HLT], {
      // VMCALL; MOV AL, [5000H]
      plugin: {
        apply({ hooks }, used) {
          const views = used.views;
          hooks.exit.for('vmcall').tap({ name: 'switch', before: 'exits/vmcall' }, (exit, cpu) => {
            const view = views.create();
            view.hide(0x5000, new Uint8Array(4096).fill(0x33));
            views.use(view);
            return RESUME;
          });
        },
      },
    });
    expect(vcpu.getRegister32(0) & 0xff).toBe(0x33);
  });
});

describe('state', () => {
  it('is saved and goes on elsewhere', async () => {
    const loop = [0x66, 0xff, 0xc0, 0xeb, 0xfb]; // INC EAX; JMP
    const first = await run(loop, { maxInstructions: 10_001 });
    const saved = structuredClone(first.vmm.save());
    const second = await run(loop, { restore: saved, maxInstructions: 10_001 });
    expect(second.report.guestInstructions).toBe(20_002);
    expect(second.vcpu.getRegister32(0)).toBe(10_001);
    const whole = await run(loop, { maxInstructions: 20_002 });
    expect(second.vcpu.snapshot()).toEqual(whole.vcpu.snapshot());
    expect(second.report.guestNanoseconds).toBe(whole.report.guestNanoseconds);
  });

  it('goes on between the pieces of a wide access to a device', async () => {
    // MOVDQU XMM0, [ESI]; MOVDQU [4000H], XMM0, from a device of which only the first piece is answered before saving
    const code = [0xf3, 0x0f, 0x6f, 0x06, 0xf3, 0x0f, 0x7f, 0x05, 0, 0x40, 0, 0, HLT];
    const state = { mode: 'protected32' as const, cr4: 0x200n, registers: { rsi: 0xd000_0000n } };
    for (let pieces = 0; pieces < 2; pieces++) {
      let left = pieces;
      const answering = (stops: boolean): Added => ({
        apply: ({ hooks }) =>
          void hooks.exit.for('ept-violation').tap(({ mmio }) => {
            if (stops && left-- === 0) return stop('between', { answer: RETRY });
            mmio.value = 0x1111_1111 * ((mmio.gpa & 15) + 1);
            mmio.valueHigh = 0x0101_0101;
            return RESUME;
          }),
      });
      const first = await run(code, { state, plugin: answering(true) });
      expect(first.report.why).toBe('between');
      const restore = structuredClone(first.vmm.save());
      const { memory, report } = await run(code, { restore, plugin: answering(false) });
      expect(report.reason).toBe('halted');
      expect([...memory.read(0x4000, 16)]).toEqual([
        ...[0x11, 0x11, 0x11, 0x11, 1, 1, 1, 1],
        ...[0x99, 0x99, 0x99, 0x99, 1, 1, 1, 1],
      ]);
    }
  });

  it('is refused where it does not fit, with all that differs, and where it is damaged', async () => {
    const saved = structuredClone((await run([HLT])).vmm.save());
    const other = compose({ backend: vmx({ features: ['fpu'] }), memory: 2 << 20, cpus: 2 });
    await expect(other.restore(saved)).rejects.toMatchObject({
      code: 'SAVED_MISMATCH',
      details: {
        differences: [
          'it had a memory size in bytes of 1048576, this one has 2097152',
          'it had a number of CPUs of 1, this one has 2',
          'it had the time virtual, this one has real',
          'its processor had other CPUID leaves',
        ],
      },
    });
    expect(other.state).toBe('created');
    await expect(run([HLT], { restore: { ...saved, state: { ...saved.state, format: 99 as never } } })).rejects.toThrow(
      /has format 99; this kernel restores format 1/,
    );
    const [vcpu] = saved.state.vcpus as { processor: { parts: Uint8Array[] } }[];
    vcpu.processor.parts[0] = new Uint8Array(3);
    await expect(run([HLT], { restore: saved })).rejects.toMatchObject({ code: 'VCPU_STATE' });
    await other.dispose();
  });

  it('stops where a handler says', async () => {
    const { report } = await run([0x0f, 0x01, 0xc1, HLT], {
      plugin: {
        apply({ hooks }) {
          hooks.exit.for('vmcall').tap({ name: 'end', before: 'exits/vmcall' }, () => stop('enough', 3));
        },
      },
    });
    expect(report).toMatchObject({ exitStatus: 3, why: 'enough' });
  });
});
