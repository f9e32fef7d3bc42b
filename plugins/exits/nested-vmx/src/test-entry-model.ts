/**
 * A model of the checks of VM entry, written from SDM 3C 27.2 to 27.4 and appendix A for tests: it knows nothing of the plugin or the processor. Everything is bigint and
 * as the SDM says it, one rule a line. Where the SDM leaves an order or a choice open, the model says all that may be.
 */
import { VmcsField as F } from '@visorkit/x86';

/** What the hypervisor finds out about the processor, by RDMSR and CPUID. */
export interface Processor {
  /** A VMX capability MSR. */
  readonly msr: (index: number) => bigint;
  /** MAXPHYADDR, and the width of linear addresses. */
  readonly physicalBits: number;
  readonly linearBits: number;
}

/** A VMCS that is about to be entered by VMLAUNCH, by a hypervisor in IA-32e mode. */
export interface EntryCase {
  readonly read: (field: number) => bigint;
  /** Guest-physical memory: 8 bytes at an aligned address. */
  readonly memory: (address: bigint) => bigint;
  /** Address of the VMCS. */
  readonly current: bigint;
  /** Whether WRMSR at CPL 0 would take the value. */
  readonly writable: (msr: number, value: bigint) => boolean;
}

/** What may come of an entry. */
export type Expected =
  | { readonly kind: 'fail'; readonly errors: ReadonlySet<number>; readonly broken: readonly string[] }
  /** Exit reason 33, with one of these qualifications. */
  | { readonly kind: 'guest-state'; readonly qualifications: ReadonlySet<bigint>; readonly broken: readonly string[] }
  /** Exit reason 34. */
  | { readonly kind: 'msr-load'; readonly entry: bigint }
  | { readonly kind: 'entered' };

const bit = (value: bigint, at: number): boolean => ((value >> BigInt(at)) & 1n) === 1n;
const bits = (value: bigint, high: number, low: number): bigint =>
  (value >> BigInt(low)) & ((1n << BigInt(high - low + 1)) - 1n);
/** Bits 63 down to `low` are the same. */
const allAlike = (value: bigint, low: number): boolean => {
  const top = bits(value, 63, low);
  return top === 0n || top === (1n << BigInt(64 - low)) - 1n;
};
/** Bit 0 of a capability MSR's halves (A.3 to A.5): what must be 1, what may be. */
const controlsFit = (value: bigint, msr: bigint): boolean => {
  const must = bits(msr, 31, 0),
    may = bits(msr, 63, 32);
  return (value & must) === must && (value & ~may) === 0n;
};
const patFits = (value: bigint): boolean =>
  Array.from({ length: 8 }, (_, n) => bits(value, n * 8 + 7, n * 8)).every((type) =>
    [0n, 1n, 4n, 5n, 6n, 7n].includes(type),
  );

const SEGMENTS = ['ES', 'CS', 'SS', 'DS', 'FS', 'GS', 'LDTR', 'TR'] as const;

export function expectedEntry(entry: EntryCase, processor: Processor): Expected {
  const checks = new Checks(entry, processor);
  const controls = checks.controls(),
    host = checks.host();
  if (controls.length + host.length > 0) {
    // 27.2: the two groups in any order
    const errors = new Set([...(controls.length > 0 ? [7] : []), ...(host.length > 0 ? [8] : [])]);
    return { kind: 'fail', errors, broken: [...controls, ...host] };
  }
  const guest = checks.guest();
  if (guest.length > 0)
    return {
      kind: 'guest-state',
      qualifications: new Set(guest.map(([, qualification]) => qualification)),
      broken: guest.map(([rule]) => rule),
    };
  const failed = checks.msrLoad();
  return failed === 0n ? { kind: 'entered' } : { kind: 'msr-load', entry: failed };
}

class Checks {
  readonly #read: (field: number) => bigint;
  readonly #pin: bigint;
  readonly #primary: bigint;
  readonly #secondary: bigint;
  readonly #exit: bigint;
  readonly #entry: bigint;

  constructor(
    private readonly vmcs: EntryCase,
    private readonly processor: Processor,
  ) {
    const read = (this.#read = vmcs.read);
    this.#pin = read(F.PIN_CONTROLS);
    this.#primary = read(F.PRIMARY_CONTROLS);
    this.#secondary = bit(this.#primary, 31) ? read(F.SECONDARY_CONTROLS) : 0n;
    this.#exit = read(F.EXIT_CONTROLS);
    this.#entry = read(F.ENTRY_CONTROLS);
  }

  #tooWide(address: bigint): boolean {
    return address >> BigInt(this.processor.physicalBits) !== 0n;
  }
  #badPage(field: number): boolean {
    return bits(this.#read(field), 11, 0) !== 0n || this.#tooWide(this.#read(field));
  }
  #badArea(address: number, count: number): boolean {
    const entries = bits(this.#read(count), 31, 0);
    if (entries === 0n) return false;
    const first = this.#read(address);
    return bits(first, 3, 0) !== 0n || this.#tooWide(first) || this.#tooWide(first + entries * 16n - 1n);
  }

  /** 27.2.1. */
  controls(): string[] {
    const { msr } = this.processor,
      read = this.#read;
    const pin = this.#pin,
      primary = this.#primary,
      secondary = this.#secondary;
    const broken: string[] = [];
    const rule = (name: string, wrong: boolean): void => void (wrong && broken.push(name));
    rule('pin: reserved bits', !controlsFit(pin, msr(0x48d)));
    rule('primary: reserved bits', !controlsFit(primary, msr(0x48e)));
    rule('secondary: reserved bits', bit(primary, 31) && !controlsFit(secondary, msr(0x48b)));
    rule('CR3-target count', read(F.CR3_TARGET_COUNT) > bits(msr(0x485), 24, 16));
    rule('I/O bitmaps', bit(primary, 25) && (this.#badPage(F.IO_BITMAP_A) || this.#badPage(F.IO_BITMAP_B)));
    rule('MSR bitmaps', bit(primary, 28) && this.#badPage(F.MSR_BITMAP));
    const tprShadow = bit(primary, 21),
      delivery = bit(secondary, 9),
      accesses = bit(secondary, 0);
    const virtualApic = read(F.VIRTUAL_APIC_ADDRESS);
    rule('virtual-APIC address', tprShadow && this.#badPage(F.VIRTUAL_APIC_ADDRESS));
    if (tprShadow && !delivery) {
      const threshold = read(F.TPR_THRESHOLD);
      rule('TPR threshold: bits 31:4', bits(threshold, 31, 4) !== 0n);
      if (!accesses && !this.#badPage(F.VIRTUAL_APIC_ADDRESS))
        rule('TPR threshold above VTPR', bits(threshold, 3, 0) > bits(this.vmcs.memory(virtualApic + 0x80n), 7, 4));
    }
    rule('virtual NMIs without NMI exiting', bit(pin, 5) && !bit(pin, 3));
    rule('NMI window without virtual NMIs', bit(primary, 22) && !bit(pin, 5));
    rule('APIC-access address', accesses && this.#badPage(F.APIC_ACCESS_ADDRESS));
    rule('APIC virtualisation without TPR shadow', !tprShadow && (bit(secondary, 4) || bit(secondary, 8) || delivery));
    rule('x2APIC mode with APIC accesses', bit(secondary, 4) && accesses);
    rule('delivery without external-interrupt exiting', delivery && !bit(pin, 0));
    if (bit(pin, 7)) {
      rule('posted interrupts without delivery', !delivery);
      rule('posted interrupts without acknowledgement', !bit(this.#exit, 15));
      rule('notification vector', bits(read(F.POSTED_INTERRUPT_NOTIFICATION_VECTOR), 15, 8) !== 0n);
      const descriptor = read(F.POSTED_INTERRUPT_DESCRIPTOR);
      rule('posted-interrupt descriptor', bits(descriptor, 5, 0) !== 0n || this.#tooWide(descriptor));
    }
    rule('VPID', bit(secondary, 5) && read(F.VPID) === 0n);
    const ept = bit(secondary, 1);
    rule('EPT pointer', ept && this.#badEptPointer(read(F.EPT_POINTER)));
    for (const [name, at] of [
      ['PML', 17],
      ['unrestricted guest', 7],
      ['mode-based execute control', 22],
      ['SPP', 23],
    ] as const)
      rule(`${name} without EPT`, bit(secondary, at) && !ept);
    rule('PML address', bit(secondary, 17) && this.#badPage(F.PML_ADDRESS));
    rule('SPP table', bit(secondary, 23) && this.#badPage(F.SUB_PAGE_PERMISSION_TABLE_POINTER));
    if (bit(secondary, 13)) {
      const functions = read(F.VM_FUNCTION_CONTROLS);
      rule('VM functions', (functions & ~msr(0x491)) !== 0n);
      rule('EPTP switching without EPT', bit(functions, 0) && !ept);
      rule('EPTP list', bit(functions, 0) && this.#badPage(F.EPTP_LIST_ADDRESS));
    }
    rule(
      'VMREAD and VMWRITE bitmaps',
      bit(secondary, 14) && (this.#badPage(F.VMREAD_BITMAP) || this.#badPage(F.VMWRITE_BITMAP)),
    );
    rule('#VE information', bit(secondary, 18) && this.#badPage(F.VIRTUALIZATION_EXCEPTION_INFORMATION));
    rule('TSC multiplier', bit(secondary, 25) && bit(primary, 3) && read(F.TSC_MULTIPLIER) === 0n);
    // 27.2.1.2
    rule('exit: reserved bits', !controlsFit(this.#exit, msr(0x48f)));
    rule('saving of a timer that is off', bit(this.#exit, 22) && !bit(pin, 6));
    rule('exit MSR-store area', this.#badArea(F.EXIT_MSR_STORE_ADDRESS, F.EXIT_MSR_STORE_COUNT));
    rule('exit MSR-load area', this.#badArea(F.EXIT_MSR_LOAD_ADDRESS, F.EXIT_MSR_LOAD_COUNT));
    // 27.2.1.3
    rule('entry: reserved bits', !controlsFit(this.#entry, msr(0x490)));
    rule('entry MSR-load area', this.#badArea(F.ENTRY_MSR_LOAD_ADDRESS, F.ENTRY_MSR_LOAD_COUNT));
    this.#injection(rule);
    return broken;
  }

  #badEptPointer(pointer: bigint): boolean {
    const capability = this.processor.msr(0x48c);
    const type = bits(pointer, 2, 0),
      levels = bits(pointer, 5, 3);
    if (!((type === 0n && bit(capability, 8)) || (type === 6n && bit(capability, 14)))) return true;
    if (!((levels === 3n && bit(capability, 6)) || (levels === 4n && bit(capability, 7)))) return true;
    if (bit(pointer, 6) && !bit(capability, 21)) return true;
    return bits(pointer, 11, 7) !== 0n || this.#tooWide(pointer);
  }

  /** The event to inject (27.2.1.3). */
  #injection(rule: (name: string, wrong: boolean) => void): void {
    const read = this.#read,
      info = read(F.ENTRY_INTERRUPTION_INFO);
    if (!bit(info, 31)) return;
    const vector = bits(info, 7, 0),
      type = bits(info, 10, 8);
    rule('event: type', type === 1n || (type === 7n && !bit(this.processor.msr(0x48e), 32 + 27)));
    rule(
      'event: vector',
      (type === 2n && vector !== 2n) || (type === 3n && vector > 31n) || (type === 7n && vector !== 0n),
    );
    const protectedMode = !bit(this.#secondary, 7) || bit(read(F.GUEST_CR0), 0);
    const hasError = type === 3n && protectedMode && [8n, 10n, 11n, 12n, 13n, 14n, 17n].includes(vector);
    rule('event: error code', bit(info, 11) !== hasError);
    rule('event: reserved bits', bits(info, 30, 12) !== 0n);
    rule('event: error code above bit 15', bit(info, 11) && bits(read(F.ENTRY_EXCEPTION_ERROR_CODE), 31, 16) !== 0n);
    const length = read(F.ENTRY_INSTRUCTION_LENGTH),
      least = bit(this.processor.msr(0x485), 30) ? 0n : 1n;
    rule('event: instruction length', type >= 4n && type <= 6n && (length < least || length > 15n));
  }

  /** 27.2.2 to 27.2.4; the hypervisor is in IA-32e mode. */
  host(): string[] {
    const read = this.#read,
      exit = this.#exit,
      host64 = bit(exit, 9);
    const broken: string[] = [];
    const rule = (name: string, wrong: boolean): void => void (wrong && broken.push(name));
    const cr4 = read(F.HOST_CR4);
    rule('host CR0', !this.#fixed(read(F.HOST_CR0), 0x486, 0n));
    rule('host CR4', !this.#fixed(cr4, 0x488, 0n));
    rule('host CR3', this.#tooWide(read(F.HOST_CR3)));
    for (const field of [F.HOST_SYSENTER_ESP, F.HOST_SYSENTER_EIP])
      rule('host SYSENTER', !this.#canonical(read(field)));
    rule('host PAT', bit(exit, 19) && !patFits(read(F.HOST_IA32_PAT)));
    if (bit(exit, 21)) {
      const efer = read(F.HOST_IA32_EFER);
      rule('host EFER: reserved bits', (efer & ~EFER_BITS) !== 0n);
      rule('host EFER: LME and LMA', bit(efer, 8) !== host64 || bit(efer, 10) !== host64);
    }
    for (const field of [
      F.HOST_ES_SELECTOR,
      F.HOST_CS_SELECTOR,
      F.HOST_SS_SELECTOR,
      F.HOST_DS_SELECTOR,
      F.HOST_FS_SELECTOR,
      F.HOST_GS_SELECTOR,
      F.HOST_TR_SELECTOR,
    ])
      rule('host selector: RPL and TI', bits(read(field), 2, 0) !== 0n);
    rule('host CS', read(F.HOST_CS_SELECTOR) === 0n);
    rule('host TR', read(F.HOST_TR_SELECTOR) === 0n);
    rule('host SS', !host64 && read(F.HOST_SS_SELECTOR) === 0n);
    for (const field of [F.HOST_FS_BASE, F.HOST_GS_BASE, F.HOST_TR_BASE, F.HOST_GDTR_BASE, F.HOST_IDTR_BASE])
      rule('host base', !this.#canonical(read(field)));
    rule('host address-space size', !host64);
    rule('host CR4.PAE', host64 && !bit(cr4, 5));
    rule('host RIP', host64 && !allAlike(read(F.HOST_RIP), bit(cr4, 12) ? 56 : 47));
    return broken;
  }

  /** A.7 and A.8. `free`: bits that need not be 1. */
  #fixed(value: bigint, fixed0: number, free: bigint): boolean {
    const { msr } = this.processor,
      must = msr(fixed0) & ~free;
    return (value & must) === must && (value & ~msr(fixed0 + 1)) === 0n;
  }
  #canonical(address: bigint): boolean {
    return allAlike(address, this.processor.linearBits - 1);
  }

  /** 27.3.1: rules that are broken, with the exit qualification of each. */
  guest(): [rule: string, qualification: bigint][] {
    const broken: [string, bigint][] = [];
    const rule = (name: string, wrong: boolean, qualification = 0n): void =>
      void (wrong && broken.push([name, qualification]));
    this.#guestRegisters(rule);
    this.#guestSegments(rule);
    this.#guestRest(rule);
    this.#guestNonRegisters(rule);
    return broken;
  }

  /** 27.3.1.1. */
  #guestRegisters(rule: Rule): void {
    const read = this.#read,
      entry = this.#entry,
      ia32e = bit(entry, 9);
    const cr0 = read(F.GUEST_CR0),
      cr4 = read(F.GUEST_CR4);
    rule('CR0', !this.#fixed(cr0, 0x486, bit(this.#secondary, 7) ? (1n << 31n) | 1n : 0n));
    rule('CR0.PG without PE', bit(cr0, 31) && !bit(cr0, 0));
    rule('CR4', !this.#fixed(cr4, 0x488, 0n));
    rule('DEBUGCTL', bit(entry, 2) && (read(F.GUEST_IA32_DEBUGCTL) & ~3n) !== 0n);
    rule('IA-32e mode without paging', ia32e && (!bit(cr0, 31) || !bit(cr4, 5)));
    rule('PCIDE outside IA-32e mode', !ia32e && bit(cr4, 17));
    rule('CR3', this.#tooWide(read(F.GUEST_CR3)));
    rule('DR7', bit(entry, 2) && bits(read(F.GUEST_DR7), 63, 32) !== 0n);
    rule('SYSENTER', !this.#canonical(read(F.GUEST_SYSENTER_ESP)) || !this.#canonical(read(F.GUEST_SYSENTER_EIP)));
    rule('PAT', bit(entry, 14) && !patFits(read(F.GUEST_IA32_PAT)));
    if (bit(entry, 15)) {
      const efer = read(F.GUEST_IA32_EFER);
      rule('EFER: reserved bits', (efer & ~EFER_BITS) !== 0n);
      rule('EFER.LMA', bit(efer, 10) !== ia32e);
      rule('EFER.LME', bit(cr0, 31) && bit(efer, 8) !== bit(efer, 10));
    }
  }

  #segment(n: number): { selector: bigint; base: bigint; limit: bigint; rights: bigint; usable: boolean } {
    const read = this.#read,
      rights = read(F.GUEST_ES_ACCESS_RIGHTS + 2 * n);
    return {
      selector: read(F.GUEST_ES_SELECTOR + 2 * n),
      base: read(F.GUEST_ES_BASE + 2 * n),
      limit: read(F.GUEST_ES_LIMIT + 2 * n),
      rights,
      usable: !bit(rights, 16),
    };
  }

  /** 27.3.1.2. */
  #guestSegments(rule: Rule): void {
    const [es, cs, ss, ds, fs, gs, ldtr, tr] = SEGMENTS.map((_, n) => this.#segment(n));
    const v86 = bit(this.#read(F.GUEST_RFLAGS), 17),
      unrestricted = bit(this.#secondary, 7),
      ia32e = bit(this.#entry, 9);
    rule('TR: TI', bit(tr.selector, 2));
    rule('LDTR: TI', ldtr.usable && bit(ldtr.selector, 2));
    rule('SS: RPL', !v86 && !unrestricted && bits(ss.selector, 1, 0) !== bits(cs.selector, 1, 0));
    for (const { selector, base, limit, rights } of v86 ? [es, cs, ss, ds, fs, gs] : []) {
      rule('virtual-8086: base', base !== selector << 4n);
      rule('virtual-8086: limit', limit !== 0xffffn);
      rule('virtual-8086: access rights', rights !== 0xf3n);
    }
    for (const { base } of [tr, ...(v86 ? [] : [fs, gs]), ...(ldtr.usable ? [ldtr] : [])])
      rule('base', !this.#canonical(base));
    if (!v86) {
      const data = [es, ss, ds].filter(({ usable }) => usable);
      for (const { base } of [cs, ...data]) rule('base above 4 GiB', bits(base, 63, 32) !== 0n);
      this.#codeAndData(rule, { es, cs, ss, ds, fs, gs }, unrestricted, ia32e);
    }
    const trType = bits(tr.rights, 3, 0);
    rule('TR: type', trType !== 11n && (ia32e || trType !== 3n));
    rule('TR: unusable', !tr.usable);
    rule('LDTR: type', ldtr.usable && bits(ldtr.rights, 3, 0) !== 2n);
    for (const segment of [tr, ...(ldtr.usable ? [ldtr] : [])]) {
      rule('system segment: S', bit(segment.rights, 4));
      this.#present(rule, segment);
    }
  }

  #present(rule: Rule, { limit, rights }: { limit: bigint; rights: bigint }): void {
    rule('not present', !bit(rights, 7));
    rule('rights: reserved bits', bits(rights, 11, 8) !== 0n || bits(rights, 31, 17) !== 0n);
    rule('granularity', bit(rights, 15) ? bits(limit, 11, 0) !== 0xfffn : bits(limit, 31, 20) !== 0n);
  }

  #codeAndData(
    rule: Rule,
    { es, cs, ss, ds, fs, gs }: Record<'es' | 'cs' | 'ss' | 'ds' | 'fs' | 'gs', ReturnType<Checks['#segment']>>,
    unrestricted: boolean,
    ia32e: boolean,
  ): void {
    const csType = bits(cs.rights, 3, 0),
      csDpl = bits(cs.rights, 6, 5),
      ssDpl = bits(ss.rights, 6, 5);
    rule('CS: type', ![9n, 11n, 13n, 15n].includes(csType) && !(unrestricted && csType === 3n));
    rule('SS: type', ss.usable && ![3n, 7n].includes(bits(ss.rights, 3, 0)));
    for (const { rights } of [es, ds, fs, gs].filter(({ usable }) => usable)) {
      rule('data: not accessed', !bit(rights, 0));
      rule('data: code that cannot be read', bit(rights, 3) && !bit(rights, 1));
    }
    for (const segment of [cs, ...[es, ss, ds, fs, gs].filter(({ usable }) => usable)]) {
      rule('S', !bit(segment.rights, 4));
      this.#present(rule, segment);
    }
    rule('CS: DPL of data', csType === 3n && csDpl !== 0n);
    rule('CS: DPL', (csType === 9n || csType === 11n) && csDpl !== ssDpl);
    rule('CS: DPL, conforming', (csType === 13n || csType === 15n) && csDpl > ssDpl);
    rule('SS: DPL and RPL', !unrestricted && ssDpl !== bits(ss.selector, 1, 0));
    rule('SS: DPL', (csType === 3n || !bit(this.#read(F.GUEST_CR0), 0)) && ssDpl !== 0n);
    for (const { rights, selector } of [es, ds, fs, gs].filter(({ usable }) => usable))
      rule('data: DPL', !unrestricted && bits(rights, 3, 0) <= 11n && bits(rights, 6, 5) < bits(selector, 1, 0));
    rule('CS: D with L', ia32e && bit(cs.rights, 13) && bit(cs.rights, 14));
  }

  /** 27.3.1.3 and 27.3.1.4. */
  #guestRest(rule: Rule): void {
    const read = this.#read,
      ia32e = bit(this.#entry, 9);
    rule('GDTR and IDTR: base', !this.#canonical(read(F.GUEST_GDTR_BASE)) || !this.#canonical(read(F.GUEST_IDTR_BASE)));
    rule(
      'GDTR and IDTR: limit',
      bits(read(F.GUEST_GDTR_LIMIT), 31, 16) !== 0n || bits(read(F.GUEST_IDTR_LIMIT), 31, 16) !== 0n,
    );
    const code64 = ia32e && bit(read(F.GUEST_CS_ACCESS_RIGHTS), 13),
      rip = read(F.GUEST_RIP);
    rule('RIP', code64 ? !allAlike(rip, this.processor.linearBits) : bits(rip, 63, 32) !== 0n);
    const flags = read(F.GUEST_RFLAGS);
    rule(
      'RFLAGS: reserved bits',
      bits(flags, 63, 22) !== 0n || bit(flags, 15) || bit(flags, 5) || bit(flags, 3) || !bit(flags, 1),
    );
    rule('RFLAGS.VM', bit(flags, 17) && (ia32e || !bit(read(F.GUEST_CR0), 0)));
    const info = read(F.ENTRY_INTERRUPTION_INFO);
    rule('RFLAGS.IF', bit(info, 31) && bits(info, 10, 8) === 0n && !bit(flags, 9));
  }

  /** 27.3.1.5 and 27.3.1.6. */
  #guestNonRegisters(rule: Rule): void {
    const read = this.#read;
    const activity = read(F.GUEST_ACTIVITY),
      blocking = read(F.GUEST_INTERRUPTIBILITY),
      flags = read(F.GUEST_RFLAGS),
      info = read(F.ENTRY_INTERRUPTION_INFO);
    const injects = bit(info, 31),
      type = bits(info, 10, 8),
      vector = bits(info, 7, 0);
    rule('activity', activity > 3n || (activity > 0n && !bit(this.processor.msr(0x485), 5 + Number(activity))));
    rule('HLT with SS.DPL', activity === 1n && bits(read(F.GUEST_SS_ACCESS_RIGHTS), 6, 5) !== 0n);
    rule('activity with blocking', activity !== 0n && bits(blocking, 1, 0) !== 0n);
    if (injects && activity !== 0n) {
      const machineCheck = type === 3n && vector === 18n;
      const inHlt =
        type === 0n || type === 2n || (type === 3n && vector === 1n) || machineCheck || (type === 7n && vector === 0n);
      const allowed = activity === 1n ? inHlt : activity === 2n && (type === 2n || machineCheck);
      rule('activity and event', !allowed);
    }
    rule('interruptibility: reserved bits', bits(blocking, 31, 4) !== 0n);
    rule('blocking by STI and MOV SS', bits(blocking, 1, 0) === 3n);
    rule('blocking by STI with IF = 0', bit(blocking, 0) && !bit(flags, 9));
    rule('external interrupt while blocked', injects && type === 0n && bits(blocking, 1, 0) !== 0n);
    rule('NMI with blocking by MOV SS', injects && type === 2n && bit(blocking, 1), 3n);
    rule('blocking by SMI', bit(blocking, 2));
    rule('virtual NMI while blocked', injects && type === 2n && bit(this.#pin, 5) && bit(blocking, 3));
    const pending = read(F.GUEST_PENDING_DEBUG);
    rule(
      'pending debug: reserved bits',
      bits(pending, 11, 4) !== 0n || bit(pending, 13) || bits(pending, 63, 15) !== 0n,
    );
    const step = bit(flags, 8) && !bit(read(F.GUEST_IA32_DEBUGCTL), 1);
    rule('pending debug: BS', (bits(blocking, 1, 0) !== 0n || activity === 1n) && bit(pending, 14) !== step);
    this.#link(rule);
    this.#pdptes(rule);
  }

  #link(rule: Rule): void {
    const link = this.#read(F.VMCS_LINK_POINTER);
    if (link === 0xffff_ffff_ffff_ffffn) return;
    const bad = bits(link, 11, 0) !== 0n || this.#tooWide(link);
    rule('link pointer', bad, 4n);
    rule('link pointer to the current VMCS', link === this.vmcs.current, 4n);
    if (bad) return;
    const identifier = bits(this.vmcs.memory(link), 31, 0);
    rule('link pointer: revision', bits(identifier, 30, 0) !== bits(this.processor.msr(0x480), 30, 0), 4n);
    rule('link pointer: shadow', bit(identifier, 31) !== bit(this.#secondary, 14), 4n);
  }

  #pdptes(rule: Rule): void {
    const read = this.#read;
    if (!bit(read(F.GUEST_CR0), 31) || !bit(read(F.GUEST_CR4), 5) || bit(this.#entry, 9)) return;
    const table = (read(F.GUEST_CR3) >> 5n) << 5n;
    for (let n = 0; n < 4; n++) {
      const pdpte = bit(this.#secondary, 1)
        ? read(F.GUEST_PDPTE0 + 2 * n)
        : this.vmcs.memory(bits(table, 31, 0) + BigInt(n * 8));
      const reserved = bits(pdpte, 2, 1) !== 0n || bits(pdpte, 8, 5) !== 0n || this.#tooWide(pdpte);
      rule('PDPTE', bit(pdpte, 0) && reserved, 2n);
    }
  }

  /** 27.4: the number of the entry that cannot be loaded, from 1; 0. */
  msrLoad(): bigint {
    const count = bits(this.#read(F.ENTRY_MSR_LOAD_COUNT), 31, 0),
      area = this.#read(F.ENTRY_MSR_LOAD_ADDRESS);
    for (let n = 0n; n < count; n++) {
      const word = this.vmcs.memory(area + n * 16n),
        index = bits(word, 31, 0),
        value = this.vmcs.memory(area + n * 16n + 8n);
      const refused = index === 0xc000_0100n || index === 0xc000_0101n || bits(index, 31, 8) === 8n || index === 0x9bn;
      if (refused || bits(word, 63, 32) !== 0n || !this.vmcs.writable(Number(index), value)) return n + 1n;
    }
    return 0n;
  }
}

type Rule = (name: string, wrong: boolean, qualification?: bigint) => void;

/** SCE, LME, LMA, NXE: what CPUID reports. */
const EFER_BITS = 0xd01n;
