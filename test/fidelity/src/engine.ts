/**
 * Runs cases on the software processor: a guest at CPL 3 whose page tables map the same areas at the same addresses as the
 * native harness, and a VMCS that lets every exception exit. The exit then says what the native signal says.
 */
import * as L from '@visorkit/engine/layout';
import * as V from '@visorkit/engine/vmcs-layout';
import {
  CASE,
  CASE_BYTES,
  CODE_BYTES,
  CODE_LOW,
  type CaseSet,
  caseAt,
  DATA_BYTES,
  DATA_LOW,
  FPU,
  HIGH,
  PATTERNS,
  READ_ONLY,
  RESULT,
  SUPERVISOR_PAGE,
  USER_CS32,
  USER_CS64,
  USER_DS,
  VECTOR_TIMEOUT,
  ZONE,
  ZONE_PAGES,
  writeRuns,
} from './format.js';
import { accessRights, chosenSegments, descriptor, LDT } from './segments.js';
import { createProcessor, type Processor } from './processor.js';

/** Guest-physical places. */
const PML4 = 0x1000,
  PDPT_LOW = 0x2000,
  PDPT_HIGH = 0x3000,
  DIRECTORY = 0x4000,
  DIRECTORY_SYSTEM = 0xd000,
  TABLE_CODE = 0x5000,
  TABLE_DATA = 0x6000,
  TABLE_SYSTEM = 0x7000;
const PDPT_SUPERVISOR = 0xe000,
  DIRECTORY_SUPERVISOR = 0xf000,
  TABLE_SUPERVISOR = 0x14000;
const PAE_PDPT = 0x8000,
  DIRECTORY_32 = 0x9000,
  TABLE_CODE_32 = 0xa000,
  TABLE_DATA_32 = 0xb000,
  TABLE_SYSTEM_32 = 0xc000;
const GDT = 0x10000,
  LDT_TABLE = 0x10800,
  IDT_64 = 0x11000,
  IDT_32 = 0x12000,
  TSS = 0x13000;
const CODE_PAGES = 0x100000,
  DATA_PAGES = 0x110000,
  READ_ONLY_PAGE = 0x118000;
/** Linear address of the page with descriptor tables: supervisor only, far from what cases reach. */
const SYSTEM_LINEAR = 0x6ac00000;
const RAM_BYTES = 4 << 20;

/** How 32-bit cases run: compatibility mode under 4-level paging, or protected mode with PAE or 32-bit paging. */
export type Mode32 = 'compatibility' | 'pae' | 'legacy';

const PRESENT = 1n,
  WRITE = 2n,
  USER = 4n;
const CR0 = 0x8005_0033n; // PG AM WP NE ET MP PE
const CR4 = 0x0015_06b0n; // SMEP OSXSAVE FSGSBASE OSXMMEXCPT OSFXSR PGE PAE PSE
const INSTRUCTION_LIMIT = 200_000n;

export class EngineRunner {
  readonly #cpu: Processor;
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #data: Uint8Array;
  readonly #dataWords: BigUint64Array;
  readonly #codePages: Uint8Array;
  readonly #before = new Uint8Array(DATA_BYTES);
  readonly #beforeWords = new BigUint64Array(this.#before.buffer);
  readonly #result = new Uint8Array(RESULT.runs + 4 * DATA_BYTES);
  /** Of the case at hand. */
  readonly #code = new Uint8Array(CODE_BYTES);
  #mode = '';

  private constructor(
    cpu: Processor,
    private readonly translates: boolean,
  ) {
    this.#cpu = cpu;
    this.#bytes = cpu.memory;
    this.#view = new DataView(cpu.memory.buffer, cpu.memory.byteOffset, cpu.memory.byteLength);
    this.#data = this.#bytes.subarray(L.GUEST_RAM + DATA_PAGES, L.GUEST_RAM + DATA_PAGES + DATA_BYTES);
    this.#dataWords = new BigUint64Array(this.#data.buffer, this.#data.byteOffset, DATA_BYTES / 8);
    this.#codePages = this.#bytes.subarray(L.GUEST_RAM + CODE_PAGES, L.GUEST_RAM + CODE_PAGES + CODE_BYTES);
    this.#buildGuest();
    this.#buildVmcs();
  }

  /** `translates`: cases run as code that is translated to WebAssembly, as far as it can be. */
  static async create({ translates = false } = {}): Promise<EngineRunner> {
    return new EngineRunner(await createProcessor(RAM_BYTES, L.GUEST_RAM, translates), translates);
  }

  /** Instructions retired in translated code. */
  get translated(): number {
    return this.#cpu.translated();
  }

  /** Results of the cases, in the order and form of the native harness. */
  run(set: CaseSet): Uint8Array[] {
    const out: Uint8Array[] = [];
    const count = set.bytes.length / CASE_BYTES;
    for (let i = 0; i < count; i++) {
      const group = set.groups[i]!;
      const plain = group === 'far' || group === 'segment';
      const kind = plain ? 0 : set.bytes[i * CASE_BYTES + CASE.gpr]! % 3;
      const mode = kind === 0 ? 'compatibility' : kind === 1 ? 'pae' : 'legacy';
      if (this.translates) this.#runCase(set, i, mode); // interpreted, which makes its blocks hot
      out.push(this.#runCase(set, i, mode));
    }
    return out;
  }

  #write64(gpa: number, value: bigint): void {
    this.#view.setBigUint64(L.GUEST_RAM + gpa, value, true);
  }
  #write32(gpa: number, value: number): void {
    this.#view.setUint32(L.GUEST_RAM + gpa, value, true);
  }

  #buildGuest(): void {
    const user = PRESENT | WRITE | USER;
    const index = (address: number, shift: number) => Math.floor(address / 2 ** shift) % 512;
    // 4-level: the low and the high alias share the page directory
    this.#write64(PML4, BigInt(PDPT_LOW) | user);
    this.#write64(PML4 + index(HIGH, 39) * 8, BigInt(PDPT_HIGH) | user);
    this.#write64(PML4 + index(Number(BigInt.asUintN(48, SUPERVISOR_PAGE)), 39) * 8, BigInt(PDPT_SUPERVISOR) | user);
    this.#write64(PDPT_SUPERVISOR, BigInt(DIRECTORY_SUPERVISOR) | user);
    this.#write64(DIRECTORY_SUPERVISOR, BigInt(TABLE_SUPERVISOR) | user);
    this.#write64(TABLE_SUPERVISOR, BigInt(READ_ONLY_PAGE) | PRESENT | WRITE);
    this.#write64(PDPT_LOW, BigInt(DIRECTORY) | user);
    this.#write64(PDPT_LOW + 8, BigInt(DIRECTORY_SYSTEM) | user); // second GiB: descriptor tables
    this.#write64(PDPT_HIGH + index(HIGH, 30) * 8, BigInt(DIRECTORY) | user);
    this.#write64(DIRECTORY + index(CODE_LOW, 21) * 8, BigInt(TABLE_CODE) | user);
    this.#write64(DIRECTORY + index(DATA_LOW, 21) * 8, BigInt(TABLE_DATA) | user);
    this.#write64(DIRECTORY_SYSTEM + index(SYSTEM_LINEAR, 21) * 8, BigInt(TABLE_SYSTEM) | user);
    const pages: [number, number, number, number, bigint][] = [];
    for (let p = 0; p < CODE_BYTES / 4096; p++) pages.push([TABLE_CODE, TABLE_CODE_32, p, CODE_PAGES + p * 4096, user]);
    for (let p = 0; p < DATA_BYTES / 4096; p++)
      pages.push([TABLE_DATA, TABLE_DATA_32, p, DATA_PAGES + p * 4096, user | (1n << 63n)]);
    pages.push([TABLE_DATA, TABLE_DATA_32, READ_ONLY / 4096, READ_ONLY_PAGE, PRESENT | USER | (1n << 63n)]);
    ZONE_PAGES.forEach((rights, n) => {
      const slot = ZONE / 4096 + n;
      if (rights === 'writable') pages.push([TABLE_DATA, TABLE_DATA_32, slot, DATA_PAGES, user | (1n << 63n)]);
      if (rights === 'read-only')
        pages.push([TABLE_DATA, TABLE_DATA_32, slot, READ_ONLY_PAGE, PRESENT | USER | (1n << 63n)]);
    });
    for (let p = 0; p < 4; p++) pages.push([TABLE_SYSTEM, TABLE_SYSTEM_32, p, GDT + p * 4096, PRESENT | WRITE]);
    for (const [table, table32, slot, gpa, rights] of pages) {
      this.#write64(table + slot * 8, BigInt(gpa) | rights);
      this.#write32(table32 + slot * 4, gpa | Number(rights & 7n));
    }
    // PAE: page-directory-pointer entries have no rights bits
    this.#write64(PAE_PDPT, BigInt(DIRECTORY) | PRESENT);
    this.#write64(PAE_PDPT + 8, BigInt(DIRECTORY_SYSTEM) | PRESENT);
    this.#write32(DIRECTORY_32 + (CODE_LOW >>> 22) * 4, TABLE_CODE_32 | 7);
    this.#write32(DIRECTORY_32 + (DATA_LOW >>> 22) * 4, TABLE_DATA_32 | 7);
    this.#write32(DIRECTORY_32 + (SYSTEM_LINEAR >>> 22) * 4, TABLE_SYSTEM_32 | 7);

    // the user part of the host kernel's GDT
    const descriptors: bigint[] = [
      0n,
      0x00cf9b000000ffffn,
      0x00af9b000000ffffn,
      0x00cf93000000ffffn,
      0x00cffb000000ffffn,
      0x00cff3000000ffffn,
      0x00affb000000ffffn,
      0n,
      0x00008b0000000067n |
        ((BigInt(SYSTEM_LINEAR + TSS - GDT) & 0xffffffn) << 16n) |
        (BigInt((SYSTEM_LINEAR + TSS - GDT) >>> 24) << 56n),
      0n,
      0n,
      0n,
      0n,
      0n,
      0n,
      0x0040f50000000000n,
    ];
    descriptors.forEach((d, i) => this.#write64(GDT + i * 8, d));
    LDT.forEach((s, i) => this.#write64(LDT_TABLE + i * 8, descriptor(s)));
    for (let v = 0; v < 256; v++) {
      const dpl = v === 3 || v === 4 ? 3n : 0n;
      const gate = 0x00008e0000100000n | (dpl << 45n);
      this.#write64(IDT_64 + v * 16, gate);
      this.#write64(IDT_32 + v * 8, (gate & ~0xffff0000n) | 0x00080000n);
    }
    this.#bytes[L.GUEST_RAM + TSS + 0x66] = 0x68; // I/O map base beyond the limit
    this.#bytes.set(PATTERNS[0]!.subarray(0, 4096), L.GUEST_RAM + READ_ONLY_PAGE);
  }

  #buildVmcs(): void {
    const view = this.#view;
    const u32 = (at: number, v: number) => view.setUint32(at, v >>> 0, true);
    const u64 = (at: number, v: bigint) => view.setBigUint64(at, BigInt.asUintN(64, v), true);
    // EPT: guest RAM at guest-physical 0, in 2 MiB pages, write-back
    const ept = L.HYPERVISOR + 0x1000;
    u64(ept, BigInt(ept + 0x1000) | 7n);
    u64(ept + 0x1000, BigInt(ept + 0x2000) | 7n);
    for (let p = 0; p < RAM_BYTES >> 21; p++) u64(ept + 0x2000 + p * 8, BigInt(L.GUEST_RAM + (p << 21)) | 0xb7n);
    u64(V.V_EPTP, BigInt(ept) | 0x1en);
    u32(L.MAXPHYADDR, 40);
    u64(L.RANDOM_STATE, 1n);
    for (let w = 0; w < 8; w++) u32(L.FEATURES + w * 4, 0xffffffff);
    u32(V.V_PIN_CONTROLS, 0x16 | 1 | 8); // reserved ones; external interrupts and NMIs exit
    u32(V.V_PRIMARY_CONTROLS, 0x04006172 | 0x80000000 | 0x80);
    u32(V.V_SECONDARY_CONTROLS, 2 | (1 << 3) | (1 << 5) | (1 << 12) | (1 << 20)); // EPT, RDTSCP, VPID, INVPCID, XSAVES
    view.setUint16(V.V_VPID, 1, true);
    u32(V.V_EXIT_CONTROLS, 0x36dff | 0x200 | (1 << 20) | (1 << 21));
    u32(V.V_EXCEPTION_BITMAP, 0xffffffff);
    u64(V.V_LINK_POINTER, -1n);
    u64(V.V_HOST_CR0, 0x80050033n);
    u64(V.V_HOST_CR3, 0x1000n);
    u64(V.V_HOST_CR4, 0x2020n);
    u32(V.V_HOST_CS, 0x10);
    u32(V.V_HOST_TR, 0x40);
    u64(V.V_HOST_EFER, 0xd01n);
    u64(V.V_CR0_MASK, 0n);
    u64(V.V_CR4_MASK, 0n);
  }

  #setMode(mode: '64' | Mode32, segments: number): void {
    // segments are loaded for every case: cases change them
    const view = this.#view;
    const u32 = (at: number, v: number) => view.setUint32(at, v >>> 0, true);
    const u64 = (at: number, v: bigint) => view.setBigUint64(at, v, true);
    const wide = mode === '64';
    const segment = (n: number, selector: number, rights: number, limit = 0xffffffff, base = 0n) => {
      u32(L.SEG_SEL + n * 4, selector);
      u32(L.SEG_AR + n * 4, rights);
      u32(L.SEG_LIMIT + n * 4, limit);
      u64(L.SEG_BASE + n * 8, base);
    };
    segment(L.SEG_CS, wide ? USER_CS64 : USER_CS32, wide ? 0xa0fb : 0xc0fb);
    segment(L.SEG_SS, USER_DS, 0xc0f3);
    for (const n of [L.SEG_DS, L.SEG_ES, L.SEG_FS, L.SEG_GS]) {
      if (wide) segment(n, 0, 0x10000, 0);
      else segment(n, USER_DS, 0xc0f3);
    }
    if (segments >= 0)
      chosenSegments(segments).forEach((s, n) => {
        const limit = s.pages ? s.limit * 4096 + 4095 : s.limit;
        segment(n, s.selector, accessRights(s), s.selector === 0 ? 0 : limit, BigInt(s.base));
      });
    if (mode === this.#mode) return;
    this.#mode = mode;
    segment(L.SEG_TR, 0x40, 0x8b, 0x67, BigInt(SYSTEM_LINEAR + TSS - GDT));
    segment(L.SEG_LDTR, 0x50, 0x82, LDT.length * 8 - 1, BigInt(SYSTEM_LINEAR + LDT_TABLE - GDT));
    u64(L.GDTR_BASE, BigInt(SYSTEM_LINEAR));
    u32(L.GDTR_LIMIT, 0x7f);
    const long = wide || mode === 'compatibility';
    u64(L.IDTR_BASE, BigInt(SYSTEM_LINEAR + (long ? IDT_64 : IDT_32) - GDT));
    u32(L.IDTR_LIMIT, long ? 0xfff : 0x7ff);
    u64(L.CR0, CR0);
    u64(L.CR4, mode === 'legacy' ? CR4 & ~0x20n : CR4);
    u64(L.CR3, BigInt(long ? PML4 : mode === 'pae' ? PAE_PDPT : DIRECTORY_32));
    u64(L.EFER, long ? 0xd01n : 0x801n);
    u64(L.XCR0, 7n);
    for (let i = 0; i < 4; i++)
      u64(L.PDPTE + i * 8, mode === 'pae' ? view.getBigUint64(L.GUEST_RAM + PAE_PDPT + i * 8, true) : 0n);
    u64(L.DR + 56, 0x400n);
    u64(L.DR + 48, 0xffff0ff0n);
    // VM-entry controls: reserved ones, IA-32e mode guest, load EFER
    u32(V.V_ENTRY_CONTROLS, 0x11ff | (long ? 0x200 : 0) | (1 << 15));
    u32(V.V_DIRTY, V.DIRTY_ALL);
    this.#cpu.flushTlb();
  }

  #runCase(set: CaseSet, index: number, mode32: Mode32): Uint8Array {
    const c = caseAt(set, index);
    const view = this.#view;
    const cpu = this.#cpu;
    this.#setMode(c.is32 ? mode32 : '64', c.segments);
    c.fillData(this.#before);
    this.#data.set(this.#before);
    this.#code.fill(0xcc).set(c.code, c.codeOffset);
    if (!this.translates || Buffer.compare(this.#codePages, this.#code) !== 0) {
      this.#codePages.set(this.#code);
      cpu.codeChanged(L.GUEST_RAM + CODE_PAGES, CODE_BYTES);
    }
    cpu.codeChanged(L.GUEST_RAM + DATA_PAGES, DATA_BYTES);

    for (let r = 0; r < 16; r++) view.setBigUint64(L.REGS + r * 8, c.gpr(r), true);
    view.setBigUint64(L.RIP, BigInt(c.rip), true);
    cpu.setFlags(Number(c.rflags) | 0x202);
    const fpu = c.fpu;
    const f = new DataView(fpu.buffer, fpu.byteOffset, FPU.bytes);
    const fsw = f.getUint16(FPU.fsw, true);
    view.setUint16(L.FPU_CW, f.getUint16(FPU.fcw, true), true);
    view.setUint16(L.FPU_SW, fsw, true);
    view.setUint8(L.FPU_TAG, fpu[FPU.ftw]!);
    this.#bytes.fill(0, L.FPU_OP, L.FPU_DS + 2); // no case says which x87 instruction was the last
    const top = (fsw >> 11) & 7;
    for (let i = 0; i < 8; i++) {
      const at = L.FPR + ((top + i) & 7) * 16;
      this.#bytes.set(fpu.subarray(FPU.st + i * 16, FPU.st + i * 16 + 10), at);
    }
    view.setUint32(L.MXCSR, f.getUint32(FPU.mxcsr, true), true);
    this.#bytes.set(fpu.subarray(FPU.ymm, FPU.ymm + 512), L.YMM);
    view.setUint32(L.INTERRUPTIBILITY, 0, true);
    view.setUint32(L.ACTIVITY, 0, true);
    view.setBigUint64(L.PENDING_DEBUG, 0n, true);
    view.setBigUint64(L.HOST_DEADLINE, view.getBigUint64(L.RETIRED, true) + INSTRUCTION_LIMIT, true);
    view.setUint32(V.V_DIRTY, view.getUint32(V.V_DIRTY, true) | V.DIRTY_GUEST, true);

    cpu.enter();
    const rule = view.getUint32(L.ENTRY_RULE, true);
    if (rule !== 0)
      throw new Error(
        `VM entry for case ${index} failed by rule ${rule} (${mode32}, case flags ${c.flags.toString(16)}).`,
      );
    return this.#collect();
  }

  #collect(): Uint8Array {
    const view = this.#view;
    const out = this.#result;
    const r = new DataView(out.buffer, out.byteOffset, RESULT.runs);
    out.fill(0, 0, RESULT.runs);
    const reason = view.getUint32(V.V_EXIT_REASON, true);
    const info = view.getUint32(V.V_EXIT_INTERRUPTION_INFO, true);
    let rip = view.getBigUint64(L.RIP, true);
    if (reason === 0 && this.#cpu.exited()) {
      const vector = info & 0xff;
      const type = (info >>> 8) & 7;
      r.setUint32(RESULT.vector, vector, true);
      if (info & 0x800) r.setUint32(RESULT.error, view.getUint32(V.V_EXIT_ERROR_CODE, true), true);
      if (vector === 14) r.setBigUint64(RESULT.cr2, view.getBigUint64(V.V_EXIT_QUALIFICATION, true), true);
      // INT1, INT3 and INTO exit at the instruction; the kernel's handlers see the RIP behind it
      if (type === 5 || type === 6) rip += BigInt(view.getUint32(V.V_INSTRUCTION_LENGTH, true));
    } else
      r.setUint32(
        RESULT.vector,
        this.#cpu.exited() ? 0x1000 + (reason >>> 31) * 0x1000 + (reason & 0xffff) : VECTOR_TIMEOUT,
        true,
      );
    r.setBigUint64(RESULT.rip, rip, true);
    r.setBigUint64(RESULT.rflags, BigInt(this.#cpu.flags()), true);
    for (let i = 0; i < 16; i++) r.setBigUint64(RESULT.gpr + i * 8, view.getBigUint64(L.REGS + i * 8, true), true);
    for (let s = 0; s < 6; s++) r.setUint16(RESULT.segments + s * 2, view.getUint32(L.SEG_SEL + s * 4, true), true);
    const fpu = RESULT.fpu;
    const fsw = view.getUint16(L.FPU_SW, true);
    r.setUint16(fpu + FPU.fcw, view.getUint16(L.FPU_CW, true), true);
    r.setUint16(fpu + FPU.fsw, fsw, true);
    out[fpu + FPU.ftw] = view.getUint8(L.FPU_TAG);
    r.setUint32(fpu + FPU.mxcsr, view.getUint32(L.MXCSR, true), true);
    const top = (fsw >> 11) & 7;
    for (let i = 0; i < 8; i++) {
      const at = L.FPR + ((top + i) & 7) * 16;
      out.set(this.#bytes.subarray(at, at + 10), fpu + FPU.st + i * 16);
    }
    out.set(this.#bytes.subarray(L.YMM, L.YMM + 512), fpu + FPU.ymm);
    const size = writeRuns(out, this.#beforeWords, this.#dataWords);
    return out.slice(0, size);
  }
}
