/**
 * KVM's hypercalls (Linux documentation, "Linux KVM Hypercall" and "x86 KVM CPUID features"): VMCALL with the number in
 * RAX and up to four arguments in RBX, RCX, RDX and RSI; the result comes back in RAX.
 *
 * The guest is not told of them through CPUID: they are for programs that call without asking.
 */
import { Gpr, RESUME, Stage } from '@visorkit/core';
import type { Outcome, Plugin, PluginHost, Vcpu } from '@visorkit/core';
import { LocalApicsToken } from '@visorkit/machine';
import type { LocalApics } from '@visorkit/machine';

/** Numbers of the hypercalls that are answered. */
export const KvmHypercall = { vapicPollIrq: 1, sendIpi: 10 } as const;

/** Results below zero are errors. */
const NO_PERMISSION = -1n;
const NO_SUCH_CALL = -1000n;

export class KvmHypercallsPlugin implements Plugin {
  readonly name = 'kvm-hypercalls';
  /** KVM itself answers its guests. */
  readonly appliesTo = ['exit.vmcall'];
  readonly requires = { optionalServices: [LocalApicsToken] };

  apply(host: PluginHost): void {
    const apics = host.services.find(LocalApicsToken);
    const cpus = host.vcpus.length;
    host.hooks.exit
      .for('vmcall')
      .tap({ name: this.name, stage: Stage.Architecture }, (_exit, vcpu) => answer(vcpu, apics, cpus));
  }
}

function answer(vcpu: Vcpu, apics: LocalApics | undefined, cpus: number): Outcome {
  const wide = vcpu.codeBits === 64;
  const argument = (register: number): bigint =>
    wide ? vcpu.getRegister(register) : BigInt(vcpu.getRegister32(register));
  // Only the kernel may call.
  const result = vcpu.cpl !== 0 ? NO_PERMISSION : call(argument, wide ? 64 : 32, apics, cpus);
  if (wide) vcpu.setRegister(Gpr.RAX, BigInt.asUintN(64, result));
  else vcpu.setRegister32(Gpr.RAX, Number(BigInt.asUintN(32, result)));
  return RESUME;
}

function call(
  argument: (register: number) => bigint,
  bits: number,
  apics: LocalApics | undefined,
  cpus: number,
): bigint {
  switch (Number(argument(Gpr.RAX) & 0xffff_ffffn)) {
    case KvmHypercall.vapicPollIrq:
      return 0n; // once a way to enter the hypervisor, which looks at interrupts anyway
    case KvmHypercall.sendIpi: {
      if (apics === undefined) return NO_SUCH_CALL;
      const set = argument(Gpr.RBX) | (argument(Gpr.RCX) << BigInt(bits));
      return sendIpi(
        apics,
        cpus,
        set,
        Number(argument(Gpr.RDX) & 0xffff_ffffn),
        Number(argument(Gpr.RSI) & 0xffff_ffffn),
      );
    }
    default:
      return NO_SUCH_CALL;
  }
}

/** Sends the message of `command`, as the interrupt command register has it, to the APIC IDs `first` plus each bit of `set`. */
function sendIpi(apics: LocalApics, cpus: number, set: bigint, first: number, command: number): bigint {
  let sent = 0n;
  for (let index = 0; index < cpus; index++) {
    const { id } = apics.forVcpu(index);
    if (id < first || ((set >> BigInt(id - first)) & 1n) === 0n) continue;
    // A physical destination in a message-signalled interrupt, with vector and delivery mode of the command.
    apics.sendMessage(0xfee0_0000 + (id << 12), command & 0x7ff);
    sent++;
  }
  return sent;
}
