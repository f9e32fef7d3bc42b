/** For the tests of handlers: scripts of exits, played with all handlers. */
import { Gpr, SystemControlToken, definePlugin } from '@visorkit/core';
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
import { fakeBackend, providing } from '@visorkit/testkit';
import type { FakeVcpu, ScriptedExit } from '@visorkit/testkit';
import { exits } from './index.js';

export const entry = (
  leaf: number,
  eax: number,
  ebx: number,
  ecx: number,
  edx: number,
  subleaf?: number,
): CpuidEntry => ({
  leaf,
  subleaf: subleaf ?? 0,
  indexed: subleaf !== undefined,
  eax,
  ebx,
  ecx,
  edx,
});

export const CPUID: CpuidEntry[] = [
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

export interface Played {
  vmm: Vmm;
  vcpu: FakeVcpu;
  report: Awaited<ReturnType<Vmm['run']>>;
}

export const USES = {
  ports: PortBusToken,
  mmio: MmioBusToken,
  msrs: MsrBusToken,
  table: CpuidTableToken,
  timers: TimerQueueToken,
  system: SystemControlToken,
};
export type SetUp = (host: PluginHost, used: Used<typeof USES>) => void;

/** Plays a script with all handlers; `setUp` is applied as one more plugin, beside `others`. */
export async function play(
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
export function watch(into: number[][]): (host: PluginHost) => void {
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

export const apicsOf = (apic: LocalApicPort): Plugin =>
  providing(LocalApicsToken, { forVcpu: () => apic, sendMessage() {} } as unknown as LocalApics);

export const injected = (vcpu: FakeVcpu): string[] =>
  vcpu.log.filter((line) => line.startsWith('exception') || line.startsWith('event'));
