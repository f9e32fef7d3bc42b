/**
 * The processor as the framework drives it: one WebAssembly instance with its memory, the VMCS fields by encoding, and `enter`.
 *
 * Linear memory is physical memory as a hypervisor sees it: the processor's state, an area for VMX structures, then guest RAM.
 * The framework builds VMCS, EPT and bitmaps in it and enters the guest; every VM exit comes back here.
 */
import { fail } from '@visorkit/core';
import type { CpuidEntry } from '@visorkit/core';
import { ArrayGuestMemory } from '@visorkit/machine';
import { VmcsField, infoHasError, taskSelector, taskSource } from '@visorkit/x86';
import { processorCpuid, writeFeatures } from './cpuid.js';
import {
  BOUNCE,
  CR0,
  CR2,
  CR3,
  CR4,
  CR8,
  DEADLINE,
  DR,
  EFER,
  ENTER_RESULT,
  EXIT_WORK,
  FEATURES,
  GDTR_BASE,
  GDTR_LIMIT,
  GUEST_RAM,
  HOST_DEADLINE,
  HYPERVISOR,
  HYPERVISOR_BYTES,
  IDTR_BASE,
  IDTR_LIMIT,
  INTERRUPTIBILITY,
  LATE_PAGES,
  MSR_TSC_ADJUST,
  RANDOM_STATE,
  REGS,
  RETIRED,
  RIP,
  SEG_AR,
  SEG_BASE,
  SEG_LIMIT,
  SEG_SEL,
  TSC_BASE,
  TIMER_SHIFT,
  TSC_SHIFT,
  XCR0,
} from './layout.js';
import { MmioLog } from './mmio-log.js';
import { SuppliedInstruction } from './supplied-instruction.js';
import { processorModule } from './module.js';
import type { ProcessorExports } from './module.js';
import { PageAllocator } from './page-allocator.js';
import { ProcessorState } from './processor-state.js';
import { writeResetState } from './reset.js';
import type { Journal } from './translator/journalling.js';
import type { TranslatorOptions } from './translator/options.js';
import { Tier } from './translator/tier.js';
import type { Translator } from './translator/translator.js';
import { captureState, putState } from './state.js';
import type { EngineState } from './state.js';
import {
  DIRTY_ALL,
  DIRTY_GUEST,
  DIRTY_PAGING,
  ENTER_DEADLINE,
  VMCS_REVISION,
  V_DIRTY,
  V_REGION,
  V_TO_LOAD,
} from './vmcs-layout.js';
import type { Vmcs } from './vmcs.js';
import { WebAssembly } from './webassembly.js';
import type { WasmMemory, WasmModule } from './webassembly.js';

export interface EngineOptions {
  /** Guest RAM in bytes, a multiple of 4 KiB; at most about 3.9 GiB. */
  memoryBytes: number;
  /** CPUID table the instruction set follows; the whole processor by default. */
  cpuid?: readonly CpuidEntry[];
  /** Seed of RDRAND and RDSEED, not 0. */
  seed?: bigint;
  /** Translates hot code to WebAssembly: after how many executions of a block, and more. Not given: code is interpreted. */
  translate?: TranslatorOptions;
  /** Memory from {@link engineMemory} for `memoryBytes`, if the caller has made it already; nothing below GUEST_RAM may have been used. */
  linearMemory?: WasmMemory;
}

const PAGE = 65536;
const PAGE_BYTES = 4096;
const MAXIMUM_PAGES = 65536;
const MINIMUM_PAGES = GUEST_RAM / PAGE;
const NEVER = 0x7fffffffffffffffn;
/** Whole numbers below it are exact. */
const EXACT = 2 ** 53;
/** `Engine.timerTicks` begins anew at this. */
const TICKS = 2 ** 48;
/** Of numbers in two words, the high one; V8 would work powers out each time. */
const HIGH = 2 ** 32;
const TICK = 1 << TIMER_SHIFT;
const DEFAULT_SEED = 0x9e3779b97f4a7c15n;

/**
 * Memory for an engine with `memoryBytes` of guest RAM, which starts at GUEST_RAM. The RAM may be used before an engine exists, or without
 * one: pages that nobody touches take no memory of the host.
 */
export function engineMemory(memoryBytes: number): WasmMemory {
  const pages = Math.max(Math.ceil((GUEST_RAM + memoryBytes) / PAGE), MINIMUM_PAGES);
  if (!Number.isSafeInteger(memoryBytes) || memoryBytes <= 0 || memoryBytes % 4096 !== 0 || pages > MAXIMUM_PAGES) {
    const most = (MAXIMUM_PAGES * PAGE - GUEST_RAM) / 2 ** 20;
    fail(
      'ENGINE_MEMORY',
      `The processor takes guest memory from 4 KiB to ${most} MiB in whole pages, not ${memoryBytes} bytes.`,
      { memoryBytes },
    );
  }
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  } catch (cause) {
    return fail(
      'ENGINE_HOST_MEMORY',
      `The host has no room for a guest of ${memoryBytes / 2 ** 20} MiB: WebAssembly reserves some 8 GiB of address space for each, which a limit (ulimit -v) may forbid. Give the guest less memory, or the process more.`,
      { memoryBytes },
      cause,
    );
  }
}

/** Result of {@link Engine.translate}. */
export interface Translation {
  /** Guest-physical address, -1 when there is none. */
  gpa: number;
  /** 14 for a page fault, 0 when the EPT do not map a paging structure. */
  vector: number;
  errorCode: number;
}

export class Engine {
  /** Guest RAM. Writes through it are seen by the processor, code included. */
  readonly memory: ArrayGuestMemory;
  /** The whole linear memory: an index is a host-physical address. */
  readonly buffer: SharedArrayBuffer;
  readonly bytes: Uint8Array;
  readonly words: Uint32Array;
  readonly longs: BigUint64Array;
  /** What the processor holds, for reading. */
  readonly state: ProcessorState;
  /** Fields of the current VMCS. */
  readonly vmcs: Vmcs;
  readonly mmio: MmioLog;
  readonly supplied: SuppliedInstruction;
  /** Pages for VMX structures: VMCS regions, EPT tables, bitmaps. */
  readonly pages: PageAllocator;
  /** Told of the stores of a processor that tells of them, when it is asked to: processorModule with `journals`. */
  readonly journal: Journal = { told() {} };
  private readonly translation: Translation = { gpa: -1, vector: 0, errorCode: 0 };

  /** Makes an engine in the state after power-up, with no control set. */
  static async create(options: EngineOptions): Promise<Engine> {
    return new Engine(await processorModule(undefined, options.translate?.verify), options);
  }

  /** Like `create`, for those who have the compiled module already: one that tells of its stores if translated code is verified. */
  constructor(module: WasmModule, options: EngineOptions) {
    const { memoryBytes, cpuid = processorCpuid(), seed = DEFAULT_SEED } = options;
    const memory = options.linearMemory ?? engineMemory(memoryBytes);
    this.buffer = memory.buffer;
    this.bytes = new Uint8Array(this.buffer);
    this.words = new Uint32Array(this.buffer);
    this.longs = new BigUint64Array(this.buffer);
    const instance = new WebAssembly.Instance(module, {
      env: {
        memory,
        bringPage: (address: number) => this.memory.bring(address >>> 0, PAGE_BYTES),
        translate: () => this.tier!.get().translateQueued(),
        journal: (address: number, bytes: number) => this.journal.told(address, bytes),
        abort: () => fail('ENGINE_ABORT', 'The processor stopped itself: an internal invariant does not hold.'),
      },
    });
    this.exports = instance.exports as unknown as ProcessorExports;
    this.memory = new ArrayGuestMemory(memoryBytes, this.buffer, GUEST_RAM, this.bytes.subarray(LATE_PAGES));
    this.mmio = new MmioLog(this.buffer);
    this.supplied = new SuppliedInstruction(this.buffer);
    this.pages = new PageAllocator(this.bytes, HYPERVISOR, HYPERVISOR_BYTES);
    const { exports } = this;
    this.state = new ProcessorState(this.buffer, {
      flags: { read: () => exports.guestFlags(), write: (flags) => exports.setGuestFlags(flags) },
      msrAddress: (index) => exports.msrAddress(index),
      halfDone: () => this.mmio.logged || this.supplied.pending,
    });
    this.vmcs = this.state.vmcs;

    exports.initialise();
    exports.vmcsReset();
    this.words[V_REGION >>> 2] = this.newVmcsRegion();
    this.longs[RANDOM_STATE >>> 3] = seed === 0n ? DEFAULT_SEED : BigInt.asUintN(64, seed);
    this.longs[HOST_DEADLINE >>> 3] = NEVER;
    this.longs[DEADLINE >>> 3] = NEVER;
    this.setCpuid(cpuid);
    writeResetState(this.buffer, true);
    this.touchGuest();
    this.memory.onWrite((gpa, length) => this.wrote(gpa, length));
    if (options.translate !== undefined)
      this.tier = new Tier({ module, exports, memory, journal: this.journal }, options.translate);
  }

  /** Undefined where code is only interpreted. */
  private readonly tier: Tier | undefined;
  /** The second tier, once code has become hot. */
  get translator(): Translator | undefined {
    return this.tier?.translator;
  }
  /** The second tier, made now if no code has become hot yet; undefined where code is only interpreted. */
  get secondTier(): Translator | undefined {
    return this.tier?.get();
  }
  /**
   * What the second tier makes is kept from now on, for {@link keptRegions}. `earlier` is what that gave at the end of an earlier run, of any guest: where the guest's code
   * is the same its regions are used as soon as it runs. It must be whole: whoever stores it makes sure of that. To be called before the guest runs. Returns whether
   * `earlier` could be used: another processor, build or threshold has other regions. Nothing is kept where code is only interpreted, or verified.
   */
  keepRegions(earlier?: Uint8Array): boolean {
    return this.tier?.keep(earlier) ?? false;
  }
  /** What {@link keepRegions} can be given in a later run; undefined where this one has made nothing new. */
  keptRegions(): Uint8Array<ArrayBuffer> | undefined {
    return this.tier?.written();
  }

  /** The wasm side. For those who build on the engine, not for plugins. */
  readonly exports: ProcessorExports;

  // ------------------------------------------------------------------------------------------------ running
  /**
   * VM entry, guest code, VM exit. Returns the exit reason field's low part: the basic exit reason (with bit 31 for a failed
   * entry), ENTER_DEADLINE, or ENTER_VMFAIL (then the VM-instruction error field says why).
   */
  enter(): number {
    this.exports.enter();
    return this.result();
  }

  /** Goes on where `enter` came back with ENTER_DEADLINE, to another deadline, as if that had been it: what a VM entry begins anew goes on. */
  goOn(): number {
    this.exports.goOn();
    return this.result();
  }
  private result(): number {
    const { words } = this,
      result = words[ENTER_RESULT >>> 2];
    if (words[EXIT_WORK >>> 2] !== 0 && result < ENTER_DEADLINE) this.exports.finishExit();
    return result;
  }

  /**
   * Carries out the task switch of the exit just taken (reason 9) on the guest's state, faults of the new task included. True: enter again.
   * False: delivering a fault made another exit, which is recorded now; the VMCS has its reason.
   */
  completeTaskSwitch(): boolean {
    const { vmcs } = this,
      qualification = vmcs.read32(VmcsField.EXIT_QUALIFICATION);
    const hasError = Number(infoHasError(vmcs.read32(VmcsField.IDT_VECTORING_INFO)));
    const error = vmcs.read32(VmcsField.IDT_VECTORING_ERROR_CODE);
    return (
      this.exports.performTaskSwitch(taskSelector(qualification), taskSource(qualification), hasError, error) === 0
    );
  }

  /** Number of the VM-entry rule that failed (entry-rules.ts), 0 for none. */
  get failedRule(): number {
    return this.state.failedRule;
  }

  /** Instructions retired since the engine was made. Exact below 2^53. */
  get retired(): number {
    return this.words[RETIRED >>> 2] + this.words[(RETIRED >>> 2) + 1] * 0x100000000;
  }

  /** Counts one as retired that the framework has carried out, or a fault that it has delivered, as the processor does for those it delivers itself. */
  countInstruction(): void {
    const { words } = this,
      low = words[RETIRED >>> 2];
    words[RETIRED >>> 2] = low + 1;
    if (low === 0xffff_ffff) words[(RETIRED >>> 2) + 1]++;
  }

  /** `enter` comes back with ENTER_DEADLINE once `retired` has reached this. Infinity: never. */
  setDeadline(retired: number): void {
    const { words } = this;
    if (retired >= Number.MAX_SAFE_INTEGER) {
      words[HOST_DEADLINE >>> 2] = 0xffffffff;
      words[(HOST_DEADLINE >>> 2) + 1] = 0x7fffffff;
    } else {
      const whole = Math.max(0, Math.ceil(retired));
      words[HOST_DEADLINE >>> 2] = whole % 0x100000000;
      words[(HOST_DEADLINE >>> 2) + 1] = Math.floor(whole / 0x100000000);
    }
  }

  /**
   * Host time stamp counter: it reads `value` now, plus what the guest has moved it by (IA32_TSC_ADJUST), and goes on by one for each
   * 2^shift instructions.
   * @param shift 0 to 26
   */
  setTsc(value: number, shift = 0): void {
    const { words } = this,
      adjust = MSR_TSC_ADJUST >>> 2;
    const moved = (words[adjust + 1] | 0) * 0x1_0000_0000 + words[adjust];
    words[TSC_SHIFT >>> 2] = shift;
    this.writeNumber(TSC_BASE, Math.floor(value) + moved - Math.floor(this.retired / (1 << shift)));
  }

  /** Host time stamp counter now. */
  get tsc(): bigint {
    return BigInt.asUintN(
      64,
      this.longs[TSC_BASE >>> 3] + (this.longs[RETIRED >>> 3] >> BigInt(this.words[TSC_SHIFT >>> 2])),
    );
  }

  /**
   * Ticks of the preemption timer, modulo 2^48: how often its bit of the counter has changed by increments. What the guest has moved the counter by does not count
   * (SDM 3C 26.5.1). Looked at with each entry and exit of a guest's guest, so without a bigint.
   */
  get timerTicks(): number {
    const { words } = this,
      moved = MSR_TSC_ADJUST >>> 2;
    const base = words[TSC_BASE >>> 2] + (words[(TSC_BASE >>> 2) + 1] & 0x1f_ffff) * HIGH,
      passed = Math.floor(this.retired / (1 << words[TSC_SHIFT >>> 2]));
    const room = EXACT - base;
    const ticks =
      passed >= EXACT
        ? Number(BigInt.asUintN(48, this.tsc >> BigInt(TIMER_SHIFT)))
        : Math.floor((passed < room ? base + passed : passed - room) / TICK);
    const left = (words[moved] >>> TIMER_SHIFT) + (words[moved + 1] & 0x1f_ffff) * (HIGH / TICK);
    return ticks >= left ? ticks - left : ticks - left + TICKS;
  }

  /** Instruction groups follow this CPUID table. */
  setCpuid(table: readonly CpuidEntry[]): void {
    writeFeatures(this.buffer, table);
    this.exports.modeChanged();
  }
  /** The feature words, for tests. */
  get features(): Uint32Array {
    return this.words.slice(FEATURES >>> 2, (FEATURES >>> 2) + 8);
  }

  /** State after INIT, or after power-up. */
  reset(powerUp: boolean): void {
    writeResetState(this.buffer, powerUp);
    this.touchGuest();
  }

  // ------------------------------------------------------------------------------------------------ registers
  /** Low half of general register `index`, unsigned. */
  getRegister32(index: number): number {
    return this.state.getRegister32(index);
  }
  /** Writes 32 bits and clears the upper half. */
  setRegister32(index: number, value: number): void {
    this.words[(REGS >>> 2) + index * 2] = value;
    this.words[(REGS >>> 2) + index * 2 + 1] = 0;
  }
  getRegister(index: number): bigint {
    return this.state.getRegister(index);
  }
  setRegister(index: number, value: bigint): void {
    this.longs[(REGS >>> 3) + index] = value;
  }

  get rip(): bigint {
    return this.state.rip;
  }
  set rip(value: bigint) {
    this.longs[RIP >>> 3] = value;
    this.words[V_DIRTY >>> 2] |= DIRTY_GUEST;
  }
  get rflags(): number {
    return this.state.rflags;
  }
  set rflags(value: number) {
    this.exports.setGuestFlags(value);
    this.words[V_DIRTY >>> 2] |= DIRTY_GUEST;
  }

  get cr0(): bigint {
    return this.state.cr0;
  }
  set cr0(value: bigint) {
    this.setPaging(CR0, value);
  }
  get cr2(): bigint {
    return this.state.cr2;
  }
  set cr2(value: bigint) {
    this.longs[CR2 >>> 3] = value;
  }
  get cr3(): bigint {
    return this.state.cr3;
  }
  set cr3(value: bigint) {
    this.setPaging(CR3, value);
  }
  get cr4(): bigint {
    return this.state.cr4;
  }
  set cr4(value: bigint) {
    this.setPaging(CR4, value);
  }
  get cr8(): bigint {
    return this.state.cr8;
  }
  set cr8(value: bigint) {
    this.longs[CR8 >>> 3] = value;
  }
  get efer(): bigint {
    return this.state.efer;
  }
  set efer(value: bigint) {
    this.setPaging(EFER, value);
  }
  get xcr0(): bigint {
    return this.state.xcr0;
  }
  set xcr0(value: bigint) {
    this.longs[XCR0 >>> 3] = value;
    this.touchGuest();
  }
  /** DR0-DR3, DR6, DR7. */
  getDebugRegister(index: number): bigint {
    return this.state.getDebugRegister(index);
  }
  setDebugRegister(index: number, value: bigint): void {
    this.longs[(DR >>> 3) + index] = value;
    this.touchGuest();
  }

  /** A segment register, by its number in the encoding (6 LDTR, 7 TR). */
  getSegment(index: number): { selector: number; base: bigint; limit: number; accessRights: number } {
    return this.state.getSegment(index);
  }
  setSegment(index: number, segment: { selector: number; base: bigint; limit: number; accessRights: number }): void {
    const { words } = this;
    words[(SEG_SEL >>> 2) + index] = segment.selector;
    words[(SEG_LIMIT >>> 2) + index] = segment.limit;
    words[(SEG_AR >>> 2) + index] = segment.accessRights;
    this.longs[(SEG_BASE >>> 3) + index] = segment.base;
    this.touchGuest();
  }
  get gdtr(): { base: bigint; limit: number } {
    return this.state.gdtr;
  }
  set gdtr(table: { base: bigint; limit: number }) {
    this.setTable(GDTR_BASE, GDTR_LIMIT, table);
  }
  get idtr(): { base: bigint; limit: number } {
    return this.state.idtr;
  }
  set idtr(table: { base: bigint; limit: number }) {
    this.setTable(IDTR_BASE, IDTR_LIMIT, table);
  }

  /** Interruptibility state as in the VMCS; changing it needs no check. */
  get interruptibility(): number {
    return this.state.interruptibility;
  }
  set interruptibility(value: number) {
    this.words[INTERRUPTIBILITY >>> 2] = value;
  }

  /** An MSR the processor keeps, or undefined. */
  readMsr(index: number): bigint | undefined {
    return this.state.readMsr(index);
  }
  /** False when the processor does not keep this MSR. The value is not checked. */
  writeMsr(index: number, value: bigint): boolean {
    const address = this.exports.msrAddress(index);
    if (address === 0) return false;
    this.longs[address >>> 3] = BigInt.asUintN(64, value);
    this.touchGuest();
    return true;
  }

  /** Guest state was changed from outside: the next entry checks it and takes it over. */
  touchGuest(): void {
    this.words[V_DIRTY >>> 2] |= DIRTY_GUEST | DIRTY_PAGING;
  }

  // ------------------------------------------------------------------------------------------------ memory
  /**
   * Translates a linear address through the guest's tables without side effects. `access`: 0 rights are not looked at, 1 read, 2
   * write, 4 execute at the current privilege level. The result is reused.
   */
  translate(linear: bigint, access = 0): Translation {
    if ((this.words[V_DIRTY >>> 2] | this.words[V_TO_LOAD >>> 2]) !== 0) this.exports.applyWrites();
    const { translation: result, words } = this,
      status = this.exports.observe(BigInt.asUintN(64, linear), access);
    if (status === 0) {
      result.gpa = words[(BOUNCE + 48) >>> 2] + words[(BOUNCE + 52) >>> 2] * 0x100000000;
      result.vector = result.errorCode = 0;
    } else {
      result.gpa = -1;
      result.vector = status === 1 ? 14 : 0;
      result.errorCode = status === 1 ? words[(BOUNCE + 56) >>> 2] : 0;
    }
    return result;
  }

  /**
   * Drops every translation of every processor: for changes of EPT or of page tables in RAM from outside. `invept` and `invvpid` drop what must
   * be dropped.
   */
  flushTranslations(): void {
    this.exports.invalidateGuestPages();
  }

  private wrote(gpa: number, length: number): void {
    for (const region of this.memory.regions) {
      if (gpa >= region.gpa && gpa < region.gpa + region.size)
        this.exports.invalidateCode(region.hostOffset + gpa - region.gpa, length);
    }
  }

  /** Stores a whole number as 64 bits, modulo 2^64. */
  private writeNumber(address: number, value: number): void {
    const high = Math.floor(value / 0x1_0000_0000);
    this.words[address >>> 2] = value - high * 0x1_0000_0000;
    this.words[(address >>> 2) + 1] = high;
  }

  private setPaging(address: number, value: bigint): void {
    this.longs[address >>> 3] = value;
    this.touchGuest();
  }

  private setTable(base: number, limit: number, table: { base: bigint; limit: number }): void {
    this.longs[base >>> 3] = table.base;
    this.words[limit >>> 2] = table.limit;
    this.words[V_DIRTY >>> 2] |= DIRTY_GUEST;
  }

  // ------------------------------------------------------------------------------------------------ VMCS
  /** HPA of a fresh VMCS region: a page from `pages` with the revision identifier in it. */
  newVmcsRegion(): number {
    const region = this.pages.allocatePage();
    this.words[region >>> 2] = VMCS_REVISION;
    return region;
  }

  /**
   * VMPTRLD: makes the VMCS of `region` current, guest state included; the one that was current is written back to its region and can be made
   * current again. 0, or the VM-instruction error: 9 bad address, 11 wrong revision identifier. `written`: groups of fields (DIRTY_ of vmcs-layout.ts) that
   * have been written in the region itself; only these, and what was written before, are checked by the next entry.
   */
  vmptrld(region: number, written = DIRTY_ALL & ~DIRTY_PAGING): number {
    return this.exports.vmptrld(region, written);
  }
  /** VMCLEAR: the VMCS of `region` is written back and can be launched anew; it is not current any more. 0, or 2 for a bad address. */
  vmclear(region: number): number {
    return this.exports.vmclear(region);
  }
  /** VMPTRST: HPA of the current VMCS's region, 0xFFFFFFFF when none is current: `enter` is ENTER_VMFAIL then. */
  vmptrst(): number {
    return this.exports.vmptrst() >>> 0;
  }

  /**
   * INVVPID on the processor in the engine (SDM 3C 29.4.3): `type` 0 the page of `linear` under `vpid`, 1 everything of `vpid`, 2 everything of all
   * VPIDs but 0, 3 everything of `vpid` but global translations. 0, or the VM-instruction error 28 for an operand that is not allowed.
   */
  invvpid(type: number, vpid = 0, linear = 0n): number {
    return this.exports.invvpid(type, vpid, BigInt.asUintN(64, linear));
  }
  /** INVEPT: `type` 1 what was translated through the EPT of `eptp`, 2 through any. 0, or 28 for an operand that is not allowed. */
  invept(type: number, eptp = 0n): number {
    return this.exports.invept(type, BigInt.asUintN(64, eptp));
  }

  // ------------------------------------------------------------------------------------------------ state
  /** Processor state, VMCS and VMX structures as plain data; guest RAM is saved apart. */
  saveState(): EngineState {
    return captureState(this);
  }
  restoreState(state: EngineState): void {
    putState(this, state);
  }
}
