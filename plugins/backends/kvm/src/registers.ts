/**
 * The register side of a vCPU. General and special registers are fetched from the kernel when somebody looks, kept until the next
 * KVM_RUN, and written back before it when they were changed.
 */
import { GPR_NAMES, SEGMENT_NAMES, VisorkitError, fail } from '@visorkit/core';
import type { DescriptorTable, SegmentState, TranslationFault, VcpuSnapshot } from '@visorkit/core';
import { AccessRights, Cr0, Efer, Rflags, codeBits } from '@visorkit/x86';
import { Request, Size } from './kvm-api.js';
import type { Pointer } from './libc.js';
import { translateLinear } from './translate.js';
import type { TranslationMemory } from './translate.js';

/** Place of a general register in struct kvm_regs by its number in the encoding. */
const GPR_SLOT = [0, 2, 3, 1, 6, 7, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15] as const;
const RIP = 16,
  RFLAGS = 17;

/** Byte offsets in struct kvm_sregs and kvm_sregs2. Segments by their number in the encoding, then LDTR and TR. */
const SEGMENT_OFFSET = [48, 0, 120, 24, 72, 96, 168, 144] as const;
const GDT = 192,
  IDT = 208,
  CR0 = 224,
  CR2 = 232,
  CR3 = 240,
  CR4 = 248,
  CR8 = 256,
  EFER = 264,
  APIC_BASE = 272;
/** kvm_sregs2.flags; zero has the kernel load the PDPTEs from memory. */
const SREGS2_FLAGS = 280;
const SREGS_INTERRUPTS = 280;
const RFLAGS_WRITABLE = 0x3f_7fd5n;

export interface RegisterAccess {
  readonly fd: number;
  /** KVM_GET_SREGS2 is there. */
  readonly sregs2: boolean;
  request(fd: number, request: number, argument: Pointer): number;
  readonly memory: TranslationMemory;
}

export abstract class KvmRegisters {
  readonly translationFault: TranslationFault = { vector: 0, errorCode: 0, linear: 0n };
  readonly #general = new BigUint64Array(Size.REGS / 8);
  readonly #generalWords = new Uint32Array(this.#general.buffer);
  readonly #generalHalves = new Uint16Array(this.#general.buffer);
  readonly #generalBytes = new Uint8Array(this.#general.buffer);
  readonly #special = new Uint8Array(Size.SREGS2);
  readonly #specialView = new DataView(this.#special.buffer);
  #generalValid = false;
  #generalDirty = false;
  #specialValid = false;
  #specialDirty = false;

  protected constructor(private readonly access: RegisterAccess) {}

  /** Finishes what the kernel has only begun (an IN whose value it must still put into AL) before registers are looked at. */
  protected abstract settle(): void;

  // ------------------------------------------------------------------------------------------------ the caches
  /** The guest is about to run, or has run: what was fetched is stale. */
  protected forget(): void {
    this.#generalValid = this.#specialValid = false;
  }

  protected get registersDirty(): boolean {
    return this.#generalDirty || this.#specialDirty;
  }

  /** Forgets changes that the kernel was not told of. */
  protected discard(): void {
    this.#generalDirty = this.#specialDirty = false;
    this.forget();
  }

  /** RIP was changed, and the kernel was not told of it. */
  protected get ripMoved(): boolean {
    if (!this.#generalDirty) return false;
    const { fd, request } = this.access;
    const now = new BigUint64Array(this.#general.length);
    request(fd, Request.GET_REGS, now);
    return now[RIP] !== this.#general[RIP];
  }

  /** Hands changed registers to the kernel. */
  protected flush(): void {
    const { fd, sregs2, request } = this.access;
    if (this.#specialDirty) {
      this.#specialDirty = false;
      if (sregs2) this.#specialView.setBigUint64(SREGS2_FLAGS, 0n, true);
      else this.#special.fill(0, SREGS_INTERRUPTS, Size.SREGS);
      if (request(fd, sregs2 ? Request.SET_SREGS2 : Request.SET_SREGS, this.#special) < 0) this.#refused();
    }
    if (this.#generalDirty) {
      this.#generalDirty = false;
      if (request(fd, Request.SET_REGS, this.#general) < 0) this.#refused();
    }
  }

  /** Fetches the general registers unless they are there. */
  protected load(): BigUint64Array {
    if (!this.#generalValid) {
      this.settle();
      this.access.request(this.access.fd, Request.GET_REGS, this.#general);
      this.#generalValid = true;
    }
    return this.#general;
  }

  protected loadSpecial(): DataView {
    if (!this.#specialValid) {
      this.settle();
      this.access.request(this.access.fd, this.access.sregs2 ? Request.GET_SREGS2 : Request.GET_SREGS, this.#special);
      this.#specialValid = true;
    }
    return this.#specialView;
  }

  protected change(): BigUint64Array {
    const general = this.load();
    this.#generalDirty = true;
    return general;
  }

  protected changeSpecial(): DataView {
    const view = this.loadSpecial();
    this.#specialDirty = true;
    return view;
  }

  /** Copies of the two structures, for saved states. */
  protected copyGeneral(): Uint8Array {
    this.load();
    return this.#generalBytes.slice();
  }
  protected copySpecial(): Uint8Array {
    this.loadSpecial();
    return this.#special.slice();
  }
  protected putGeneral(bytes: Uint8Array): void {
    this.change();
    this.#generalBytes.set(bytes);
  }
  protected putSpecial(bytes: Uint8Array): void {
    this.changeSpecial();
    this.#special.set(bytes.subarray(0, Size.SREGS2));
  }

  #refused(): never {
    const wrong = new VisorkitError(
      'KVM_STATE_REFUSED',
      'KVM refuses the registers it was given: control registers, EFER and segments do not go together, or name features this processor lacks.',
      { state: this.snapshot() },
    );
    this.forget();
    throw wrong;
  }

  // ------------------------------------------------------------------------------------------------ general registers
  getRegister32(index: number): number {
    this.load();
    return this.#generalWords[GPR_SLOT[index] * 2];
  }
  setRegister32(index: number, value: number): void {
    this.change();
    this.#generalWords[GPR_SLOT[index] * 2] = value;
    this.#generalWords[GPR_SLOT[index] * 2 + 1] = 0;
  }
  setRegister16(index: number, value: number): void {
    this.change();
    this.#generalHalves[GPR_SLOT[index] * 4] = value;
  }
  setRegister8(index: number, value: number): void {
    this.change();
    this.#generalBytes[GPR_SLOT[index] * 8] = value;
  }
  getRegister(index: number): bigint {
    return this.load()[GPR_SLOT[index]];
  }
  setRegister(index: number, value: bigint): void {
    this.change()[GPR_SLOT[index]] = value;
  }

  get rax(): bigint {
    return this.getRegister(0);
  }
  set rax(value: bigint) {
    this.setRegister(0, value);
  }
  get rcx(): bigint {
    return this.getRegister(1);
  }
  set rcx(value: bigint) {
    this.setRegister(1, value);
  }
  get rdx(): bigint {
    return this.getRegister(2);
  }
  set rdx(value: bigint) {
    this.setRegister(2, value);
  }
  get rbx(): bigint {
    return this.getRegister(3);
  }
  set rbx(value: bigint) {
    this.setRegister(3, value);
  }
  get rsp(): bigint {
    return this.getRegister(4);
  }
  set rsp(value: bigint) {
    this.setRegister(4, value);
  }
  get rbp(): bigint {
    return this.getRegister(5);
  }
  set rbp(value: bigint) {
    this.setRegister(5, value);
  }
  get rsi(): bigint {
    return this.getRegister(6);
  }
  set rsi(value: bigint) {
    this.setRegister(6, value);
  }
  get rdi(): bigint {
    return this.getRegister(7);
  }
  set rdi(value: bigint) {
    this.setRegister(7, value);
  }
  get r8(): bigint {
    return this.getRegister(8);
  }
  set r8(value: bigint) {
    this.setRegister(8, value);
  }
  get r9(): bigint {
    return this.getRegister(9);
  }
  set r9(value: bigint) {
    this.setRegister(9, value);
  }
  get r10(): bigint {
    return this.getRegister(10);
  }
  set r10(value: bigint) {
    this.setRegister(10, value);
  }
  get r11(): bigint {
    return this.getRegister(11);
  }
  set r11(value: bigint) {
    this.setRegister(11, value);
  }
  get r12(): bigint {
    return this.getRegister(12);
  }
  set r12(value: bigint) {
    this.setRegister(12, value);
  }
  get r13(): bigint {
    return this.getRegister(13);
  }
  set r13(value: bigint) {
    this.setRegister(13, value);
  }
  get r14(): bigint {
    return this.getRegister(14);
  }
  set r14(value: bigint) {
    this.setRegister(14, value);
  }
  get r15(): bigint {
    return this.getRegister(15);
  }
  set r15(value: bigint) {
    this.setRegister(15, value);
  }
  get rip(): bigint {
    return this.load()[RIP];
  }
  set rip(value: bigint) {
    this.change()[RIP] = value;
  }
  get rflags(): bigint {
    return this.load()[RFLAGS];
  }
  set rflags(value: bigint) {
    this.change()[RFLAGS] = (value & RFLAGS_WRITABLE) | 2n;
  }

  // ------------------------------------------------------------------------------------------------ segments and tables
  getSegment(index: number): SegmentState {
    const view = this.loadSpecial(),
      at = SEGMENT_OFFSET[index];
    const byte = (offset: number): number => view.getUint8(at + offset);
    const accessRights =
      byte(14) |
      (byte(18) << 4) |
      (byte(16) << 5) |
      (byte(15) << 7) |
      (byte(21) << 12) |
      (byte(19) << 13) |
      (byte(17) << 14) |
      (byte(20) << 15) |
      (byte(22) !== 0 ? AccessRights.UNUSABLE : 0);
    return {
      selector: view.getUint16(at + 12, true),
      base: view.getBigUint64(at, true),
      limit: view.getUint32(at + 8, true),
      accessRights,
    };
  }
  setSegment(index: number, { selector, base, limit, accessRights }: SegmentState): void {
    const view = this.changeSpecial(),
      at = SEGMENT_OFFSET[index];
    view.setBigUint64(at, base, true);
    view.setUint32(at + 8, limit, true);
    view.setUint16(at + 12, selector, true);
    const unusable = (accessRights & AccessRights.UNUSABLE) !== 0;
    const bytes = [
      accessRights & 15,
      unusable ? 0 : (accessRights >>> 7) & 1,
      (accessRights >>> 5) & 3,
      (accessRights >>> 14) & 1,
      (accessRights >>> 4) & 1,
      (accessRights >>> 13) & 1,
      (accessRights >>> 15) & 1,
      (accessRights >>> 12) & 1,
      unusable ? 1 : 0,
    ];
    bytes.forEach((value, offset) => view.setUint8(at + 14 + offset, value));
  }
  get gdtr(): DescriptorTable {
    return this.#table(GDT);
  }
  set gdtr(table: DescriptorTable) {
    this.#setTable(GDT, table);
  }
  get idtr(): DescriptorTable {
    return this.#table(IDT);
  }
  set idtr(table: DescriptorTable) {
    this.#setTable(IDT, table);
  }
  #table(at: number): DescriptorTable {
    const view = this.loadSpecial();
    return { base: view.getBigUint64(at, true), limit: view.getUint16(at + 8, true) };
  }
  #setTable(at: number, { base, limit }: DescriptorTable): void {
    const view = this.changeSpecial();
    view.setBigUint64(at, base, true);
    view.setUint16(at + 8, limit, true);
  }

  // ------------------------------------------------------------------------------------------------ control registers
  getControlRegister(index: number): bigint {
    switch (index) {
      case 0:
        return this.special(CR0);
      case 2:
        return this.special(CR2);
      case 3:
        return this.special(CR3);
      case 4:
        return this.special(CR4);
      case 8:
        return this.taskPriority;
      default:
        return fail('CONTROL_REGISTER_UNKNOWN', `There is no CR${index}; control registers are 0, 2, 3, 4 and 8.`, {
          index,
        });
    }
  }
  /** The kernel checks combinations when the guest is entered next: `KVM_STATE_REFUSED` comes then. */
  setControlRegister(index: number, value: bigint): void {
    value = BigInt.asUintN(64, value);
    switch (index) {
      case 0: {
        // CR0 decides with EFER.LME whether long mode is active (SDM 3A 10.8.5)
        const long = (value & Cr0.PG) !== 0n && (this.efer & Efer.LME) !== 0n;
        this.efer = long ? this.efer | Efer.LMA : this.efer & ~Efer.LMA;
        return this.setSpecial(CR0, value | Cr0.ET);
      }
      case 2:
        return this.setSpecial(CR2, value);
      case 3:
        return this.setSpecial(CR3, value & ~(1n << 63n));
      case 4:
        return this.setSpecial(CR4, value);
      case 8:
        this.taskPriority = value;
        return;
      default:
        fail('CONTROL_REGISTER_UNKNOWN', `There is no CR${index}; control registers are 0, 2, 3, 4 and 8.`, { index });
    }
  }
  /** CR8. */
  protected abstract taskPriority: bigint;
  get efer(): bigint {
    return this.special(EFER);
  }
  set efer(value: bigint) {
    this.setSpecial(EFER, value);
  }
  /** IA32_APIC_BASE as KVM keeps it: without its own APIC it only decides what CPUID says. */
  protected get apicBase(): bigint {
    return this.special(APIC_BASE);
  }
  protected set apicBase(value: bigint) {
    this.setSpecial(APIC_BASE, value);
  }
  /** CR8's place in the special registers, which the kernel takes over when they are written. */
  protected setSpecialTaskPriority(value: bigint): void {
    this.setSpecial(CR8, value);
  }

  protected special(at: number): bigint {
    return this.loadSpecial().getBigUint64(at, true);
  }
  protected setSpecial(at: number, value: bigint): void {
    this.changeSpecial().setBigUint64(at, value, true);
  }

  abstract get xcr0(): bigint;

  // ------------------------------------------------------------------------------------------------ derived
  get cpl(): number {
    return (this.getSegment(2).accessRights >>> 5) & 3;
  }
  get codeBits(): 16 | 32 | 64 {
    return codeBits(this.getSegment(1).accessRights, (this.efer & Efer.LMA) !== 0n);
  }

  translate(linear: bigint, access: 'probe' | 'read' | 'write' | 'execute'): number {
    const { translationFault } = this;
    return translateLinear(
      {
        cr0: this.special(CR0),
        cr3: this.special(CR3),
        cr4: this.special(CR4),
        efer: this.efer,
        user: this.cpl === 3,
        rflags: Number(this.rflags),
      },
      this.access.memory,
      linear,
      access,
      translationFault,
    );
  }

  get mode(): VcpuSnapshot['mode'] {
    if ((this.special(CR0) & Cr0.PE) === 0n) return 'real16';
    if ((this.rflags & BigInt(Rflags.VM)) !== 0n) return 'virtual8086';
    const rights = this.getSegment(1).accessRights;
    if ((this.efer & Efer.LMA) !== 0n) return (rights & AccessRights.L) !== 0 ? 'long64' : 'compatibility';
    return (rights & AccessRights.DB) !== 0 ? 'protected32' : 'protected16';
  }

  abstract readonly index: number;

  snapshot(): VcpuSnapshot {
    const hex = (value: bigint | number): string => `0x${value.toString(16)}`;
    const table = ({ base, limit }: DescriptorTable): { base: string; limit: string } => ({
      base: hex(base),
      limit: hex(limit),
    });
    const segments: VcpuSnapshot['segments'] = {};
    SEGMENT_NAMES.forEach((name, number) => {
      const { selector, base, limit, accessRights } = this.getSegment(number);
      segments[name] = { selector: hex(selector), base: hex(base), limit: hex(limit), accessRights: hex(accessRights) };
    });
    return {
      index: this.index,
      mode: this.mode,
      cpl: this.cpl,
      rip: hex(this.rip),
      rflags: hex(this.rflags),
      registers: Object.fromEntries(GPR_NAMES.map((name, number) => [name, hex(this.getRegister(number))])),
      segments,
      controlRegisters: {
        cr0: hex(this.special(CR0)),
        cr2: hex(this.special(CR2)),
        cr3: hex(this.special(CR3)),
        cr4: hex(this.special(CR4)),
        cr8: hex(this.taskPriority),
        efer: hex(this.efer),
        xcr0: hex(this.xcr0),
      },
      gdtr: table(this.gdtr),
      idtr: table(this.idtr),
    };
  }
}
