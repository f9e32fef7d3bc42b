/** What plugins do about exits: CPUID and MSRs, single steps and breakpoints, calls of the hypervisor. */
import { describe, expect, it } from 'vitest';
import { RESUME, RETRY, Stage, definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { CpuidTableToken, MsrBusToken } from '@visorkit/machine';
import { BACKENDS } from './backends.js';
import { AX, CX, DX, code } from './code.js';
import { conform } from './conform.js';
import { CODE, createMachine } from './machine.js';
import type { Guest } from './machine.js';

const word = (text: string): number => Buffer.from(text).readUInt32LE();

conform(
  "CPUID answers from the machine's table, as plugins changed it",
  {
    mode: 'protected32',
    code: code()
      .mov(AX, 0x4000_0000)
      .cpuid()
      .raw(0x50, 0x53, 0x51, 0x52) // PUSH EAX, EBX, ECX, EDX
      .mov(AX, 0x4000_0020)
      .mov(CX, 1)
      .cpuid()
      .raw(0x50, 0x53)
      .mov(AX, 0x4000_0020)
      .mov(CX, 2)
      .cpuid()
      .raw(0x50)
      .end(),
    plugins: () => [
      definePlugin({
        name: 'leaves',
        uses: { table: CpuidTableToken },
        apply(_host, { table }) {
          table.set({
            leaf: 0x4000_0000,
            subleaf: 0,
            indexed: false,
            eax: 0x4000_0020,
            ebx: word('conf'),
            ecx: word('orma'),
            edx: word('nce!'),
          });
          table.set({ leaf: 0x4000_0020, subleaf: 1, indexed: true, eax: 0x1111, ebx: 0x2222, ecx: 0, edx: 0 });
          table.set({ leaf: 0x4000_0020, subleaf: 2, indexed: true, eax: 0x3333, ebx: 0, ecx: 0, edx: 0 });
        },
      }),
    ],
    shows: { pushed: [0x8000 - 28, 28] },
  },
  {
    memory: {
      pushed: [
        ...new Uint8Array(
          Uint32Array.of(0x3333, 0x2222, 0x1111, word('nce!'), word('orma'), word('conf'), 0x4000_0020).buffer,
        ),
      ],
    },
  },
);

conform(
  'MSRs of devices: RDMSR, WRMSR, and #GP for what a device refuses and nobody has',
  {
    mode: 'long64',
    code: code()
      .mov(CX, 0x4b56_0100)
      .mov(AX, 0x5678)
      .mov(DX, 0x1234)
      .wrmsr()
      .mov(AX, 0)
      .mov(DX, 0)
      .rdmsr()
      .raw(0x41, 0x89, 0xc0, 0x41, 0x89, 0xd1) // to R8D, R9D
      .mov(CX, 0x4b56_0101)
      .wrmsr()
      .rdmsr()
      .mov(CX, 0x4b56_0102)
      .rdmsr()
      .print32('m')
      .end(),
    data: { 0x5000: code().raw(0x41, 0x5c, 0x41, 0xff, 0xc7, 0x48, 0x83, 0x04, 0x24, 2).iretq() }, // POP R12; INC R15D; over RDMSR or WRMSR
    handlers: { 13: 0x5000 },
    plugins: () => [
      definePlugin({
        name: 'msr',
        uses: { msrs: MsrBusToken },
        apply(host, { msrs }) {
          let value = 0n;
          host.onSave({
            save: () => value,
            restore: (saved) => {
              value = saved as bigint;
            },
          });
          msrs.register(
            0x4b56_0100,
            2,
            {
              readMsr: (index) => (index === 0x4b56_0100 ? value + 1n : undefined),
              writeMsr: (index, written) => {
                if (index !== 0x4b56_0100) return false;
                value = written;
                return true;
              },
            },
            'msr',
          );
        },
      }),
    ],
  },
  {
    output: 'm',
    registers: { r8: 0x5679n, r9: 0x1234n, r15: 3n, r12: 0n },
    events: ['wrmsr 4b560100', 'rdmsr 4b560100', 'wrmsr 4b560101', 'rdmsr 4b560101', 'rdmsr 4b560102', 'hlt'],
  },
);

conform(
  'MSRs that the processor keeps exit for whoever asks',
  {
    mode: 'long64',
    code: code()
      .mov(CX, 0xc000_0082)
      .mov(AX, 0x9000)
      .mov(DX, 0)
      .wrmsr()
      .mov(AX, 0)
      .rdmsr()
      .raw(0x41, 0x89, 0xc0)
      .mov(CX, 0xc000_0083)
      .mov(AX, 7)
      .wrmsr()
      .rdmsr()
      .end(),
    declares: { needs: { msrs: { read: [0xc000_0082], write: [0xc000_0082] } } },
    apply({ hooks }) {
      hooks.exit.for('wrmsr').tap({ name: 'see', stage: Stage.Architecture }, (_exit, vcpu) => {
        vcpu.writeMsr(0xc000_0082, 0x1234n);
        return RESUME;
      });
    },
  },
  { events: ['wrmsr c0000082', 'rdmsr c0000082', 'hlt'], registers: { r8: 0x1234n, rax: 7n } },
);

const steps: Guest = {
  mode: 'protected32',
  code: code().inc(AX).mov(CX, 2).label('again').dec(CX).jnz('again').inc(DX).end(),
  declares: { needs: { primary: ['monitor-trap-flag'] } },
};

describe.each(BACKENDS)('debugging on $name', (backend) => {
  it('steps over every instruction', async () => {
    const places: number[] = [];
    const { vmm } = await createMachine(backend, {
      ...steps,
      apply: ({ hooks }) =>
        hooks.exit.for('monitor-trap-flag').tap('trace', (_exit, vcpu) => {
          places.push(Number(vcpu.rip) - CODE);
          return RETRY;
        }),
    });
    const report = await vmm.run({ timeout: 10 });
    expect(report.reason).toBe('halted');
    expect(places).toEqual([1, 6, 8, 6, 8, 10, 11, 12]);
    await vmm.dispose();
  });

  it('stops at breakpoints in debug registers', async () => {
    const places: string[] = [];
    const plugin: Partial<Plugin> = { needs: { exceptions: [1] } };
    const { vmm, vcpu } = await createMachine(backend, {
      mode: 'protected32',
      code: steps.code,
      declares: plugin,
      apply({ hooks, vcpus }) {
        hooks.loaded.tap({ name: 'break', stage: Stage.Fallback }, () => {
          vcpus[0].setDebugRegister(1, BigInt(CODE + 10));
          vcpus[0].setDebugRegister(7, 0x408n);
        });
        hooks.exit.for('exception').tap({ name: 'see', stage: Stage.Observe }, (exit, cpu) => {
          places.push(
            `${exit.interruptionInfo & 0xff} ${(Number(cpu.rip) - CODE).toString()} ${exit.qualification & 15}`,
          );
          cpu.setDebugRegister(7, 0x400n);
          return RETRY;
        });
      },
    });
    expect((await vmm.run({ timeout: 10 })).reason).toBe('halted');
    expect(places).toEqual(['1 10 2']);
    expect(vcpu.getRegister32(DX)).toBe(1);
    await vmm.dispose();
  });
});

// VMCALL where the backend brings it, a doorbell port where it does not: the number in EAX, the result there too
conform(
  'calls of the hypervisor',
  (backend) => {
    const calls = backend.make().capabilities.has('exit.vmcall');
    const answer = (number: number, argument: number): number => (number === 1 ? argument * 2 : 0xffff_ffff);
    return {
      mode: 'protected32',
      code: (calls
        ? code().mov(3, 21).mov(AX, 1).raw(0x0f, 0x01, 0xc1).raw(0x89, 0xc6).mov(AX, 2).raw(0x0f, 0x01, 0xc1)
        : code().mov(3, 21).mov(AX, 1).mov(DX, 0x5658).raw(0xef, 0xed).raw(0x89, 0xc6).mov(AX, 2).raw(0xef, 0xed)
      )
        .mov(DX, 0)
        .end(),
      apply({ hooks, vcpus }, { ports }) {
        let result = 0;
        if (calls) {
          hooks.exit.for('vmcall').tap({ name: 'call', stage: Stage.Architecture }, (_exit, vcpu) => {
            vcpu.setRegister32(AX, answer(vcpu.getRegister32(AX), vcpu.getRegister32(3)));
            return RESUME;
          });
        } else {
          ports.register(
            0x5658,
            4,
            {
              readPort: () => result,
              writePort: (_port, _size, value) => {
                result = answer(value, vcpus[0].getRegister32(3));
              },
            },
            'doorbell',
          );
        }
      },
    };
  },
  { registers: { rsi: 42n, rax: 0xffff_ffffn, rdx: 0n } },
);

it('is run on every backend that this machine has', () => {
  expect(BACKENDS.map(({ name }) => name)).toContain('vmx');
});
