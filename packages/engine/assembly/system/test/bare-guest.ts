/**
 * A guest of a few bytes of machine code, for tests of the system instructions: descriptor tables, a TSS and handlers that halt are laid
 * out in guest memory, the processor is put into a mode, the code runs until a handler halts or another exit is taken.
 */
import { VmcsField as F, encodeDescriptor } from '@visorkit/x86';
import { Engine } from '../../../src/engine.js';
import { ACTIVITY } from '../../../src/layout.js';
import { writeValidVmcs } from '../../../src/testing.js';
import { writeControls } from '../../../src/vmcs-setup.js';

/** Selectors of the GDT below. */
export const KERNEL_CODE = 0x08, KERNEL_DATA = 0x10, USER_CODE = 0x1b, USER_DATA = 0x23, USER_CODE64 = 0x2b, TSS = 0x30;
/** First selector that `define` hands out. */
const FREE = 0x48;
/** Where things are in guest memory. */
export const GDT = 0x1000, IDT = 0x2000, TSS_BASE = 0x3000, HANDLERS = 0x5000, CODE = 0x8000, STACK = 0x20000, USER_STACK = 0x28000, INNER_STACK = 0x30000;
const PAGE_TABLES = 0x40000;

const HLT = 12, DOUBLE_FAULT_EXIT = 2;

/** How a run ended. */
export interface Stop {
  /** Vector whose handler halted; -1 when the guest was left otherwise. */
  vector: number;
  /** Basic exit reason. */
  reason: number;
  /** What lies on the stack at the end, 32 or 64 bits each, top first. */
  stack: number[];
  rip: number;
}

export type Bytes = readonly number[];
export const le16 = (v: number): number[] => [v & 255, (v >>> 8) & 255];
export const le32 = (v: number): number[] => [...le16(v), ...le16(v >>> 16)];

export class BareGuest {
  readonly engine: Engine;
  private long = false;
  private nextSelector = FREE;

  private constructor(engine: Engine) { this.engine = engine; }

  static async create(): Promise<BareGuest> {
    const guest = new BareGuest(await Engine.create({ memoryBytes: 4 << 20 }));
    guest.controls();
    return guest;
  }

  /** The VMCS that all tests of the engine begin with, with unrestricted guest and MSR bitmaps: nothing exits but HLT and what must. */
  private controls(): void {
    const { engine } = this, { vmcs, pages } = engine;
    writeValidVmcs(engine);
    writeControls(vmcs, 'pin', []);
    writeControls(vmcs, 'primary', ['hlt-exiting', 'use-msr-bitmaps', 'activate-secondary-controls']);
    writeControls(vmcs, 'secondary', ['enable-ept', 'enable-rdtscp', 'unrestricted-guest', 'enable-invpcid']);
    writeControls(vmcs, 'exit', ['host-address-space-size']);
    vmcs.write64(F.MSR_BITMAP, BigInt(pages.allocatePage()));
  }

  // ---------------------------------------------------------------------------------------------- modes
  /** 32-bit protected mode at CPL 0, flat segments, no paging. */
  protectedMode(): this {
    this.begin(false);
    const { engine } = this;
    engine.cr0 = 0x31n;
    this.segments(0xc09b, 0xc093);
    for (let v = 0; v < 256; v++) this.gate(v, KERNEL_CODE, HANDLERS + v * 16, 0x8e);
    this.write32(TSS_BASE + 4, INNER_STACK);
    this.write32(TSS_BASE + 8, KERNEL_DATA);
    this.write32(TSS_BASE + 100, 104 << 16);
    return this;
  }

  /** 64-bit mode at CPL 0, the first 4 MiB identity-mapped for everyone. */
  longMode(): this {
    this.begin(true);
    const { engine } = this;
    this.write64(PAGE_TABLES, BigInt(PAGE_TABLES + 0x1007));
    this.write64(PAGE_TABLES + 0x1000, BigInt(PAGE_TABLES + 0x2007));
    this.write64(PAGE_TABLES + 0x2000, 0x87n);
    this.write64(PAGE_TABLES + 0x2008, 0x200087n);
    engine.cr0 = 0x80010031n;
    engine.cr3 = BigInt(PAGE_TABLES);
    engine.cr4 = 0x20n;
    engine.efer = 0x501n;
    writeControls(engine.vmcs, 'entry', ['ia-32e-mode-guest']);
    this.segments(0xa09b, 0xc093);
    for (let v = 0; v < 256; v++) this.gate(v, KERNEL_CODE, HANDLERS + v * 16, 0x8e);
    this.write64(TSS_BASE + 4, BigInt(INNER_STACK));
    this.write32(TSS_BASE + 100, 104 << 16);
    return this;
  }

  /** Real-address mode, vectors at 0, CS = 0. */
  realMode(): this {
    this.begin(false);
    const { engine } = this;
    for (let v = 0; v < 256; v++) this.write32(v * 4, HANDLERS + v * 16);
    for (const n of [0, 2, 3, 4, 5]) engine.setSegment(n, { selector: 0, base: 0n, limit: 0xffff, accessRights: 0x93 });
    engine.setSegment(1, { selector: 0, base: 0n, limit: 0xffff, accessRights: 0x9b });
    engine.cr0 = 0x30n;
    engine.idtr = { base: 0n, limit: 0x3ff };
    engine.setRegister(4, 0xfff0n);
    return this;
  }

  private begin(long: boolean): void {
    const { engine } = this;
    this.long = long;
    this.nextSelector = FREE;
    engine.memory.fill(0, 0x80000, 0);
    engine.reset(true);
    writeControls(engine.vmcs, 'entry', []);
    engine.vmcs.write32(F.EXCEPTION_BITMAP, 0);
    engine.vmcs.write32(F.ENTRY_INTERRUPTION_INFO, 0);
    for (const field of [F.CR0_MASK, F.CR4_MASK, F.CR0_READ_SHADOW, F.CR4_READ_SHADOW]) engine.vmcs.write64(field, 0n);
    engine.memory.fill(HANDLERS, 256 * 16, 0xf4);
    engine.setRegister(4, BigInt(STACK));
    const descriptors: [number, number][] = [
      [KERNEL_CODE, long ? 0xa09b : 0xc09b], [KERNEL_DATA, 0xc093], [USER_CODE & ~3, 0xc0fb], [USER_DATA & ~3, 0xc0f3], [USER_CODE64 & ~3, 0xa0fb],
    ];
    for (const [selector, rights] of descriptors) this.descriptor(selector, 0, 0xffffffff, rights);
    this.descriptor(TSS, TSS_BASE, 0xfff, 0x8b);
    engine.gdtr = { base: BigInt(GDT), limit: 0xfff };
    engine.idtr = { base: BigInt(IDT), limit: long ? 0xfff : 0x7ff };
    engine.setSegment(7, { selector: TSS, base: BigInt(TSS_BASE), limit: 0xfff, accessRights: 0x8b });
    engine.setSegment(6, { selector: 0, base: 0n, limit: 0, accessRights: 0x10000 });
  }

  private segments(code: number, data: number): void {
    const { engine } = this;
    for (const n of [0, 2, 3, 4, 5]) engine.setSegment(n, { selector: KERNEL_DATA, base: 0n, limit: 0xffffffff, accessRights: data });
    engine.setSegment(1, { selector: KERNEL_CODE, base: 0n, limit: 0xffffffff, accessRights: code });
  }

  // ---------------------------------------------------------------------------------------------- tables
  /** Writes a descriptor; `rights` in the VMCS format. A limit above 1 MiB is taken as 4 KiB units. */
  descriptor(selector: number, base: number, limit: number, rights: number): void {
    const at = GDT + (selector & ~7);
    this.write64(at, encodeDescriptor({ base, limit, accessRights: limit > 0xfffff ? rights | 0x8000 : rights }));
  }
  /** A new descriptor; returns its selector with RPL 0. Takes two slots, for those of 16 bytes. */
  define(base: number, limit: number, rights: number): number {
    const selector = this.nextSelector;
    this.nextSelector += 16;
    this.descriptor(selector, base, limit, rights);
    return selector;
  }
  /** A call gate or task gate; returns its selector. */
  defineGate(target: number, offset: number, type: number, parameters = 0): number {
    const selector = this.nextSelector;
    this.nextSelector += 16;
    this.write32(GDT + selector, (target << 16) | (offset & 0xffff));
    this.write32(GDT + selector + 4, (offset & 0xffff0000) | (type << 8) | parameters);
    return selector;
  }
  /** An IDT entry. */
  gate(vector: number, selector: number, offset: number, type: number, ist = 0): void {
    const at = IDT + vector * (this.long ? 16 : 8);
    this.write32(at, (selector << 16) | (offset & 0xffff));
    this.write32(at + 4, (offset & 0xffff0000) | (type << 8) | ist);
  }

  // ---------------------------------------------------------------------------------------------- memory
  write32(gpa: number, value: number): void { this.engine.memory.writeU32(gpa, value >>> 0); }
  write64(gpa: number, value: bigint): void { this.engine.memory.writeU64(gpa, value); }
  read32(gpa: number): number { return this.engine.memory.readU32(gpa); }
  code(bytes: Bytes, at = CODE): void { this.engine.memory.write(at, Uint8Array.from(bytes)); }

  // ---------------------------------------------------------------------------------------------- running
  /** Runs `code` from CODE. */
  run(code: Bytes): Stop {
    this.code(code);
    this.engine.rip = BigInt(CODE);
    return this.resume();
  }

  /** Enters again. Task-switch exits are carried out when `tasks` is set. */
  resume(tasks = true): Stop {
    const { engine } = this;
    engine.setDeadline(engine.retired + 100_000);
    let reason = engine.enter();
    while (reason === 9 && tasks) reason = engine.completeTaskSwitch() ? engine.enter() : engine.vmcs.read32(F.EXIT_REASON);
    if (engine.failedRule !== 0) throw new Error(`VM entry failed: rule ${engine.failedRule}`);
    const rip = Number(BigInt.asUintN(53, engine.rip));
    const halted = reason === HLT && rip >= HANDLERS && rip < HANDLERS + 4096;
    const sp = reason === DOUBLE_FAULT_EXIT ? 0 : this.stackAddress();
    const stack: number[] = [];
    for (let i = 0; i < 10; i++) {
      const at = sp + i * (this.long ? 8 : 4);
      stack.push(at + 8 <= 4 << 20 ? (this.long ? Number(engine.memory.readU64(at)) : engine.memory.readU32(at)) : 0);
    }
    return { vector: halted ? (rip - HANDLERS) >>> 4 : -1, reason, stack, rip };
  }
  private stackAddress(): number {
    const { engine } = this, ss = engine.getSegment(2);
    const sp = engine.getRegister(4), wide = this.long || (ss.accessRights & 0x4000) !== 0;
    return Number(BigInt.asUintN(32, wide ? sp + ss.base : (sp & 0xffffn) + ss.base));
  }

  /** Moves RIP behind the instruction that exited, as a hypervisor does that has emulated it. */
  stepOver(): void {
    const { engine } = this;
    engine.rip += BigInt(engine.vmcs.read32(F.EXIT_INSTRUCTION_LENGTH));
    engine.interruptibility &= ~3;
  }

  /** Goes to CPL 3 at `rip` by IRET and runs on. */
  user(code: Bytes, flags = 2, cs = USER_CODE): Stop {
    this.code(code, CODE + 0x1000);
    const frame = [USER_DATA, USER_STACK, flags, cs, CODE + 0x1000];
    return this.run([...frame.flatMap((v) => [0x68, ...le32(v)]), ...(this.long ? [0x48] : []), 0xcf]);
  }
  get cpl(): number { return (this.engine.getSegment(2).accessRights >>> 5) & 3; }
  get halted(): boolean { return this.engine.words[ACTIVITY >>> 2] === 1; }
}
