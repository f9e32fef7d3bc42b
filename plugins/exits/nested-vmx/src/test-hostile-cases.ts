/**
 * What a hostile hypervisor enters: a VMCS that can be entered, with features of each kind, in which a few things are wrong; EPT tables that loop or point outside
 * memory; pages of the VMCS (APIC pages, bitmaps, MSR areas, descriptors) outside memory or over memory in use; and a guest whose instructions exit.
 * The guest has 2 MiB of memory of its own: what it writes is not the hypervisor's code, unless tables that are wrong give it that.
 */
import type { GuestMemory } from '@visorkit/core';
import { VMCS_FIELDS, VmcsField as F } from '@visorkit/x86';
import { APIC, INSIDE, guestInstruction } from './test-hostile-code.js';
import { AT, FIELDS, MEMORY, REVISION } from './test-hypervisor.js';

/** xorshift32: the same seed gives the same cases. */
export function randomNumbers(seed: number): () => number {
  let x = seed | 1;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return x >>> 0;
  };
}

/** Guest-physical pages of the hypervisor. */
export const PAGES = {
  msrs: 0x6_0000,
  virtualApic: 0x6_1000,
  ioA: 0x6_2000,
  ioB: 0x6_3000,
  msrBitmap: 0x6_4000,
  descriptor: 0x6_5000,
  pml: 0x6_6000,
  eptList: 0x6_7000,
  veInformation: 0x6_8000,
  shadowVmcs: 0x6_9000,
  readBitmap: 0x6_a000,
  writeBitmap: 0x6_b000,
  /** Tables of sub-page permissions, one for each of four levels. */
  subPages: 0x6_c000,
  apicAccess: 0x7_0000,
  otherVmcs: 0x7_1000,
  /** EPT tables: top, PDPT, PD and PT of the first GiB, PD and PT of the fourth. */
  ept: 0x8_0000,
  /** Paging of a guest without EPT: PML4, PDPT, PD, PT. */
  paging: 0x9_0000,
  /** PDPTEs of a guest with PAE paging and without EPT. */
  pdptes: 0x9_4000,
  /** Gates and descriptors of the hypervisor itself. */
  idt: 0x9_5000,
  gdt: 0x9_6000,
  end: 0x9_7000,
} as const;

/** Where the guest's memory begins, in that of the hypervisor. */
export const GUEST = 0x40_0000;
/** Physical addresses have so many bits on this machine. */
const TOP = 2n ** 46n;

/** Offset of a field in a region (the README has the layout). */
export function slot(encoding: number): number {
  const groups = [
    [0x100, 0, 0x180, 0x200],
    [0x240, 0x3c0, 0x400, 0x500],
    [0x580, 0x640, 0x680, 0x740],
    [0x780, 0x800, 0x840, 0x940],
  ];
  return groups[(encoding >>> 13) & 3][(encoding >>> 10) & 3] + ((encoding >>> 1) & 0x1ff) * 8;
}

type Fields = readonly (readonly [number, bigint | number])[];
const rights = (n: number): number => F.GUEST_ES_ACCESS_RIGHTS + 2 * n;
const segments = (
  of: (n: number) => readonly [selector: number, base: number, limit: number, rights: number],
): [number, number][] =>
  [0, 1, 2, 3, 4, 5].flatMap((n): [number, number][] => {
    const [selector, base, limit, accessRights] = of(n);
    return [
      [F.GUEST_ES_SELECTOR + 2 * n, selector],
      [F.GUEST_ES_BASE + 2 * n, base],
      [F.GUEST_ES_LIMIT + 2 * n, limit],
      [rights(n), accessRights],
    ];
  });

const EPT: Fields = [
  [F.PRIMARY_CONTROLS, 0x8400_6172],
  [F.SECONDARY_CONTROLS, 2],
  [F.GUEST_CR3, INSIDE.paging],
];
const WITHOUT_EPT: Fields = [[F.GUEST_CR3, PAGES.paging]];
const LEGACY: Fields = [
  [F.ENTRY_CONTROLS, 0x91fb],
  [F.GUEST_IA32_EFER, 0],
  ...segments((n) => [n === 1 ? 8 : 16, 0, 0xffff_ffff, n === 1 ? 0xc09b : 0xc093]),
];
/** Every VMCS has addresses of its own for everything that has one. */
const ADDRESSES: Fields = [
  [F.IO_BITMAP_A, PAGES.ioA],
  [F.IO_BITMAP_B, PAGES.ioB],
  [F.MSR_BITMAP, PAGES.msrBitmap],
  [F.EXIT_MSR_STORE_ADDRESS, PAGES.msrs],
  [F.EXIT_MSR_LOAD_ADDRESS, PAGES.msrs],
  [F.ENTRY_MSR_LOAD_ADDRESS, PAGES.msrs],
  [F.VIRTUAL_APIC_ADDRESS, PAGES.virtualApic],
  [F.APIC_ACCESS_ADDRESS, PAGES.apicAccess],
  [F.POSTED_INTERRUPT_DESCRIPTOR, PAGES.descriptor],
  [F.POSTED_INTERRUPT_NOTIFICATION_VECTOR, 0xf2],
  [F.PML_ADDRESS, PAGES.pml],
  [F.PML_INDEX, 511],
  [F.EPTP_LIST_ADDRESS, PAGES.eptList],
  [F.VIRTUALIZATION_EXCEPTION_INFORMATION, PAGES.veInformation],
  [F.VMREAD_BITMAP, PAGES.readBitmap],
  [F.VMWRITE_BITMAP, PAGES.writeBitmap],
  [F.SUB_PAGE_PERMISSION_TABLE_POINTER, PAGES.subPages],
  [F.VPID, 5],
  [F.VM_FUNCTION_CONTROLS, 1],
  [F.TSC_MULTIPLIER, 1n << 48n],
  [F.INSTRUCTION_TIMEOUT, 1000],
  [F.EPT_POINTER, PAGES.ept | 0x1e],
  [F.PLE_GAP, 100],
  [F.PLE_WINDOW, 100],
  [F.HOST_IDTR_BASE, PAGES.idt],
  [F.HOST_GDTR_BASE, PAGES.gdt],
  [F.GUEST_IDTR_BASE, INSIDE.idt],
  [F.GUEST_IDTR_LIMIT, 0xfff],
  [F.GUEST_GDTR_BASE, INSIDE.gdt],
  [F.GUEST_GDTR_LIMIT, 0x1f],
];
const APICV: Fields = [
  ...EPT,
  [F.PRIMARY_CONTROLS, 0x8420_6172],
  [F.PIN_CONTROLS, 0x97],
  [F.EXIT_CONTROLS, 0x0033_effb],
  [F.SECONDARY_CONTROLS, 0x303],
];
/** VMCSs that can be entered: changes of FIELDS and ADDRESSES, in order of their names. */
const VARIANTS: Readonly<Record<string, Fields>> = {
  plain: WITHOUT_EPT,
  ept: EPT,
  'all that exits': [...EPT, [F.PRIMARY_CONTROLS, 0xe599_fff2], [F.SECONDARY_CONTROLS, 0x11_184e]],
  'flags, log, mode-based execution': [...EPT, [F.SECONDARY_CONTROLS, 0x46_0022], [F.EPT_POINTER, PAGES.ept | 0x5e]],
  'VM functions and #VE': [...EPT, [F.SECONDARY_CONTROLS, 0x4_2002]],
  'sub-page permissions': [...EPT, [F.SECONDARY_CONTROLS, 0x80_0002]],
  'APIC accesses': [...EPT, [F.PRIMARY_CONTROLS, 0x8420_6172], [F.SECONDARY_CONTROLS, 0x3]],
  'APIC accesses without EPT': [
    ...WITHOUT_EPT,
    [F.PRIMARY_CONTROLS, 0x8420_6172],
    [F.SECONDARY_CONTROLS, 1],
    [F.APIC_ACCESS_ADDRESS, APIC],
  ],
  APICv: APICV,
  'x2APIC mode': [...APICV, [F.SECONDARY_CONTROLS, 0x312]],
  shadowing: [...EPT, [F.SECONDARY_CONTROLS, 0x4002], [F.VMCS_LINK_POINTER, PAGES.shadowVmcs], [F.PIN_CONTROLS, 0x3e]],
  'PAE paging': [...EPT, ...LEGACY, [F.GUEST_CR3, INSIDE.pdptes]],
  'PAE paging without EPT': [...LEGACY, [F.GUEST_CR3, PAGES.pdptes]],
  'real mode': [
    ...EPT,
    ...LEGACY,
    [F.SECONDARY_CONTROLS, 0x82],
    [F.GUEST_CR0, 0x20],
    [F.GUEST_CR4, 0x2000],
    ...segments((n) => [
      n === 1 ? INSIDE.code >>> 4 : 0x10,
      n === 1 ? INSIDE.code : 0x100,
      0xffff,
      n === 1 ? 0x9b : 0x93,
    ]),
    [F.GUEST_RIP, 0],
  ],
  'user mode': [...EPT, ...segments((n) => [n === 1 ? 11 : 19, 0, 0xffff_ffff, n === 1 ? 0xa0fb : 0xc0f3])],
  'bus locks, limits, user waits': [...EPT, [F.SECONDARY_CONTROLS, 0xc400_0002]],
};
export const VARIANT_NAMES = Object.keys(VARIANTS);
/** Without these the hypervisor does not come back; now and then they are changed all the same. */
const COMES_BACK = new Set<number>([F.HOST_RIP, F.HOST_RSP, F.HOST_CR3]);
/** Secondary controls with nothing else than a bit of the guest's behaviour to them. */
const HARMLESS = [0x4, 0x8, 0x40, 0x400, 0x800, 0x1000, 0x1_0000, 0x10_0000, 0x200_0000] as const;
const EVENTS = [2, 3, 6, 13, 14, 17, 18] as const;

/** Where addresses are wrong: outside memory, and over memory that is in use. */
const BAD_PAGES: readonly bigint[] = [
  ...[MEMORY, 2 ** 30, 0xfee0_0000, 2 ** 32, 2 ** 40].map(BigInt),
  TOP - 4096n,
  ...[AT.vmcs, AT.vmxon, AT.tables, AT.code, AT.handler, AT.stack & ~0xfff, AT.results].map(BigInt),
  ...[PAGES.ept, PAGES.ept + 0x3000, PAGES.paging, GUEST + INSIDE.paging, GUEST + INSIDE.code, 0].map(BigInt),
];
const PAGE_FIELDS: readonly number[] = ADDRESSES.map(([field]) => field).filter(
  (field) => (field >>> 13) % 4 === 1 && field !== F.TSC_MULTIPLIER && field !== F.VM_FUNCTION_CONTROLS,
);

export class CaseMaker {
  /** Of the guest's instructions, from its RIP at first. */
  readonly #starts: number[] = [];
  #origin = 0;

  constructor(
    private readonly memory: GuestMemory,
    readonly random: () => number,
    /** Where the hypervisor handles events of its own. */
    private readonly faults: number,
  ) {}

  pick<T>(list: readonly T[]): T {
    return list[this.random() % list.length];
  }
  one(of: number): boolean {
    return this.random() % of === 0;
  }

  /** Values that fields like to be wrong with. */
  value(): bigint {
    const { random } = this,
      shift = BigInt(random() % 64);
    switch (random() % 8) {
      case 0:
        return 0n;
      case 1:
        return (1n << 64n) - 1n;
      case 2:
        return 1n << shift;
      case 3:
        return BigInt(random() % MEMORY) & ~0xfffn;
      case 4:
        return this.pick(BAD_PAGES);
      case 5:
        return BigInt(random()) << shift;
      case 6:
        return (1n << 47n) + BigInt(random() % 8);
      default:
        return BigInt(random() % 256);
    }
  }

  /** A field in the region at `vmcs`, past every check. */
  put(field: number, value: bigint | number, vmcs: number = AT.vmcs): void {
    this.memory.writeU64(vmcs + slot(field), BigInt.asUintN(64, BigInt(value)));
  }
  get(field: number, vmcs: number = AT.vmcs): bigint {
    return this.memory.readU64(vmcs + slot(field));
  }

  /** A case: pages, tables, the VMCS, the guest's code. The name of its variant. */
  make(): string {
    const { memory } = this;
    memory.fill(PAGES.msrs, PAGES.end - PAGES.msrs, 0);
    memory.fill(GUEST + INSIDE.code, 0x1000, 0xf4);
    memory.writeU32(PAGES.shadowVmcs, (REVISION | 0x8000_0000) >>> 0);
    memory.writeU32(PAGES.otherVmcs, REVISION);
    this.#tables();
    this.#pages();
    descriptors(memory, { idt: PAGES.idt, gdt: PAGES.gdt, handler: this.faults });
    descriptors(memory, { idt: GUEST + INSIDE.idt, gdt: GUEST + INSIDE.gdt, handler: INSIDE.handler });
    if (this.one(8)) memory.fill(GUEST + INSIDE.idt, 0x1000, 0); // an event is a triple fault then
    memory.write(GUEST + INSIDE.handler, Uint8Array.of(0x0f, 0x01, 0xc1, 0x48, 0xcf));
    const name = this.pick(VARIANT_NAMES);
    this.#origin = name === 'real mode' ? 0 : INSIDE.code;
    this.#vmcs(VARIANTS[name], AT.vmcs);
    this.#vmcs(VARIANTS[this.pick(VARIANT_NAMES)], PAGES.otherVmcs);
    memory.write(GUEST + INSIDE.code, Uint8Array.from(this.#code()));
    return name;
  }

  #vmcs(variant: Fields, at: number): void {
    const { random } = this;
    const put = (field: number, value: bigint | number): void => this.put(field, value, at);
    this.memory.fill(at + 4, 0xffc, 0);
    for (const fields of [FIELDS, ADDRESSES, variant]) for (const [field, value] of fields) put(field, value);
    if (this.one(2)) {
      // so that a guest that goes on for ever does not
      put(F.PIN_CONTROLS, this.get(F.PIN_CONTROLS, at) | 0x40n);
      put(F.GUEST_PREEMPTION_TIMER, this.pick([0, 1, 30, 200]));
    }
    for (const control of HARMLESS)
      if (this.one(10) && (this.get(F.PRIMARY_CONTROLS, at) & 0x8000_0000n) !== 0n)
        put(F.SECONDARY_CONTROLS, this.get(F.SECONDARY_CONTROLS, at) ^ BigInt(control));
    put(F.GUEST_CR4, this.get(F.GUEST_CR4, at) | (this.one(2) ? 0x4_0600n : 0n)); // OSXSAVE
    put(F.PML_INDEX, this.pick([511, 511, 1, 0xffff]));
    put(F.TPR_THRESHOLD, this.pick([0, 0, 4]));
    if ((this.get(F.SECONDARY_CONTROLS, at) & 0x200n) !== 0n) {
      put(F.GUEST_INTERRUPT_STATUS, random() % 0x10000);
      put(F.EOI_EXIT_BITMAP_0 + 2 * (random() % 4), this.value());
    }
    if (this.one(4)) put(F.PRIMARY_CONTROLS, this.get(F.PRIMARY_CONTROLS, at) ^ (1n << BigInt(random() % 32)));
    if (this.one(6)) put(F.EXCEPTION_BITMAP, random());
    if (this.one(6)) this.#event(put);
    for (const count of [F.EXIT_MSR_STORE_COUNT, F.EXIT_MSR_LOAD_COUNT, F.ENTRY_MSR_LOAD_COUNT])
      if (this.one(8)) put(count, this.one(8) ? this.value() : 1 + (random() % 3));
    if (this.one(3)) put(this.pick(PAGE_FIELDS), this.pick(BAD_PAGES));
    if (this.one(8)) put(F.POSTED_INTERRUPT_DESCRIPTOR, this.pick(BAD_PAGES) + 64n * BigInt(random() % 64));
    if (this.one(8)) put(F.EPT_POINTER, this.pick(BAD_PAGES) | this.pick([0x1en, 0x5en, 0x26n, 0x66n]));
    if (this.one(16)) put(F.VMCS_LINK_POINTER, this.pick(BAD_PAGES));
    if (this.one(2)) return;
    for (let n = random() % 3; n >= 0; n--) {
      const { encoding } = VMCS_FIELDS[random() % VMCS_FIELDS.length];
      if (!COMES_BACK.has(encoding) || this.one(8)) put(encoding, this.value());
    }
  }

  #event(put: (field: number, value: bigint | number) => void): void {
    const { random } = this,
      type = this.pick([0, 2, 3, 3, 3, 4, 5, 6, 7]);
    const vector = type === 2 ? 2 : type === 7 ? 0 : type === 3 ? this.pick(EVENTS) : random() % 256;
    const error = type === 3 && [13, 14, 17].includes(vector) ? 0x800 : 0;
    put(F.ENTRY_INTERRUPTION_INFO, 0x8000_0000 + error + type * 0x100 + vector);
    put(F.ENTRY_EXCEPTION_ERROR_CODE, random() % 0x8000);
    put(F.ENTRY_INSTRUCTION_LENGTH, random() % 16);
  }

  /** EPT tables for the guest's memory and its APIC page, a few entries of them wrong; paging with and without them. */
  #tables(): void {
    const { memory, random } = this,
      { ept, paging, pdptes } = PAGES,
      inside = GUEST + INSIDE.paging;
    const entry = (table: number, index: number, value: number): void =>
      memory.writeU64(table + index * 8, BigInt(value));
    entry(ept, 0, (ept + 0x1000) | 7);
    entry(ept + 0x1000, 0, (ept + 0x2000) | 7);
    entry(ept + 0x1000, 3, (ept + 0x4000) | 7);
    entry(ept + 0x2000, 0, (ept + 0x3000) | 7);
    entry(ept + 0x4000, 0x1f7, (ept + 0x5000) | 7);
    entry(ept + 0x5000, 0, PAGES.apicAccess | 0x37);
    for (let n = 0; n < 512; n++) entry(ept + 0x3000, n, (GUEST + n * 4096) | 0x437);
    if (this.one(4)) entry(ept + 0x2000, 0, GUEST | 0x4b7); // one page of 2 MiB
    for (const [at, first, leaf] of [
      [paging, paging, GUEST],
      [inside, INSIDE.paging, 0],
    ] as const) {
      entry(at, 0, (first + 0x1000) | 7);
      entry(at + 0x1000, 0, (first + 0x2000) | 7);
      for (let n = 1; n < 4; n++) entry(at + 0x1000, n, n * 2 ** 30 + 0x87);
      entry(at + 0x2000, 0, leaf | 0xe7);
    }
    for (const [at, first] of [
      [pdptes, paging],
      [GUEST + INSIDE.pdptes, INSIDE.paging],
    ] as const)
      for (let n = 0; n < 4; n++) entry(at, n, (first + 0x2000) | 1);
    if (this.one(3)) return;
    for (let n = random() % 3; n >= 0; n--) {
      const at = ept + (random() % 6) * 0x1000 + (this.one(2) ? 0 : (random() % 512) * 8),
        code = ept + 0x3000 + (this.pick([INSIDE.code, INSIDE.data, INSIDE.stack, INSIDE.paging]) >>> 12) * 8;
      const wrong = this.one(2) ? at : code;
      switch (random() % 6) {
        case 0: // a loop
          memory.writeU64(wrong, BigInt(ept + (random() % 6) * 0x1000) | 7n);
          break;
        case 1:
          memory.writeU64(wrong, this.pick(BAD_PAGES) | 0x37n);
          break;
        case 2: // sub-page permissions, no #VE suppressed
          memory.writeU64(wrong, (memory.readU64(wrong) & ~2n) | (1n << 61n));
          break;
        case 3:
          memory.writeU64(wrong, memory.readU64(wrong) & ~BigInt(1 << (random() % 3)));
          break;
        case 4:
          memory.writeU64(wrong, memory.readU64(wrong) ^ (1n << BigInt(random() % 64)));
          break;
        default:
          memory.writeU64(wrong, this.value());
      }
    }
  }

  /** What the pages have in them. */
  #pages(): void {
    const { memory, random } = this;
    const MSRS = [0x174, 0x277, 0xc000_0082, 0xc000_0102, 0x10, 0xc000_0080, 0x1b, 0x80b, 0x8000, 0x480] as const;
    for (let n = 0; n < 4; n++) {
      memory.writeU64(PAGES.msrs + n * 16, BigInt(this.one(8) ? this.pick(MSRS) : this.pick(MSRS.slice(0, 4))));
      memory.writeU64(PAGES.msrs + n * 16 + 8, this.one(4) ? this.value() : 0n);
    }
    for (const page of [PAGES.ioA, PAGES.ioB, PAGES.msrBitmap, PAGES.readBitmap, PAGES.writeBitmap])
      if (this.one(2)) memory.fill(page, 0x1000, this.pick([0xff, 0x55]));
    for (let n = 0; n < 4; n++)
      memory.writeU64(
        PAGES.eptList + n * 8,
        n === 0 || this.one(2) ? BigInt(PAGES.ept) | 0x1en : this.pick(BAD_PAGES) | this.pick([0x1en, 0x5en, 0x7n]),
      );
    for (let n = 0; n < 3; n++)
      memory.writeU64(PAGES.subPages + n * 0x1000, BigInt(PAGES.subPages + (n + 1) * 0x1000) | 1n);
    memory.fill(PAGES.subPages + 0x3000, 0x1000, this.one(4) ? random() % 256 : 0x55);
    if (this.one(6))
      memory.writeU64(PAGES.subPages + (random() % 4) * 0x1000 + (this.one(2) ? 0 : INSIDE.data >>> 9), this.value());
    for (let at = 0; at < 64; at += 4) memory.writeU32(PAGES.descriptor + at, this.one(4) ? random() : 0);
    memory.writeU8(PAGES.virtualApic + 0x80, random() & 0xf0);
    if (this.one(4)) memory.writeU32(PAGES.virtualApic + 0x200 + (random() % 8) * 16, random());
    if (this.one(8)) memory.writeU32(PAGES.veInformation + 4, 0xffff_ffff);
  }

  /** Up to eight of the guest's instructions that exit, or might, and VMCALL. */
  #code(): number[] {
    const { random } = this,
      code: number[] = [];
    this.#starts.length = 0;
    for (let n = random() % 8; n >= 0; n--) {
      this.#starts.push(code.length);
      code.push(...guestInstruction(this));
    }
    return [...code, 0x0f, 0x01, 0xc1];
  }

  /** RIP of one of these instructions. */
  start(): number {
    return this.#origin + this.pick(this.#starts);
  }
}

/** 256 gates for 64-bit code, and a GDT with code and data. */
function descriptors(memory: GuestMemory, { idt, gdt, handler }: { idt: number; gdt: number; handler: number }): void {
  for (let n = 0; n < 256; n++) {
    memory.writeU64(idt + n * 16, BigInt(handler) | 0x8e00_0008_0000n);
    memory.writeU64(idt + n * 16 + 8, 0n);
  }
  memory.writeU64(gdt, 0n);
  memory.writeU64(gdt + 8, 0xaf_9b00_0000_ffffn);
  memory.writeU64(gdt + 16, 0xcf_9300_0000_ffffn);
  memory.writeU64(gdt + 24, 0n);
}
