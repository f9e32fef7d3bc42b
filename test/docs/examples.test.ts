/** Every listing of the guide that is not tested by a test of its own does what the guide says. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { VmxBackend, vmx } from '@visorkit/backend-vmx';
import { bootFlat } from '@visorkit/boot-flat';
import { exits, hlt } from '@visorkit/exits';
import { definePlugin } from '@visorkit/core';
import type { Backend, BackendDefinition, LogSink, Plugin, StopReport, Token, Vcpu, Vmm } from '@visorkit/core';
import { loadPlugin, loadProject } from '@visorkit/project';
import { CpuidTableToken, compose } from '@visorkit/machine';
import * as machine from '@visorkit/machine';
import { cpuidExit, fakeBackend } from '@visorkit/testkit';
import { OsProfilesToken, VmiToken, introspection, introspectionEvents, toolOf } from '@visorkit/vmi';
import type { OsProfile } from '@visorkit/vmi';

const examples = join(import.meta.dirname, '../../docs/examples');
const example = async <T>(file: string): Promise<T> => (await import(/* @vite-ignore */ join(examples, file))) as T;

/** Runs real-mode code at 1000H on the software processor. */
async function run(
  code: Uint8Array,
  plugin: Plugin,
  more: readonly Plugin[] = [],
): Promise<{ report: StopReport; vcpu: Vcpu }> {
  const vmm = machineOf([...code], [plugin, ...more, ...exits()]);
  const report = await vmm.run({ maxInstructions: 1_000_000 });
  const [vcpu] = vmm.vcpus;
  await vmm.dispose();
  return { report, vcpu };
}

/** A machine with real-mode code at 1000H. */
function machineOf(code: readonly number[], plugins: readonly Plugin[], backend: Backend = vmx(), log?: LogSink): Vmm {
  const guest = definePlugin({
    name: 'guest',
    uses: { memory: machine.GuestMemoryToken },
    apply({ hooks, vcpus }, { memory }) {
      hooks.load.tap(() => {
        memory.write(0x1000, Uint8Array.from(code));
        vcpus[0].setInitialState({ mode: 'real16', rip: 0x1000n, rsp: 0x8000n });
      });
    },
  });
  return compose({
    backend,
    memory: '1M',
    time: 'virtual',
    plugins: [guest, ...plugins],
    ...(log === undefined ? {} : { log }),
  });
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
      run(Uint8Array.of(...mov(EAX, number), ...VMCALL, 0xeb, 0xfe), hypercall, [
        definePlugin({
          name: 'table',
          uses: { memory: machine.GuestMemoryToken },
          apply({ hooks }, { memory }) {
            hooks.loaded.tap(() => {
              memory.writeU32(24, 0x2000);
              memory.writeU8(0x2000, HLT);
            });
          },
        }),
      ]);
    for (const number of [2, 99]) {
      const { report, vcpu } = await refused(number);
      expect([report.reason, vcpu.rip]).toEqual(['halted', 0x2001n]);
    }
    const halted = await run(Uint8Array.of(...mov(EAX, 3), ...VMCALL, 0xeb, 0xfe), hypercall);
    expect([halted.report.reason, halted.vcpu.rip]).toEqual(['halted', 0x1009n]);
  });

  it('outcomes: pause, and the call is made again', async () => {
    const { hypercall } = await example<{ hypercall: Plugin }>('outcomes.ts');
    await using vmm = machineOf([...mov(EAX, 5), ...VMCALL, HLT], [hypercall, ...exits()]);
    for (let turn = 0; turn < 2; turn++) {
      expect(await vmm.run()).toMatchObject({ reason: 'paused', why: 'the guest asked for a pause' });
      expect(vmm.vcpus[0].rip).toBe(0x1006n);
    }
    vmm.vcpus[0].rax = 1n;
    expect((await vmm.run()).reason).toBe('halted');
  });

  it('going-on: a guest that uses a port nobody answers at', async () => {
    const { answerPorts } = await example<{ answerPorts: (vmm: Vmm, tell: (text: string) => void) => Promise<string> }>(
      'going-on.ts',
    );
    const told: string[] = [];
    await using vmm = machineOf([0xe4, 0x10, HLT], [hlt()]);
    expect(await answerPorts(vmm, (text) => void told.push(text))).toMatch(/^The guest halted/);
    expect([told, vmm.vcpus[0].rax & 0xffn]).toEqual([['io at 0x1000'], 0xffn]);
  });

  it('three-times: a tap that takes itself back', async () => {
    const { threeTimes } = await example<{ threeTimes: (tell: (text: string) => void) => Plugin }>('three-times.ts');
    const told: string[] = [];
    const { report } = await run(
      Uint8Array.of(...Array.from({ length: 5 }, () => [0x66, 0x31, 0xc0, 0x0f, 0xa2]).flat(), HLT), // XOR EAX, EAX; CPUID
      threeTimes((text) => void told.push(text)),
    );
    expect([told, report.exits.cpuid]).toEqual([['CPUID 0', 'CPUID 0', 'CPUID 0'], 5]);
  });

  it('trace-between: single steps between two CPUIDs, and no others', async () => {
    const { traceBetween } = await example<{ traceBetween: (tell: (rip: string) => void) => Plugin }>(
      'trace-between.ts',
    );
    const told: string[] = [];
    const { report } = await run(
      Uint8Array.of(0x90, 0x0f, 0xa2, 0x90, 0x40, 0x0f, 0xa2, 0x90, 0x40, HLT),
      traceBetween((rip) => void told.push(rip)),
    );
    expect(told).toEqual(['0x1004', '0x1005']);
    expect(report).toMatchObject({ reason: 'halted', exits: { 'monitor-trap-flag': 2 } });
  });

  it('exit-log: a service made when it is asked for, in any order', async () => {
    interface ExitLog {
      eventLog: () => Plugin;
      noteHalts: () => Plugin;
      EventLogToken: Token<{ readonly lines: readonly string[] }>;
    }
    const { eventLog, noteHalts, EventLogToken } = await example<ExitLog>('exit-log.ts');
    await using vmm = machineOf([0x90, HLT], [noteHalts(), ...exits(), eventLog()]);
    await vmm.run();
    expect(vmm.services.get(EventLogToken).lines).toEqual(['0 us: a machine without APICs', '0 us: vCPU 0 halts']);
    expect(() => machineOf([HLT], [noteHalts()])).toThrow(
      'Plugin note-halts uses the service "example/event-log", which no plugin of this VM provides. The package visorkit-event-log has it: add its plugin.',
    );
  });

  it('seeded: a backend of its own', async () => {
    const { default: seeded } = await example<{ default: BackendDefinition }>('seeded.ts');
    const thrown = async (seed: number): Promise<bigint> => {
      await using vmm = machineOf([0x66, 0x0f, 0xc7, 0xf0, HLT], exits(), await seeded.create({ seed })); // RDRAND EAX
      await vmm.run();
      return vmm.vcpus[0].rax;
    };
    expect(await thrown(2)).toBe(await thrown(2));
    expect(await thrown(2)).not.toBe(await thrown(3));
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

  it('log-cr3: three lines', async () => {
    const log: string[] = [];
    const { default: logCr3 } = await example<{ default: Plugin }>('log-cr3.ts');
    const plugins = [introspectionEvents(), logCr3, ...exits()];
    const code = [...mov(EAX, 0x5000), 0x0f, 0x22, 0xd8, 0x0f, 0x22, 0xd8, HLT]; // MOV CR3, EAX, twice
    await using vmm = machineOf(
      code,
      plugins,
      vmx(),
      (_level, source, message) => void log.push(`${source}: ${message}`),
    );
    expect((await vmm.run()).exits).toMatchObject({ 'control-register': 2 });
    expect(log).toEqual(['log-cr3: vCPU 0 goes to tables at 0x5000']);
  });

  it('list-tasks, tally-os: what runs in a guest whose system a profile knows', async () => {
    const told: string[] = [];
    const { listTasks } = await example<{ listTasks: (tell: (text: string) => void) => Plugin }>('list-tasks.ts');
    const { profile } = await example<{ profile: OsProfile }>('tally-os.ts');
    const knowsTally = definePlugin({
      name: 'os-tally',
      uses: { profiles: OsProfilesToken },
      apply: (host, { profiles }) => host.onDispose(profiles.add(profile)),
    });
    // MOV BYTE [3010H], 2; HLT: the second task begins
    const image = new Uint8Array(0x2100);
    image.set([0xc6, 0x06, 0x10, 0x30, 2, HLT]);
    image.set(Buffer.from('TALLY 1\0\x01idle\0\0\0\0counter'), 0x2000);
    await using vmm = machineOf(
      [...image],
      [introspection(), knowsTally, listTasks((text) => told.push(text)), ...exits()],
    );
    await vmm.run();
    expect(told).toEqual(['1 idle', '2 counter']);
    expect([...toolOf(vmm.services.get(VmiToken), 'longest').rows({})]).toEqual([[2, 'counter']]);
  });

  it('ps: what ran when a dump was made', async () => {
    const { ps } = await example<{ ps: (path: string, profiles: readonly OsProfile[]) => Promise<string[]> }>('ps.ts');
    const { profile } = await example<{ profile: OsProfile }>('tally-os.ts');
    const folder = mkdtempSync(join(tmpdir(), 'visorkit-ps-'));
    try {
      const dump = new Uint8Array(0x4000);
      dump.set(Buffer.from('TALLY 1\0\x07counter'), 0x3000);
      writeFileSync(join(folder, 'tally.raw'), dump);
      expect(await ps(join(folder, 'tally.raw'), [profile])).toEqual(['7 counter']);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it('guard-page: two writes and one are told, the fourth is done', async () => {
    const told: string[] = [];
    const { guardPage } = await example<{ guardPage: (gpa: number, tell: (text: string) => void) => Plugin }>(
      'guard-page.ts',
    );
    const store = [0xa2, 0x08, 0x20]; // MOV [2008H], AL
    const code = [0xb0, 7, ...store, ...store, ...store, 0x8a, 0x26, 0x08, 0x20, ...store, 0x02, 0x26, 0x08, 0x20, HLT]; // MOV AH, [2008H]; ADD AH, [2008H]
    const { vcpu } = await run(
      Uint8Array.from(code),
      guardPage(0x2000, (text) => told.push(text)),
      [introspectionEvents()],
    );
    expect(told).toEqual([2, 5, 8].map((at) => `1 bytes at offset 8: 0x7, from 0x${(0x1000 + at).toString(16)}`));
    expect(vcpu.rax & 0xffffn).toBe(0x707n);
  });

  it('trace-calls: arguments and returns', async () => {
    const told: string[] = [];
    type TraceCalls = (
      name: string,
      resolve: (name: string) => bigint | undefined,
      tell: (text: string) => void,
    ) => Plugin;
    const { traceCalls } = await example<{ traceCalls: TraceCalls }>('trace-calls.ts');
    const CODE = 0x10_0000,
      ADD = CODE + 0x100;
    // MOV EAX, 1; VMCALL; MOV EDI, 3; MOV ESI, 4; CALL ADD; HLT. ADD: LEA EAX, [RDI + RSI]; RET
    const image = new Uint8Array(0x104);
    image.set([0xb8, 1, 0, 0, 0, ...VMCALL, 0xbf, 3, 0, 0, 0, 0xbe, 4, 0, 0, 0, 0xe8, 0xe9, 0, 0, 0, HLT]);
    image.set([0x8d, 0x04, 0x37, 0xc3], 0x100);
    const resolve = (name: string): bigint | undefined => (name === 'add' ? BigInt(ADD) : undefined);
    await using vmm = compose({
      backend: vmx(),
      memory: '2M',
      time: 'virtual',
      plugins: [introspectionEvents(), traceCalls('add', resolve, (text) => told.push(text)), ...exits(), bootFlat()],
      boot: { image, loader: 'flat', options: { address: CODE, mode: 'long64' } },
    });
    expect(await vmm.run()).toMatchObject({ reason: 'halted' });
    expect(told).toEqual(['add(3, 4)', 'add gives 7']);
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
