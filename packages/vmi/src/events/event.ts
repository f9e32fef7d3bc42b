/** Events as handlers see them. Each kind has one object, filled anew for each event: copy what you want to keep. */
import { exitReasonName } from '@visorkit/core';
import type { Vcpu, VmExit, Vmm } from '@visorkit/core';
import type { MemoryView } from '@visorkit/machine';

/** What every event has. Values of 64 bits are getters, which make a bigint only when they are asked. */
export abstract class VmiEvent {
  /** The vCPU that the event is of. */
  vcpu!: Vcpu;

  get exit(): VmExit {
    return this.vcpu.exit;
  }
  get rip(): bigint {
    return this.vcpu.rip;
  }
  /** CR3, with the PCID. */
  get cr3(): bigint {
    return this.vcpu.getControlRegister(3);
  }
}

/** An access to memory. */
export class MemoryEvent extends VmiEvent {
  /** What is tried: `r`, `w` or `x`; a walk of page tables by a processor that keeps flags in them may be `rw`. */
  access: 'r' | 'w' | 'x' | 'rw' = 'r';
  /** Of `access`: a sum of 1 read, 2 write, 4 execute (LibVMI's out_access). */
  accessBits = 0;
  /** The view that the vCPU is in. */
  view!: MemoryView;
  /** Bytes of a data access; 0 for code and for walks. An access across two pages is an event for each. */
  size = 0;
  /** The processor walks page tables (LibVMI's gptw). */
  walk = false;

  /** Guest-physical address. */
  get gpa(): number {
    return this.exit.gpa;
  }
  /** Within the page. */
  get offset(): number {
    return this.exit.gpa % 4096;
  }
  /** Whether `gla` means something (the qualification's bit 7). */
  get glaValid(): boolean {
    return (this.exit.qualification & 0x80) !== 0;
  }
  /** Guest-linear address. */
  get gla(): bigint {
    return this.exit.guestLinear;
  }
  /** Low 32 bits of what is written, unsigned; 0 for other accesses. */
  get valueLow(): number {
    return this.vcpu.emulation!.valueLow;
  }
  /** What is written: up to 8 bytes. */
  get value(): bigint {
    const { emulation } = this.vcpu;
    return (BigInt(emulation!.valueHigh) << 32n) | BigInt(emulation!.valueLow);
  }
  /** All bytes that are written: a copy. */
  get bytes(): Uint8Array {
    return this.vcpu.emulation!.bytes();
  }
}

/** A register is about to be written. */
export class RegisterEvent extends VmiEvent {
  register: 'cr0' | 'cr3' | 'cr4' | 'xcr0' | 'msr' = 'cr3';
  /** Index of the MSR, 0 for others. */
  msr = 0;
  /** @internal */
  readValue: (event: RegisterEvent) => bigint = () => 0n;
  /** @internal */
  readPrevious: (event: RegisterEvent) => bigint = () => 0n;

  /** What is written. The processor has not checked it yet: a value that it refuses raises #GP, as always. */
  get value(): bigint {
    return this.readValue(this);
  }
  /** What is there now; 0 for an MSR that the processor does not keep itself. */
  get previous(): bigint {
    return this.readPrevious(this);
  }
}

/** An instruction has been executed, or an event delivered. */
export class SingleStepEvent extends VmiEvent {}

/** INT3 (`breakpoint`), or any debug exception (`debugException`). */
export class ExceptionEvent extends VmiEvent {
  vector = 3;
  /** As in the interruption information: 3 hardware exception, 5 INT1, 6 INT3. */
  type = 6;
  get instructionLength(): number {
    return this.exit.instructionLength;
  }
  /** #DB: the conditions that DR6 would show (B0-B3, BD, BS). */
  get conditions(): number {
    return this.exit.qualification;
  }
}

/** A breakpoint that the guest cannot see. */
export class BreakpointEvent extends VmiEvent {
  gpa = 0;
}

/** An interrupt or exception is delivered to the guest. */
export class InterruptEvent extends VmiEvent {
  kind: 'external' | 'nmi' | 'exception' = 'external';
  vector = 0;
  /** -1 for one without. */
  errorCode = -1;
  /** Of #PF: the address. */
  get cr2(): bigint {
    return this.kind === 'exception' ? this.exit.qualification64 : this.vcpu.getControlRegister(2);
  }
}

/** VMCALL. */
export class GuestRequestEvent extends VmiEvent {}

export class CpuidEvent extends VmiEvent {
  /** EAX and ECX, unsigned. */
  leaf = 0;
  subleaf = 0;
}

/** An access to GDTR, IDTR, LDTR or TR by its instruction. */
export class DescriptorEvent extends VmiEvent {
  register: 'gdtr' | 'idtr' | 'ldtr' | 'tr' = 'gdtr';
  /** LGDT, LIDT, LLDT, LTR. */
  write = false;
}

export class VmExitEvent extends VmiEvent {
  /** Basic exit reason. */
  get reason(): number {
    return this.exit.reason;
  }
  get name(): string {
    return exitReasonName(this.exit.reason);
  }
  get qualification(): bigint {
    return this.exit.qualification64;
  }
}

/** IN, OUT, INS, OUTS. */
export class IoEvent extends VmiEvent {
  port = 0;
  /** Bytes of one element. */
  size: 1 | 2 | 4 = 1;
  input = false;
  string = false;
  /** OUT: what is written. */
  value = 0;
}

/** An answer could not be carried out; the access happens as it is. */
export class FailedEmulationEvent extends VmiEvent {
  why = '';
}

/** A VM of this process has come or is going. */
export interface DomainEvent {
  readonly created: boolean;
  /** Its number in this process. */
  readonly domain: number;
  readonly vm: Vmm;
}
