/** Hypercalls of KVM, on a backend that plays scripts. */
import { expect, it } from 'vitest';
import { ExitReason, Gpr } from '@visorkit/core';
import { LocalApicsToken, compose } from '@visorkit/machine';
import type { LocalApics } from '@visorkit/machine';
import type { Plugin } from '@visorkit/core';
import { fakeBackend } from '@visorkit/testkit';
import type { ScriptedExit } from '@visorkit/testkit';
import { KvmHypercallsPlugin } from './kvm.js';

const vmcall = (number: bigint, cpl: number, b = 0n, c = 0n, d = 0n, si = 0n): ScriptedExit => ({
  fill: (exit, vcpu) => {
    exit.reason = ExitReason.VMCALL;
    exit.instructionLength = 3;
    vcpu.cpl = cpl;
    [
      [Gpr.RAX, number],
      [Gpr.RBX, b],
      [Gpr.RCX, c],
      [Gpr.RDX, d],
      [Gpr.RSI, si],
    ].forEach(([register, value]) => vcpu.setRegister(Number(register), BigInt(value)));
  },
});

it('answers known calls of the kernel and refuses the rest', async () => {
  const sent: [number, number][] = [];
  const apics = {
    forVcpu: (index: number) => ({ cr8: 0, enabled: true, x2apic: false, id: index }),
    sendMessage: (address: number, data: number) => void sent.push([address, data]),
  } as unknown as LocalApics;
  const apicPlugin: Plugin = {
    name: 'apics',
    provides: [LocalApicsToken],
    apply: (host) => host.services.provide(LocalApicsToken, apics),
  };
  const results: bigint[] = [];
  const spy: Plugin = {
    name: 'spy',
    apply: ({ hooks }) =>
      void hooks.afterExit.tap(
        'spy',
        (exit, vcpu) => void (exit.reason === ExitReason.VMCALL && results.push(BigInt.asIntN(64, vcpu.rax))),
      ),
  };
  const backend = fakeBackend([
    vmcall(1n, 0),
    vmcall(77n, 0),
    vmcall(1n, 3),
    vmcall(10n, 0, 1n, 0n, 0n, 0x440n),
    vmcall(10n, 0, 0xffff_ffffn, 0n, 0xffff_ffffn),
  ]);
  const vmm = compose({
    backend,
    memory: '1M',
    cpus: 1,
    time: 'virtual',
    plugins: [apicPlugin, new KvmHypercallsPlugin(), spy],
  });
  await vmm.run();
  expect(results).toEqual([0n, -1000n, -1n, 1n, 0n]);
  expect(sent).toEqual([[0xfee0_0000, 0x440]]);
  await vmm.dispose();
});
