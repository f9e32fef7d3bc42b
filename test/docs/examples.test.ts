/** Every listing of the guide that is not tested by a test of its own does what the guide says. */
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { VmxBackend, vmx } from '@visorkit/backend-vmx';
import { exits } from '@visorkit/exits';
import type { LogSink, Plugin, StopReport, Vcpu } from '@visorkit/core';
import { loadPlugin, loadProject } from '@visorkit/project';
import { CpuidTableToken, compose } from '@visorkit/machine';
import * as machine from '@visorkit/machine';
import { cpuidExit, fakeBackend } from '@visorkit/testkit';

const examples = join(import.meta.dirname, '../../docs/examples');
const example = async <T>(file: string): Promise<T> => (await import(/* @vite-ignore */ join(examples, file))) as T;

/** Runs real-mode code at 1000H on the software processor. */
async function run(code: Uint8Array, plugin: Plugin): Promise<{ report: StopReport; vcpu: Vcpu }> {
  let vcpu: Vcpu | undefined;
  const guest: Plugin = {
    name: 'guest',
    apply({ hooks, vcpus }) {
      [vcpu] = vcpus;
      hooks.load.tapPromise('guest', async () => {
        vmm.memory.write(0x1000, code);
        vcpus[0].setInitialState({ mode: 'real16', rip: 0x1000n, rsp: 0x8000n });
      });
    },
  };
  const vmm = compose({ backend: vmx(), memory: '1M', time: 'virtual', plugins: [guest, plugin, ...exits()] });
  const report = await vmm.run({ maxInstructions: 1_000_000 });
  await vmm.dispose();
  return { report, vcpu: vcpu! };
}

/** MOV r32, imm32 in 16-bit code. */
const mov = (register: number, value: number): number[] => [
  0x66,
  0xb8 + register,
  value & 0xff,
  (value >>> 8) & 0xff,
  (value >>> 16) & 0xff,
  value >>> 24,
];
const EAX = 0,
  ECX = 1,
  EBX = 3;
const VMCALL = [0x0f, 0x01, 0xc1];
const RDTSC = [0x0f, 0x31];
const HLT = 0xf4;

describe('the listings', () => {
  it("README: a VMM of one's own", async () => {
    let printed = '';
    vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
      printed += String(text);
      return true;
    });
    vi.spyOn(console, 'log').mockImplementation((line) => {
      printed += `${line}\n`;
    });
    try {
      await example('my-vmm.ts');
    } finally {
      vi.restoreAllMocks();
    }
    expect(printed).toBe(
      'Hello from the guest.\nCPUID at 0x1045\nThe guest halted with interrupts off: nothing can wake it. 47 instructions.\n',
    );
  });

  it('log-cpuid: every CPUID exit, in three lines', async () => {
    const lines: string[] = [];
    const log: LogSink = (level, source, message) => {
      if (level === 'info') lines.push(`${source}: ${message}`);
    };
    const plugins = [...exits(), ...(await loadPlugin('./log-cpuid', examples))];
    await using vmm = compose({
      backend: fakeBackend([cpuidExit(0), cpuidExit(0x8000_0001)], { controls: vmx().controls.allowed }),
      memory: 4096,
      time: 'virtual',
      log,
      plugins,
    });
    await vmm.run();
    expect(lines).toEqual(['log-cpuid: CPUID 0', 'log-cpuid: CPUID 80000001']);
  });

  it('stages: who is asked first', async () => {
    const told: string[] = [];
    const { stages } = await example<{ stages: (tell: (text: string) => void) => Plugin }>('stages.ts');
    await using vmm = compose({
      backend: fakeBackend([cpuidExit(0)]),
      memory: 4096,
      time: 'virtual',
      plugins: [stages((text) => void told.push(text))],
    });
    await vmm.run({ maxInstructions: 1 });
    expect(told.slice(0, 4)).toEqual(['look-first', 'look-on', 'carry-out', 'afterwards: RESUME']);
    expect(told.join()).not.toContain('never');
  });

  it('outcomes: RESUME, stop', async () => {
    const { hypercall } = await example<{ hypercall: Plugin }>('outcomes.ts');
    const { report } = await run(
      Uint8Array.of(
        ...mov(EAX, 1),
        ...mov(EBX, 40),
        ...mov(ECX, 2),
        ...VMCALL,
        0x66,
        0x89,
        0xc3,
        ...mov(EAX, 4),
        ...VMCALL,
      ),
      hypercall,
    );
    expect(report).toMatchObject({ reason: 'exit', exitStatus: 42, why: 'the guest ended with 42' });
  });

  it('outcomes: RETRY with an exception, HALT, nothing', async () => {
    const { hypercall } = await example<{ hypercall: Plugin }>('outcomes.ts');
    // Vector 6 of the real-mode table leads to 0:0, where there is a HLT
    const refused = (number: number) =>
      run(Uint8Array.of(...mov(EAX, number), ...VMCALL, 0xeb, 0xfe), {
        ...hypercall,
        apply(host) {
          hypercall.apply(host);
          host.hooks.loaded.tapPromise('table', async () => {
            host.services.get(machine.GuestMemoryToken).writeU32(24, 0x2000);
            host.services.get(machine.GuestMemoryToken).writeU8(0x2000, HLT);
          });
        },
      });
    for (const number of [2, 99]) {
      const { report, vcpu } = await refused(number);
      expect([report.reason, vcpu.rip]).toEqual(['halted', 0x2001n]);
    }
    const halted = await run(Uint8Array.of(...mov(EAX, 3), ...VMCALL, 0xeb, 0xfe), hypercall);
    expect([halted.report.reason, halted.vcpu.rip]).toEqual(['halted', 0x1009n]);
  });

  it('slow-clock: an exit that only happens when asked for', async () => {
    const { slowClock } = await example<{ slowClock: Plugin }>('slow-clock.ts');
    const code = Uint8Array.of(...RDTSC, ...RDTSC, HLT);
    const { report, vcpu } = await run(code, slowClock);
    expect([vcpu.rax, report.exits.rdtsc]).toEqual([2000n, 2]);
    expect((await run(code, { ...slowClock, needs: {} })).report.exits.rdtsc).toBeUndefined();
  });

  it('slow-clock: what it cannot have is said at composition', async () => {
    const { slowClock } = await example<{ slowClock: Plugin }>('slow-clock.ts');
    const against: Plugin = { name: 'native-tsc', needs: { clear: { primary: ['rdtsc-exiting'] } }, apply() {} };
    const withBackend =
      (backend: Parameters<typeof compose>[0]['backend'], ...plugins: Plugin[]) =>
      () =>
        compose({ backend, memory: 4096, plugins });
    expect(withBackend(vmx(), slowClock, against)).toThrow(
      'The plugins cannot share the processor: slow-clock needs the primary control "rdtsc-exiting" set, native-tsc needs it clear.',
    );
    expect(withBackend(fakeBackend([], { without: ['exit.rdtsc'] }), slowClock)).toThrow(
      'Backend fake lacks "exit.rdtsc" (asked for by slow-clock; no other known backend has it).',
    );
  });

  it('scratch-msr: reads what was written, refuses what is too wide', async () => {
    const { scratchMsr } = await example<{ scratchMsr: Plugin }>('scratch-msr.ts');
    const write = [...mov(ECX, 0x4b56_0000), ...mov(EAX, 0xcafe), 0x66, 0x31, 0xd2, 0x0f, 0x30]; // XOR EDX, EDX; WRMSR
    const { vcpu, report } = await run(Uint8Array.of(...write, ...mov(EAX, 0), 0x0f, 0x32, HLT), scratchMsr);
    expect([vcpu.rax, report.exits]).toEqual([0xcafen, { rdmsr: 1, wrmsr: 1, hlt: 1 }]);
    const { report: refused } = await run(Uint8Array.of(...write.slice(0, -2), 0x66, 0x42, 0x0f, 0x30), scratchMsr); // INC EDX
    expect(refused.reason).not.toBe('halted');
  });

  it('signature: leaf 40000000H and the hypervisor bit', async () => {
    const { signature } = await example<{ signature: Plugin }>('signature.ts');
    const { vcpu } = await run(Uint8Array.of(...mov(EAX, 0x4000_0000), 0x0f, 0xa2, HLT), signature);
    const text = [vcpu.rbx, vcpu.rcx, vcpu.rdx]
      .map((value) => Buffer.from(Uint32Array.of(Number(value)).buffer).toString())
      .join('');
    expect([text, vcpu.rax]).toEqual(['MyHypervisor', 0x4000_0000n]);
    await using vmm = compose({ backend: vmx(), memory: 4096, plugins: [signature] });
    await vmm.create();
    const table = vmm.services.get(CpuidTableToken);
    expect(table.execute(1, 0, { cpl: 0 } as Vcpu)[2] >>> 31).toBe(1);
  });

  it('hide-page: the code runs, a read sees INT3', async () => {
    const { hidePage } = await example<{ hidePage: (gpa: number) => Plugin }>('hide-page.ts');
    const { vcpu, report } = await run(Uint8Array.of(0xa0, 0x00, 0x10, HLT), hidePage(0x1000)); // MOV AL, [1000H]
    expect([vcpu.rax, report.exits]).toEqual([0xccn, { hlt: 1 }]);
  });

  it('visorkit.config.ts: plugins with options', async () => {
    const project = await loadProject(join(examples, 'project'), undefined, { '@visorkit/machine': machine });
    expect(project?.config).toMatchObject({ kernel: join(examples, 'dice.bin'), memory: '16M', time: 'virtual' });
    expect(project?.plugins).toHaveLength(2);
    await using vmm = compose({ backend: new VmxBackend(), memory: '1M', plugins: project!.plugins });
    await vmm.create();
    expect(vmm.services.get(machine.PortBusToken).ownerOf(0x5c0)).toBe('dice');
  });
});
