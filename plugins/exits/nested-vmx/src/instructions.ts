/** The VMX instructions as the guest's hypervisor executes them (SDM 3C chapter 31): exits 19 to 27, 50 and 53, in VMX root operation as it sees it. */
import { RESUME, RETRY } from '@visorkit/core';
import type { Outcome, Vcpu, VmExit } from '@visorkit/core';
import { ExitReason, Rflags, VmcsField as F, Vector, exitReasonName, isCanonical } from '@visorkit/x86';
import { PAGE, SHADOW, Secondary, TWO_32 } from './bits.js';
import { validEptPointer } from './entry-checks.js';
import { vpidOf } from './merging.js';
import type { Entering } from './entry.js';
import { fieldName } from './fields.js';
import type { RegionFields } from '@visorkit/machine';
import { Operands, readRegister, registerOperand, secondRegister } from './operands.js';
import type { Parts } from './parts.js';
import type { Shadowing } from './shadowing.js';
import type { NestedVcpu } from './vcpu.js';

const LAUNCH_STATE = 8;
const STATUS_FLAGS = BigInt(Rflags.CF | Rflags.PF | Rflags.AF | Rflags.ZF | Rflags.SF | Rflags.OF);

/** Result of an instruction: 0 success, a VM-instruction error, -1 VMfailInvalid; a fault has been injected, or the vCPU goes on elsewhere. */
type Result = number | 'gone';

export class VmxInstructions {
  readonly #operands: Operands;
  /** What a result of 'gone' comes to. */
  #outcome: Outcome = RETRY;

  constructor(
    private readonly parts: Parts,
    private readonly entering: Entering,
    private readonly shadowing: Shadowing,
  ) {
    this.#operands = new Operands(parts.memory);
  }

  /** Carries out the instruction of the exit. */
  handle(n: NestedVcpu, exit: VmExit, vcpu: Vcpu): Outcome {
    const { reason } = exit;
    if (reason === ExitReason.VMXON) return this.#finish(n, exit, vcpu, this.#vmxon(n, exit, vcpu));
    if (n.vmxon < 0) {
      vcpu.injectException(Vector.UD);
      return RETRY;
    }
    if (vcpu.cpl !== 0) {
      vcpu.injectException(Vector.GP, 0);
      return RETRY;
    }
    return this.#finish(n, exit, vcpu, this.#execute(n, exit, vcpu));
  }

  #execute(n: NestedVcpu, exit: VmExit, vcpu: Vcpu): Result {
    switch (exit.reason) {
      case ExitReason.VMCLEAR:
        return this.#vmclear(n, exit, vcpu);
      case ExitReason.VMPTRLD:
        return this.#vmptrld(n, exit, vcpu);
      case ExitReason.VMPTRST:
        return this.#vmptrst(n, exit, vcpu);
      case ExitReason.VMREAD:
        return this.#vmread(n, exit, vcpu, n.current < 0 ? undefined : n.vmcs12);
      case ExitReason.VMWRITE:
        return this.#vmwrite(n, exit, vcpu, n.current < 0 ? undefined : n.vmcs12, n.current);
      case ExitReason.VMLAUNCH:
      case ExitReason.VMRESUME: {
        if (this.parts.hooks.instruction.isUsed()) this.#tell(n, exit, vcpu, 0);
        const entered = this.entering.enter(n, vcpu, exit.reason === ExitReason.VMRESUME);
        if (typeof entered === 'object' && 'error' in entered) return entered.error;
        this.#outcome = entered;
        // or else entries that are left at once, again and again, would take no virtual time
        this.parts.regions.countInstruction(vcpu);
        return 'gone';
      }
      case ExitReason.VMXOFF:
        n.release?.();
        n.release = undefined;
        n.vmxon = n.current = -1;
        this.shadowing.use(n);
        return 0;
      case ExitReason.INVEPT:
        return this.#invept(exit, vcpu);
      default:
        return this.#invvpid(exit, vcpu);
    }
  }

  // ------------------------------------------------------------------------------------------------ results
  /** VMsucceed, VMfailValid or VMfailInvalid (31.2). */
  #finish(n: NestedVcpu, exit: VmExit, vcpu: Vcpu, result: Result): Outcome {
    if (result === 'gone') {
      const outcome = this.#outcome;
      this.#outcome = RETRY;
      return outcome;
    }
    const launch = exit.reason === ExitReason.VMLAUNCH || exit.reason === ExitReason.VMRESUME;
    if (this.parts.hooks.instruction.isUsed() && (!launch || result !== 0)) this.#tell(n, exit, vcpu, result);
    this.setFlags(n, vcpu, result);
    return RESUME;
  }

  setFlags(n: NestedVcpu, vcpu: Vcpu, error: number): void {
    let flags = vcpu.rflags & ~STATUS_FLAGS;
    if (error !== 0 && (n.current < 0 || error < 0)) flags |= BigInt(Rflags.CF);
    else if (error !== 0) {
      flags |= BigInt(Rflags.ZF);
      n.vmcs12.write32(F.VM_INSTRUCTION_ERROR, error);
    }
    vcpu.rflags = flags;
  }

  #tell(n: NestedVcpu, { reason }: VmExit, vcpu: Vcpu, error: number): void {
    this.parts.hooks.instruction.call({ name: exitReasonName(reason), error, vmcs: n.current }, vcpu);
  }

  // ------------------------------------------------------------------------------------------------ VMX operation
  #vmxon(n: NestedVcpu, exit: VmExit, vcpu: Vcpu): Result {
    // The processor has looked at CR4.VMXE, CR0.PE, virtual-8086 and compatibility mode
    const outside = n.vmxon < 0;
    const fixed = BigInt(this.parts.capabilities.cr0Fixed0);
    if (
      vcpu.cpl !== 0 ||
      (outside && ((vcpu.getControlRegister(0) & fixed) !== fixed || !this.parts.msrs.permitsVmxon(vcpu.index)))
    ) {
      vcpu.injectException(Vector.GP, 0);
      return 'gone';
    }
    if (!outside) return 15;
    const pointer = this.#pointer(exit, vcpu);
    if (pointer === undefined) return 'gone';
    if (!this.#validAddress(pointer)) return -1;
    const at = Number(pointer);
    if (this.parts.memory.read32(vcpu, at) !== this.parts.regions.revision) return -1;
    n.vmxon = at;
    n.current = -1;
    n.release = this.parts.holdFixedBits(vcpu);
    return 0;
  }

  #vmclear(n: NestedVcpu, exit: VmExit, vcpu: Vcpu): Result {
    const pointer = this.#pointer(exit, vcpu);
    if (pointer === undefined) return 'gone';
    if (!this.#validAddress(pointer)) return 2;
    const at = Number(pointer);
    if (at === n.vmxon) return 3;
    this.parts.memory.write32(vcpu, at + LAUNCH_STATE, 0);
    if (at === n.current) {
      n.current = -1;
      this.shadowing.use(n);
    }
    return 0;
  }

  #vmptrld(n: NestedVcpu, exit: VmExit, vcpu: Vcpu): Result {
    const pointer = this.#pointer(exit, vcpu);
    if (pointer === undefined) return 'gone';
    if (!this.#validAddress(pointer)) return 9;
    const at = Number(pointer);
    if (at === n.vmxon) return 10;
    const { regions, capabilities } = this.parts;
    const revision = this.parts.memory.read32(vcpu, at);
    const shadow = (capabilities.secondary.allowed & Secondary.VMCS_SHADOWING) !== 0;
    if ((shadow ? revision & 0x7fff_ffff : revision) !== regions.revision) return 11;
    if (n.current >= 0) this.parts.memory.noteWrite(vcpu, n.current); // fields that were written past the plugin
    n.current = at;
    n.vmcs12.page = this.parts.memory.page(vcpu, at);
    this.shadowing.use(n);
    return 0;
  }

  #vmptrst(n: NestedVcpu, exit: VmExit, vcpu: Vcpu): Result {
    const value = n.current < 0 ? 0xffff_ffff_ffff_ffffn : BigInt(n.current);
    return this.#operands.write(exit, vcpu, value, 8) ? 0 : 'gone';
  }

  #pointer(exit: VmExit, vcpu: Vcpu): bigint | undefined {
    return this.#operands.read(exit, vcpu, 8);
  }
  #validAddress(address: bigint): boolean {
    return address % BigInt(PAGE) === 0n && address >> BigInt(this.parts.capabilities.physicalBits) === 0n;
  }

  // ------------------------------------------------------------------------------------------------ fields
  /** VMREAD by the hypervisor, or by its guest from a shadow VMCS. */
  #vmread(_n: NestedVcpu, exit: VmExit, vcpu: Vcpu, vmcs: RegionFields | undefined): Result {
    if (vmcs === undefined) return -1;
    const field = this.#field(exit, vcpu);
    if (field < 0) return 12;
    const wide = vcpu.codeBits === 64;
    const value = vmcs.read64(field);
    const register = registerOperand(exit);
    if (register < 0) return this.#operands.write(exit, vcpu, value, wide ? 8 : 4) ? 0 : 'gone';
    if (wide) vcpu.setRegister(register, value);
    else vcpu.setRegister32(register, Number(value & 0xffff_ffffn));
    return 0;
  }

  #vmwrite(n: NestedVcpu, exit: VmExit, vcpu: Vcpu, vmcs: RegionFields | undefined, pointer: number): Result {
    if (vmcs === undefined) return -1;
    const wide = vcpu.codeBits === 64;
    const register = registerOperand(exit);
    const value = register >= 0 ? readRegister(vcpu, register) : this.#operands.read(exit, vcpu, wide ? 8 : 4);
    if (value === undefined) return 'gone';
    const field = this.#field(exit, vcpu);
    if (field < 0) return 12;
    this.#store(n, vcpu, vmcs, pointer, field, value);
    return 0;
  }

  #store(_n: NestedVcpu, vcpu: Vcpu, vmcs: RegionFields, pointer: number, field: number, value: bigint): void {
    const { write } = this.parts.hooks;
    let stored = value;
    if (write.isUsed()) {
      const event = { field, name: fieldName(field), before: vmcs.read64(field), after: value, vmcs: pointer };
      write.call(event, vcpu);
      stored = BigInt.asUintN(64, event.after);
    }
    // Bits of access rights that do not exist are not kept (25.4.1)
    vmcs.write64(field, isAccessRights(field) ? stored & 0x1_f0ffn : stored);
    this.parts.regions.noteWrite(vcpu, pointer);
  }

  /** The field that the register operand names; -1 when there is none. */
  #field(exit: VmExit, vcpu: Vcpu): number {
    const encoding = readRegister(vcpu, secondRegister(exit));
    return encoding <= 0x7fffn && this.parts.fields.has(Number(encoding)) ? Number(encoding) : -1;
  }

  /** VMREAD or VMWRITE of the hypervisor's guest, in the shadow VMCS that vmcs12 links to (25.6.15). */
  shadowed(n: NestedVcpu, exit: VmExit, vcpu: Vcpu, shadow: RegionFields): Outcome {
    const link = n.vmcs12.address(F.VMCS_LINK_POINTER);
    const page = link % PAGE === 0 ? this.parts.memory.page(vcpu, link) : -1;
    shadow.page = page;
    const vmcs = page < 0 || this.parts.regions.words[page >>> 2] < SHADOW ? undefined : shadow;
    const result =
      exit.reason === ExitReason.VMREAD ? this.#vmread(n, exit, vcpu, vmcs) : this.#vmwrite(n, exit, vcpu, vmcs, link);
    if (result === 'gone') return RETRY;
    this.setFlags(n, vcpu, result);
    return RESUME;
  }

  // ------------------------------------------------------------------------------------------------ invalidation
  #invept(exit: VmExit, vcpu: Vcpu): Result {
    const { capabilities, ept02 } = this.parts;
    if (!capabilities.features.ept) {
      vcpu.injectException(Vector.UD);
      return 'gone';
    }
    const type = readRegister(vcpu, secondRegister(exit));
    const descriptor = this.#operands.read(exit, vcpu, 16);
    if (descriptor === undefined) return 'gone';
    if (type !== 1n && type !== 2n) return 28;
    if (type === 2n) {
      ept02.emptyAll();
      return 0;
    }
    const low = Number(descriptor & 0xffff_ffffn),
      high = Number((descriptor >> 32n) & 0xffff_ffffn);
    if (!validEptPointer(low, high, capabilities)) return 28;
    ept02.empty(high * TWO_32 + low);
    return 0;
  }

  #invvpid(exit: VmExit, vcpu: Vcpu): Result {
    const { capabilities, regions } = this.parts;
    if (!capabilities.features.vpid) {
      vcpu.injectException(Vector.UD);
      return 'gone';
    }
    const type = readRegister(vcpu, secondRegister(exit));
    const descriptor = this.#operands.read(exit, vcpu, 16);
    if (descriptor === undefined) return 'gone';
    if (type > 3n) return 28;
    const vpid = Number(descriptor & 0xffffn),
      linear = descriptor >> 64n;
    if ((descriptor & 0xffff_ffff_ffff_ffffn) >> 16n !== 0n) return 28;
    if (type !== 2n && vpid === 0) return 28;
    if (type === 0n && !isCanonical(linear, capabilities.linearBits)) return 28;
    const all = type === 2n;
    // an address that is canonical for 57 bits only has no translation while 48 are in force
    regions.invvpid(
      vcpu,
      all ? 2 : type === 0n && !isCanonical(linear, 48) ? 1 : Number(type),
      all ? 0 : vpidOf(vpid),
      linear,
    );
    return 0;
  }
}

function isAccessRights(field: number): boolean {
  return field >= F.GUEST_ES_ACCESS_RIGHTS && field <= F.GUEST_TR_ACCESS_RIGHTS;
}
