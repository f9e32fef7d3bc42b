/** The vmx backend: exits, time, limits, saved state. */
import { describe, expect, it } from 'vitest';
import { RESUME, RETRY, stop } from '@visorkit/core';
import { exits } from '@visorkit/exits';
import { compose } from '@visorkit/machine';
import { VMX_CAPABILITIES, VMX_CONTROLS, vmx } from './index.js';
import { HLT, run } from './test-guest.js';
import type { Added } from './test-guest.js';

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

  it('takes when code is translated, and whether that is verified', () => {
    for (const translate of [true, false, 1, 1_000_000, 'verify', 'verify:5000'] as const)
      expect(() => vmx({ translate })).not.toThrow();
    for (const translate of [0, 1.5, 1_000_001, 'verify:0', 'verify:', 'off'])
      expect(() => vmx({ translate: translate as 1 })).toThrow(expect.objectContaining({ code: 'BACKEND_OPTION' }));
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
