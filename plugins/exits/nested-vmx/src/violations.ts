/** EPT violations of the hypervisor's guest, and VM functions: EPT02 is filled, or the hypervisor is told (SDM 3C 29.3.3, 26.5.6, 26.5.7). */
import { Gpr, RESUME, RETRY } from '@visorkit/core';
import type { Outcome, Vcpu, VmExit } from '@visorkit/core';
import { ExitReason, Interruptibility, VmcsField as F, Vector } from '@visorkit/x86';
import { INFO_VALID, PAGE, Secondary, TWO_32 } from './bits.js';
import { secondaryOf, validEptPointer } from './entry-checks.js';
import { EXECUTE_USER, hasFlags } from './ept12.js';
import { SubPages } from './sub-pages.js';
import type { RegionFields } from '@visorkit/machine';
import type { Leaving } from './leaving.js';
import type { Parts } from './parts.js';
import type { NestedVcpu } from './vcpu.js';

const READ = 1;
const WRITE = 2;
/** The access is the one of a linear address, and not one of its translation: bits 7 and 8. */
const DATA_ACCESS = 0x180;
/** Qualification of an exit 66: the table has no entry. */
const SPP_MISSING = 0x800;
/** Bits 6:3: what the tables allow. */
const RIGHTS = 0x78;
const FETCH = 4;
/** The linear address is one of user mode, of a fetch under mode-based execute control. */
const USER_ADDRESS = 0x200;
/** Bits 11:9 tell more than the hypervisor is offered (IA32_VMX_EPT_VPID_CAP bit 22). */
const ADVANCED = 0xe00;
const NMI_UNBLOCKING = 0x1000;
/** Last entry of the log of written pages. */
const LOG_LAST = 511;
const LIST_ENTRIES = 512;
/** Offsets in the virtualization-exception information area (table 26-1). */
const VE = { REASON: 0, BUSY: 4, QUALIFICATION: 8, LINEAR: 16, PHYSICAL: 24, INDEX: 32 } as const;

export class Violations {
  readonly #subPages: SubPages;

  constructor(
    private readonly parts: Parts,
    private readonly leaving: Leaving,
  ) {
    this.#subPages = new SubPages(parts.memory, parts.regions.words, parts.regions.capabilities.physicalBits);
  }

  /** Exit 48 or 49. undefined: it is the machine's; a device may answer, or a plugin that watches the page. */
  handle(n: NestedVcpu, exit: VmExit, vcpu: Vcpu): Outcome | undefined {
    const { vmcs12 } = n;
    if ((secondaryOf(vmcs12) & Secondary.EPT) === 0) {
      this.#blockNmis(exit, vcpu);
      return this.#machine(exit, vcpu, exit.gpa);
    }
    const { ept12, ept02 } = this.parts;
    const low = vmcs12.read32(F.EPT_POINTER),
      address = exit.gpa,
      access = neededRight(vmcs12, exit);
    const status = ept12.walk(vcpu, low, vmcs12.high(F.EPT_POINTER), address, byMode(vmcs12));
    if (status === 'misconfigured') return this.leaving.reflect(n, vcpu, ExitReason.EPT_MISCONFIGURATION);
    const byParts = status === 'mapped' && this.#countsParts(vmcs12, exit, access);
    if (status === 'absent' || (!byParts && (ept12.rights & access) !== access))
      return this.#violation(n, exit, vcpu, address);
    const target = ept12.gpa;
    const frame = this.parts.regions.frame(vcpu, target);
    const ours = frame === undefined ? 0 : frame.rights | ((frame.rights & FETCH) !== 0 ? EXECUTE_USER : 0);
    if (frame === undefined || (ours & access) !== access) {
      this.#blockNmis(exit, vcpu);
      return this.#machine(exit, vcpu, target);
    }
    let rights = ept12.rights & ours;
    if (byParts) return this.#writePart(n, exit, vcpu, { address, hpa: frame.hpa, rights });
    const hpa = frame.hpa,
      size = Math.min(frame.size, ept12.size);
    if (hasFlags(low)) {
      const write = (access & WRITE) !== 0;
      if (write && !ept12.dirty && !this.#log(n, vcpu, address)) {
        return this.leaving.reflect(n, vcpu, ExitReason.PAGE_MODIFICATION_LOG_FULL);
      }
      ept12.setFlags(vcpu, write);
      // the first write is to be seen
      if (!ept12.dirty) rights &= ~WRITE;
    }
    if ((rights & WRITE) !== 0) this.parts.regions.noteWrite(vcpu, target);
    ept02.map(ept02.for(vmcs12.address(F.EPT_POINTER), byMode(vmcs12)), address, hpa, size, rights);
    this.#blockNmis(exit, vcpu);
    this.parts.regions.again(vcpu);
    return RETRY;
  }

  /** Whether `handle` would tell the hypervisor. Changes nothing. */
  isForHypervisor({ vmcs12 }: NestedVcpu, exit: VmExit, vcpu: Vcpu): boolean {
    if ((secondaryOf(vmcs12) & Secondary.EPT) === 0) return false;
    const { ept12 } = this.parts,
      access = neededRight(vmcs12, exit);
    const status = ept12.walk(vcpu, vmcs12.read32(F.EPT_POINTER), vmcs12.high(F.EPT_POINTER), exit.gpa, byMode(vmcs12));
    if (status === 'mapped' && this.#countsParts(vmcs12, exit, access))
      return this.#subPages.walk(vcpu, vmcs12, exit.gpa, this.parts.regions.accessSize(vcpu)) !== 'allowed';
    return status !== 'mapped' || (ept12.rights & access) !== access;
  }

  /** Sub-page permissions say whether a write is allowed that the page's own rights forbid (29.3.4): one through a linear address. */
  #countsParts(vmcs12: RegionFields, { qualification }: VmExit, access: number): boolean {
    const { ept12 } = this.parts;
    return (
      (secondaryOf(vmcs12) & Secondary.SUB_PAGES) !== 0 &&
      ept12.subPages &&
      (access & WRITE) !== 0 &&
      (ept12.rights & (WRITE | READ)) === READ &&
      (qualification & DATA_ACCESS) === DATA_ACCESS
    );
  }

  /** Such a write, to the page that the last walk has found; it is at `hpa`, with these rights. */
  #writePart(
    n: NestedVcpu,
    exit: VmExit,
    vcpu: Vcpu,
    { address, hpa, rights }: { address: number; hpa: number; rights: number },
  ): Outcome {
    const { vmcs12 } = n,
      { ept12, ept02, regions } = this.parts,
      parts = this.#subPages;
    const status = parts.walk(vcpu, vmcs12, address, regions.accessSize(vcpu));
    if (status === 'missing' || status === 'misconfigured') {
      const outcome = this.leaving.reflect(n, vcpu, ExitReason.SPP);
      vmcs12.write32(
        F.EXIT_QUALIFICATION,
        (status === 'missing' ? SPP_MISSING : 0) | (exit.qualification & NMI_UNBLOCKING),
      );
      return outcome;
    }
    const hierarchy = ept02.for(vmcs12.address(F.EPT_POINTER), byMode(vmcs12));
    // Refused by what it has let through before: a write that goes on into another part
    if (status === 'denied' || ept02.hasParts(hierarchy, address, parts.low, parts.high))
      return this.#violation(n, exit, vcpu, address);
    if (hasFlags(vmcs12.read32(F.EPT_POINTER))) {
      if (!ept12.dirty && !this.#log(n, vcpu, address))
        return this.leaving.reflect(n, vcpu, ExitReason.PAGE_MODIFICATION_LOG_FULL);
      ept12.setFlags(vcpu, true);
    }
    regions.noteWrite(vcpu, ept12.gpa);
    ept02.mapParts(hierarchy, address, hpa, rights, [parts.low, parts.high]);
    this.#blockNmis(exit, vcpu);
    regions.again(vcpu);
    return RETRY;
  }

  /** An access to what the machine's own tables do not have, or do not allow. */
  #machine(exit: VmExit, vcpu: Vcpu, gpa: number): Outcome | undefined {
    exit.gpa = gpa;
    return this.parts.regions.deviceAccess(vcpu, gpa) === 'done' ? RETRY : undefined;
  }

  /** The hypervisor's tables do not allow the access: #VE for its guest, or an exit for itself. */
  #violation(n: NestedVcpu, exit: VmExit, vcpu: Vcpu, address: number): Outcome {
    const { vmcs12 } = n,
      { ept12 } = this.parts;
    const rights = ((ept12.rights & 7) << 3) | ((ept12.rights & EXECUTE_USER) !== 0 ? 0x40 : 0);
    const qualification = ((exit.qualification & ~(RIGHTS | ADVANCED)) | rights) >>> 0;
    if (
      (secondaryOf(vmcs12) & Secondary.VIRTUALIZATION_EXCEPTION) !== 0 &&
      !ept12.suppressVe &&
      this.#virtualizationException(n, exit, vcpu, address, qualification)
    )
      return RETRY;
    const outcome = this.leaving.reflect(n, vcpu, ExitReason.EPT_VIOLATION);
    vmcs12.write32(F.EXIT_QUALIFICATION, qualification);
    return outcome;
  }

  /** #VE in the place of the exit (26.5.7.1); false while the area is in use, in real mode, and during the delivery of an event. */
  #virtualizationException(
    { vmcs12 }: NestedVcpu,
    exit: VmExit,
    vcpu: Vcpu,
    address: number,
    qualification: number,
  ): boolean {
    if ((vcpu.vmcs!.read32(F.GUEST_CR0) & 1) === 0 || exit.idtVectoringInfo >= INFO_VALID) return false;
    const { memory } = this.parts,
      area = vmcs12.address(F.VIRTUALIZATION_EXCEPTION_INFORMATION);
    if (memory.page(vcpu, area) < 0 || memory.read32(vcpu, area + VE.BUSY) !== 0) return false;
    memory.write32(vcpu, area + VE.REASON, ExitReason.EPT_VIOLATION);
    memory.write32(vcpu, area + VE.BUSY, 0xffff_ffff);
    memory.write64(vcpu, area + VE.QUALIFICATION, BigInt(qualification));
    memory.write64(vcpu, area + VE.LINEAR, exit.guestLinear);
    memory.write64(vcpu, area + VE.PHYSICAL, BigInt(address));
    const index = vmcs12.read32(F.EPTP_INDEX);
    memory.writeByte(vcpu, area + VE.INDEX, index & 0xff);
    memory.writeByte(vcpu, area + VE.INDEX + 1, index >>> 8);
    this.#blockNmis(exit, vcpu);
    vcpu.injectException(Vector.VE);
    return true;
  }

  /** Page-modification logging of the hypervisor's (29.3.6). False: the log is full. */
  #log({ vmcs12 }: NestedVcpu, vcpu: Vcpu, address: number): boolean {
    if ((secondaryOf(vmcs12) & Secondary.PML) === 0) return true;
    const index = vmcs12.read32(F.PML_INDEX);
    if (index > LOG_LAST) return false;
    const at = vmcs12.address(F.PML_ADDRESS) + index * 8;
    this.parts.memory.write64(vcpu, at, BigInt(address - (address % PAGE)));
    vmcs12.write32(F.PML_INDEX, (index - 1) & 0xffff);
    return true;
  }

  /** The access is made again: an IRET in flight must find NMIs blocked as before (28.2.3). */
  #blockNmis(exit: VmExit, vcpu: Vcpu): void {
    if ((exit.qualification & NMI_UNBLOCKING) === 0 || exit.idtVectoringInfo >= INFO_VALID) return;
    const vmcs = vcpu.vmcs!;
    vmcs.write32(F.GUEST_INTERRUPTIBILITY, vmcs.read32(F.GUEST_INTERRUPTIBILITY) | Interruptibility.NMI);
  }

  /** VMFUNC of the hypervisor's guest: function 0 with a valid pointer of the list switches; anything else is an exit (26.5.6). */
  vmFunction(n: NestedVcpu, vcpu: Vcpu): Outcome {
    const { vmcs12 } = n,
      { capabilities, ept02, memory } = this.parts;
    const fn = vcpu.getRegister32(Gpr.RAX),
      index = vcpu.getRegister32(Gpr.RCX);
    const exits = (): Outcome => this.leaving.reflect(n, vcpu);
    if (fn !== 0 || (vmcs12.read32(F.VM_FUNCTION_CONTROLS) & 1) === 0 || index >= LIST_ENTRIES) return exits();
    const at = vmcs12.address(F.EPTP_LIST_ADDRESS) + index * 8;
    const low = memory.read32(vcpu, at),
      high = memory.read32(vcpu, at + 4);
    if (!validEptPointer(low, high, capabilities)) return exits();
    vmcs12.write32(F.EPT_POINTER, low);
    vmcs12.write32(F.EPT_POINTER | 1, high);
    if ((secondaryOf(vmcs12) & Secondary.VIRTUALIZATION_EXCEPTION) !== 0) vmcs12.write32(F.EPTP_INDEX, index);
    vcpu.vmcs!.write64(F.EPT_POINTER, BigInt(ept02.pointerOf(ept02.for(high * TWO_32 + low, byMode(vmcs12)))));
    return RESUME;
  }
}

const byMode = (vmcs12: RegionFields): boolean => (secondaryOf(vmcs12) & Secondary.MODE_BASED_EXECUTE) !== 0;

/** The rights that the access needs. */
function neededRight(vmcs12: RegionFields, { qualification }: VmExit): number {
  const access = qualification & 7;
  const user = (qualification & USER_ADDRESS) !== 0 && byMode(vmcs12);
  return (access & FETCH) !== 0 && user ? (access & ~FETCH) | EXECUTE_USER : access;
}
