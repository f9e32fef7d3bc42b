/** Reading what another vCPU holds: from where it lies, without a turn of the processor. */
import { describe, expect, it } from 'vitest';
import { Gpr } from '@visorkit/core';
import type { Vcpu } from '@visorkit/core';
import { AccessRights, Msr, VmcsField } from '@visorkit/x86';
import { BareMachine } from '../test/bare-machine.js';

const PAGE = 0x10_0000;
const CPUS = 4;
/** IA32_TSC goes on, the others stay. */
const MSRS = [
  Msr.IA32_LSTAR,
  Msr.IA32_PAT,
  Msr.IA32_KERNEL_GS_BASE,
  Msr.IA32_TSC_ADJUST,
  Msr.IA32_ARCH_CAPABILITIES,
  Msr.IA32_MTRRCAP,
];

/** Everything that can be read of a vCPU. */
function all(vcpu: Vcpu): unknown {
  return {
    snapshot: vcpu.snapshot(),
    registers: Object.values(Gpr).map((index) => [vcpu.getRegister(index), vcpu.getRegister32(index)]),
    named: [vcpu.rax, vcpu.rsi, vcpu.r8, vcpu.rip, vcpu.rflags, vcpu.efer, vcpu.xcr0, vcpu.cpl, vcpu.codeBits],
    control: [0, 2, 3, 4, 8].map((index) => vcpu.getControlRegister(index)),
    debug: [0, 3, 6, 7].map((index) => vcpu.getDebugRegister(index)),
    segments: [0, 1, 2, 3, 4, 5, 6, 7].map((index) => vcpu.getSegment(index)),
    tables: [vcpu.gdtr, vcpu.idtr],
    msrs: MSRS.map((index) => [vcpu.hasMsr(index), vcpu.readMsr(index), vcpu.readMsrHalf(index, 'high')]),
    events: [vcpu.canTakeInterrupt(), vcpu.canTakeNmi(), vcpu.interruptsEnabled(), vcpu.trapPending()],
    vmcs: [
      vcpu.vmcs!.read64(VmcsField.GUEST_RIP),
      vcpu.vmcs!.read32(VmcsField.GUEST_RFLAGS),
      vcpu.vmcs!.read64(VmcsField.EPT_POINTER),
    ],
    count: vcpu.instructions,
  };
}

/** Writing is what needs a turn. */
function takeTurn(vcpu: Vcpu): void {
  const { rax } = vcpu;
  vcpu.rax = rax;
}

/** Four vCPUs that differ in everything. */
async function four(): Promise<BareMachine> {
  const vm = await BareMachine.create({ cpus: CPUS });
  vm.vcpus.forEach((vcpu, index) => {
    for (const register of [Gpr.RAX, Gpr.RBX, Gpr.R8, Gpr.R15])
      vcpu.setRegister(register, BigInt(index * 100 + register));
    vcpu.setDebugRegister(0, BigInt(index));
    vcpu.setControlRegister(2, BigInt(index));
    vcpu.writeMsr(Msr.IA32_LSTAR, BigInt(0x1000 + index));
    vcpu.setSegment(4, { selector: 0x10, base: BigInt(index), limit: 0xffff_ffff, accessRights: 0xc093 });
    vcpu.idtr = { base: BigInt(index), limit: 0xfff };
    vcpu.rflags = index % 2 === 0 ? 0x202n : 2n;
    vm.read(PAGE, index);
    vcpu.writeMsr(Msr.IA32_TSC_ADJUST, BigInt(index * 1000));
  });
  return vm;
}

describe('another vCPU', () => {
  it('reads as it does in its own turn', async () => {
    const vm = await four();
    const own = vm.vcpus.map((vcpu) => {
      takeTurn(vcpu);
      return all(vcpu);
    });
    expect(
      new Set(
        own.map((values) => JSON.stringify(values, (_key, value) => (typeof value === 'bigint' ? `${value}` : value))),
      ).size,
    ).toBe(CPUS);
    for (const turn of vm.vcpus) {
      takeTurn(turn);
      expect(vm.vcpus.map(all)).toEqual(own);
    }
  });

  it('has the time stamp counter of its own turn', async () => {
    const vm = await four(),
      read = (): bigint[] => vm.vcpus.map((vcpu) => vcpu.readMsr(Msr.IA32_TIME_STAMP_COUNTER));
    const times = vm.vcpus.map((turn) => {
      takeTurn(turn);
      return read();
    });
    for (const time of times) expect(time).toEqual(times[0]);
    expect(times[0].map((time) => time - times[0][0])).toEqual([0n, 1000n, 2000n, 3000n]);
  });

  it('is read a thousand times at the cost of no turn and no translation', async () => {
    const vm = await four();
    vm.read(PAGE, 0);
    const before = [vm.counter(0), vm.counter(1)];
    for (let n = 0; n < 1000; n++) for (const vcpu of vm.vcpus) all(vcpu);
    expect([vm.counter(0), vm.counter(1)]).toEqual(before);
    expect(vm.read(PAGE, 0)).toBe(0);
    expect([vm.counter(0), vm.counter(1)]).toEqual(before);
  });

  it('has what was written to it, and runs with it', async () => {
    const vm = await four(),
      [first, second] = vm.vcpus;
    vm.memory.writeU8(PAGE, 0x42);
    vm.read(PAGE, 0);
    second.rflags = 0x203n; // its turn
    first.rax = 5n; // and back
    expect([second.rflags, second.interruptsEnabled(), first.rflags & 1n]).toEqual([0x203n, true, 0n]);
    const before = vm.counter(0);
    second.vmcs.write32(VmcsField.EXCEPTION_BITMAP, 1 << 3);
    second.vmcs.write64(VmcsField.GUEST_RFLAGS, 0x246n);
    second.vmcs.write64(VmcsField.GUEST_RIP, 0x1234n);
    expect([vm.counter(0), second.rflags, second.rip, first.vmcs.read32(VmcsField.EXCEPTION_BITMAP)]).toEqual([
      before,
      0x246n,
      0x1234n,
      0,
    ]);
    expect([vm.read(PAGE, 1), second.rflags & 0x246n, second.vmcs.read32(VmcsField.EXCEPTION_BITMAP)]).toEqual([
      0x42,
      0x246n,
      8,
    ]);
  });

  it('shows the control bits that its guest sees', async () => {
    const vm = await four(),
      [first, second] = vm.vcpus;
    second.vmcs.write64(VmcsField.CR0_MASK, 1n << 30n);
    second.vmcs.write64(VmcsField.CR0_READ_SHADOW, 1n << 30n);
    expect([first.getControlRegister(0) >> 30n, second.getControlRegister(0) >> 30n].map((bits) => bits & 1n)).toEqual([
      0n,
      1n,
    ]);
    expect(second.getSegment(1).accessRights & AccessRights.L).not.toBe(0);
  });
});
