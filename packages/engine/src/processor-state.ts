/**
 * The state of a processor, read in place: in the engine's memory, or in the processor's bank while another one has its turn (banks.ts). Both
 * have the addresses of layout.ts, so both are read in the same way. Reading changes nothing.
 */
import {
  CR0,
  CR2,
  CR3,
  CR4,
  CR8,
  DR,
  EFER,
  ENTRY_RULE,
  GDTR_BASE,
  GDTR_LIMIT,
  IDTR_BASE,
  IDTR_LIMIT,
  INTERRUPTIBILITY,
  REGS,
  RIP,
  SEG_AR,
  SEG_BASE,
  SEG_LIMIT,
  SEG_SEL,
  XCR0,
} from './layout.js';
import { Vmcs } from './vmcs.js';

/** The parts that have no address of their own, or that are not kept for each processor. */
export interface ProcessorParts {
  /** RFLAGS, which the processor keeps lazily. */
  readonly flags: { read(): number; write(value: number): void };
  /** Where an MSR is kept; 0 for one that the processor does not keep. */
  msrAddress(index: number): number;
  /** Accesses of an instruction are logged, or it has been given by the framework: no event may come before it is done. */
  halfDone(): boolean;
}

export class ProcessorState {
  readonly words: Uint32Array;
  readonly longs: BigUint64Array;
  /** Fields of this processor's VMCS. Writing controls is allowed wherever the processor is. */
  readonly vmcs: Vmcs;

  constructor(
    buffer: ArrayBufferLike,
    private readonly parts: ProcessorParts,
  ) {
    this.words = new Uint32Array(buffer);
    this.longs = new BigUint64Array(buffer);
    this.vmcs = new Vmcs(buffer, parts.flags);
  }

  /** Low half of general register `index`, unsigned. */
  getRegister32(index: number): number {
    return this.words[(REGS >>> 2) + index * 2];
  }
  getRegister(index: number): bigint {
    return this.longs[(REGS >>> 3) + index];
  }
  get rip(): bigint {
    return this.longs[RIP >>> 3];
  }
  get rflags(): number {
    return this.parts.flags.read() >>> 0;
  }
  get cr0(): bigint {
    return this.longs[CR0 >>> 3];
  }
  get cr2(): bigint {
    return this.longs[CR2 >>> 3];
  }
  get cr3(): bigint {
    return this.longs[CR3 >>> 3];
  }
  get cr4(): bigint {
    return this.longs[CR4 >>> 3];
  }
  get cr8(): bigint {
    return this.longs[CR8 >>> 3];
  }
  get efer(): bigint {
    return this.longs[EFER >>> 3];
  }
  get xcr0(): bigint {
    return this.longs[XCR0 >>> 3];
  }
  /** DR0-DR3, DR6, DR7. */
  getDebugRegister(index: number): bigint {
    return this.longs[(DR >>> 3) + index];
  }
  /** A segment register, by its number in the encoding (6 LDTR, 7 TR). */
  getSegment(index: number): { selector: number; base: bigint; limit: number; accessRights: number } {
    const { words } = this;
    return {
      selector: words[(SEG_SEL >>> 2) + index] & 0xffff,
      base: this.longs[(SEG_BASE >>> 3) + index],
      limit: words[(SEG_LIMIT >>> 2) + index],
      accessRights: words[(SEG_AR >>> 2) + index],
    };
  }
  get gdtr(): { base: bigint; limit: number } {
    return { base: this.longs[GDTR_BASE >>> 3], limit: this.words[GDTR_LIMIT >>> 2] };
  }
  get idtr(): { base: bigint; limit: number } {
    return { base: this.longs[IDTR_BASE >>> 3], limit: this.words[IDTR_LIMIT >>> 2] };
  }
  /** Interruptibility state as in the VMCS. */
  get interruptibility(): number {
    return this.words[INTERRUPTIBILITY >>> 2];
  }
  /** An MSR the processor keeps, or undefined. */
  readMsr(index: number): bigint | undefined {
    const address = this.parts.msrAddress(index);
    return address === 0 ? undefined : this.longs[address >>> 3];
  }
  /** Like `readMsr`, the low (0) or high (1) half alone. */
  readMsrHalf(index: number, half: 0 | 1): number | undefined {
    const address = this.parts.msrAddress(index);
    return address === 0 ? undefined : this.words[(address >>> 2) + half];
  }
  /** Number of the VM-entry rule that failed (entry-rules.ts), 0 for none. */
  get failedRule(): number {
    return this.words[ENTRY_RULE >>> 2];
  }
  /** True while an instruction is half done: no event may come now. */
  get halfDone(): boolean {
    return this.parts.halfDone();
  }
}
