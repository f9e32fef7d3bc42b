/**
 * Random entries, held against the model: a hypervisor writes each of its VMCS's fields by VMWRITE, some of them wrong, and executes VMLAUNCH; after an entry that has
 * gone well, often VMRESUME with the same fields but for a few. What comes of it must be one of the outcomes that the model has.
 */
import { RESUME, definePlugin, pause } from '@visorkit/core';
import type { Plugin, Vcpu, Vmm } from '@visorkit/core';
import { CpuidTableToken, MsrBusToken } from '@visorkit/machine';
import { VMCS_FIELDS, VmcsField as F, isCanonical } from '@visorkit/x86';
import { NestedVmxToken } from './index.js';
import type { NestedVmx } from './index.js';
import { expectedEntry } from './test-entry-model.js';
import type { Expected, Processor } from './test-entry-model.js';
import { randomNumbers } from './test-hostile-cases.js';
import { AT, Code, EPTP, FIELDS, MEMORY, REVISION, enterVmx, machine, writeEpt } from './test-hypervisor.js';

/** Guest-physical pages with something in them. */
const PAGES = {
  table: 0x6_0000,
  virtualApic: 0x6_4000,
  plainVmcs: 0x6_5000,
  shadowVmcs: 0x6_6000,
  msrs: 0x6_7000,
  pdptes: 0x6_8000,
  badPdptes: 0x6_9000,
} as const;
const VTPR = 0x50;
/** Four entries each: the first ones can be loaded, then one more of them cannot. */
const MSR_ENTRIES: readonly (readonly [index: number, value: bigint])[] = [
  [0x174, 8n],
  [0xc000_0102, 0x1234n],
  [0x277, 0x0007_0406_0007_0406n],
  [0xc000_0082, 1n << 62n],
  [0x277, 2n],
  [0xc000_0100, 0n],
  [0x80b, 0n],
  [0x1_2345, 0n],
];
/** MSRs that a VM entry may load here, and the values that WRMSR takes. */
function writable(msr: number, value: bigint): boolean {
  if (msr === 0x174) return true;
  if (msr === 0xc000_0102 || msr === 0xc000_0082) return isCanonical(value, 57);
  return msr === 0x277 && value !== 2n;
}

export interface EntryOutcomes {
  cases: number;
  /** Of each kind. */
  kinds: Record<string, number>;
  /** Rules of the model that were broken, how often. */
  broken: Record<string, number>;
  /** What the model does not allow: sentences. */
  wrong: string[];
}

const WIDTHS = { 16: 0xffffn, 32: 0xffff_ffffn, 64: (1n << 64n) - 1n, natural: (1n << 64n) - 1n } as const;
const CONTROLS: readonly number[] = [
  F.PIN_CONTROLS,
  F.PRIMARY_CONTROLS,
  F.SECONDARY_CONTROLS,
  F.EXIT_CONTROLS,
  F.ENTRY_CONTROLS,
];
const rights = (n: number): number => F.GUEST_ES_ACCESS_RIGHTS + 2 * n;

/** VMCSs that can be entered: changes of FIELDS. */
const EPT: readonly (readonly [number, bigint])[] = [
  [F.PRIMARY_CONTROLS, 0x8400_6172n],
  [F.SECONDARY_CONTROLS, 0x2n],
  [F.EPT_POINTER, EPTP],
];
const segmentsOf = (
  of: (n: number) => readonly [selector: bigint, base: bigint, limit: bigint, rights: bigint],
): [number, bigint][] =>
  [0, 1, 2, 3, 4, 5].flatMap((n): [number, bigint][] => {
    const [selector, base, limit, accessRights] = of(n);
    return [
      [F.GUEST_ES_SELECTOR + 2 * n, selector],
      [F.GUEST_ES_BASE + 2 * n, base],
      [F.GUEST_ES_LIMIT + 2 * n, limit],
      [rights(n), accessRights],
    ];
  });
const LEGACY: readonly (readonly [number, bigint])[] = [
  [F.ENTRY_CONTROLS, 0x91fbn],
  [F.GUEST_IA32_EFER, 0n],
  ...segmentsOf((n) => [n === 1 ? 8n : 16n, 0n, 0xffff_ffffn, n === 1 ? 0xc09bn : 0xc093n]),
];
const VARIANTS: readonly (readonly (readonly [number, bigint])[])[] = [
  [],
  EPT,
  // PAE, without EPT and with it
  [...LEGACY, [F.GUEST_CR3, BigInt(PAGES.pdptes)]],
  [...LEGACY, ...EPT],
  // Real mode
  [
    ...LEGACY,
    ...EPT,
    [F.SECONDARY_CONTROLS, 0x82n],
    [F.GUEST_CR0, 0x20n],
    [F.GUEST_CR4, 0x2000n],
    ...segmentsOf((n) => [0x10n, 0x100n, 0xffffn, n === 1 ? 0x9bn : 0x93n]),
  ],
  // Virtual-8086 mode
  [
    ...LEGACY,
    [F.GUEST_CR3, BigInt(PAGES.pdptes)],
    [F.GUEST_RFLAGS, 0x2_0202n],
    ...segmentsOf(() => [0x20n, 0x200n, 0xffffn, 0xf3n]),
  ],
  // APIC virtualisation, posted interrupts
  [
    ...EPT,
    [F.PIN_CONTROLS, 0x97n],
    [F.EXIT_CONTROLS, 0x0033_effbn],
    [F.PRIMARY_CONTROLS, 0x8420_6172n],
    [F.SECONDARY_CONTROLS, 0x303n],
    [F.VIRTUAL_APIC_ADDRESS, BigInt(PAGES.virtualApic)],
    [F.APIC_ACCESS_ADDRESS, 0xfee0_0000n],
    [F.POSTED_INTERRUPT_DESCRIPTOR, BigInt(PAGES.msrs + 0x800)],
  ],
  // TPR shadow
  [
    ...EPT,
    [F.PRIMARY_CONTROLS, 0x8420_6172n],
    [F.VIRTUAL_APIC_ADDRESS, BigInt(PAGES.virtualApic)],
    [F.TPR_THRESHOLD, 5n],
  ],
  // Everything else that there is
  [
    ...EPT,
    [F.SECONDARY_CONTROLS, 0x66_60a2n],
    [F.PRIMARY_CONTROLS, 0x8400_617an],
    [F.VPID, 1n],
    [F.PML_ADDRESS, BigInt(PAGES.msrs)],
    [F.EPT_POINTER, EPTP | 0x40n],
    [F.VM_FUNCTION_CONTROLS, 1n],
    [F.EPTP_LIST_ADDRESS, BigInt(PAGES.msrs)],
    [F.VIRTUALIZATION_EXCEPTION_INFORMATION, BigInt(PAGES.msrs)],
    [F.TSC_MULTIPLIER, 1n << 48n],
    [F.VMCS_LINK_POINTER, BigInt(PAGES.shadowVmcs)],
  ],
  // Single-stepping over STI
  [...EPT, [F.GUEST_RFLAGS, 0x302n], [F.GUEST_INTERRUPTIBILITY, 1n], [F.GUEST_PENDING_DEBUG, 0x4000n]],
  // A shadow VMCS, virtual NMIs, user mode
  [
    ...EPT,
    [F.SECONDARY_CONTROLS, 0x4002n],
    [F.VMCS_LINK_POINTER, BigInt(PAGES.shadowVmcs)],
    [F.PIN_CONTROLS, 0x3en],
    ...segmentsOf((n) => [n === 1 ? 11n : 19n, 0n, 0xffff_ffffn, n === 1 ? 0xa0fbn : 0xc0f3n]),
  ],
];

/** Runs so many cases. */
export async function entryCases(seed: number, cases: number): Promise<EntryOutcomes> {
  const random = randomNumbers(seed);
  const outcomes: EntryOutcomes = { cases: 0, kinds: {}, broken: {}, wrong: [] };
  const add = (counts: Record<string, number>, key: string): void => void (counts[key] = (counts[key] ?? 0) + 1);
  let vmm: Vmm | undefined, processor: Processor | undefined;
  let made: Case | undefined;
  let entered = false;
  const driver: Plugin = definePlugin({
    name: 'entries',
    uses: { nested: NestedVmxToken, msrs: MsrBusToken, table: CpuidTableToken },
    apply({ hooks }, { nested, msrs, table }) {
      nested.hooks.vmcsSwitch.tap(({ to }, vcpu) => {
        if (to === 'hypervisor') comeBack(vcpu);
        else {
          entered = true;
          leaveAtOnce(vcpu);
        }
      });
      hooks.exit.for('vmcall').tap({ stage: 50 }, (_exit, vcpu) => {
        if (nested.inGuest(vcpu)) return undefined;
        processor ??= {
          msr: (index) => msrs.find(index)?.readMsr(index, 0) ?? 0n,
          physicalBits: table.get(0x8000_0008)!.eax & 0xff,
          linearBits: (table.get(0x8000_0008)!.eax >>> 8) & 0xff,
        };
        // RBX: 0 before an entry, 1 behind a VMLAUNCH that failed, 2 at an exit
        if (vcpu.rbx !== 0n) {
          const got =
            vcpu.rbx === 1n ? failure(vcpu, nested) : entered ? { kind: 'entered' } : failedEntry(vcpu, nested);
          judge(made!, got as Got, outcomes);
          if (++outcomes.cases === cases || outcomes.wrong.length > 20) return pause('all cases are over');
          return RESUME;
        }
        const last = entered && random() % 2 === 0 ? made : undefined;
        made = makeCase(random, nested, vcpu, { vmm: vmm!, last });
        entered = false;
        const expected = expectedEntry(
          {
            read: (field) => made!.values.get(field) ?? 0n,
            memory: (address) =>
              address < BigInt(MEMORY - 8) ? vmm!.memory.readU64(Number(address)) : (1n << 64n) - 1n,
            current: BigInt(AT.vmcs),
            writable,
          },
          processor,
        );
        made.expected = expected;
        add(outcomes.kinds, expected.kind);
        if ('broken' in expected) for (const rule of expected.broken) add(outcomes.broken, rule);
        vcpu.setRegister(6, BigInt(PAGES.table));
        vcpu.rcx = BigInt(made.entries);
        vcpu.setRegister(7, last === undefined ? 0n : 1n);
        return RESUME;
      });
    },
  });
  const again = (after: Code): Code => after.mov(0, AT.code + AGAIN).add(0xff, 0xe0); // JMP RAX
  const code = again(
    enterVmx(new Code())
      .mov(3, 0)
      .vmcall()
      .add(0x85, 0xff, 0x75, 0x11) // TEST EDI, EDI; JNZ behind VMPTRLD
      .vmclear(POINTERS + 8)
      .vmptrld(POINTERS + 8)
      // 1: MOV RAX, [RSI]; MOV RDX, [RSI+8]; VMWRITE RAX, RDX; ADD RSI, 16; DEC ECX; JNZ 1b
      .add(
        ...[0x48, 0x8b, 0x06, 0x48, 0x8b, 0x56, 0x08, 0x0f, 0x79, 0xc2, 0x48, 0x83, 0xc6, 0x10, 0xff, 0xc9, 0x75, 0xee],
      )
      .add(0x85, 0xff, 0x75, 0x05) // TEST EDI, EDI; JNZ to VMRESUME
      .vmlaunch()
      .add(0xeb, 0x03)
      .vmresume()
      .mov(3, 1)
      .vmcall(),
  );
  const prepare = ({ memory }: Vmm): void => {
    memory.writeU8(PAGES.virtualApic + 0x80, VTPR);
    memory.writeU32(PAGES.plainVmcs, REVISION);
    memory.writeU32(PAGES.shadowVmcs, (REVISION | 0x8000_0000) >>> 0);
    MSR_ENTRIES.forEach(([index, value], n) => {
      memory.writeU64(PAGES.msrs + n * 16, BigInt(index));
      memory.writeU64(PAGES.msrs + n * 16 + 8, value);
    });
    for (let n = 0; n < 4; n++) memory.writeU64(PAGES.pdptes + n * 8, BigInt(PAGES.pdptes + 0x1000) | 1n);
    memory.writeU64(PAGES.badPdptes + 16, 0x1_0007n);
  };
  ({ vmm } = await machine({ code, handler: again(new Code().mov(3, 2).vmcall()), plugins: [driver] }));
  prepare(vmm);
  writeEpt(vmm);
  const { why } = await vmm.run({ maxInstructions: cases * 3000 });
  if (why !== 'all cases are over')
    outcomes.wrong.push(`after ${outcomes.cases} cases: ${why}; ${made?.changes.join(', ')}`);
  await vmm.dispose();
  return outcomes;
}

const POINTERS = AT.results + 0xf00;
/** Where the hypervisor goes on with the next case: behind VMPTRLD. */
const AGAIN = enterVmx(new Code()).bytes.length;

// ---------------------------------------------------------------------------------------------- outcomes
type Got =
  | { kind: 'fail'; error: number }
  | { kind: 'guest-state' | 'msr-load'; qualification: bigint }
  | { kind: 'entered' }
  | { kind: 'strange'; what: string };

function failure(vcpu: Vcpu, nested: NestedVmx): Got {
  if ((vcpu.rflags & 0x8d5n) !== 0x40n)
    return { kind: 'strange', what: `VMLAUNCH left RFLAGS 0x${vcpu.rflags.toString(16)}` };
  return { kind: 'fail', error: Number(nested.read(vcpu, F.VM_INSTRUCTION_ERROR)) };
}

function failedEntry(vcpu: Vcpu, nested: NestedVmx): Got {
  const reason = nested.read(vcpu, F.EXIT_REASON)!,
    qualification = nested.read(vcpu, F.EXIT_QUALIFICATION)!;
  if (reason === 0x8000_0021n) return { kind: 'guest-state', qualification };
  if (reason === 0x8000_0022n) return { kind: 'msr-load', qualification };
  return { kind: 'strange', what: `exit reason 0x${reason.toString(16)}` };
}

function judge({ expected, changes }: Case, got: Got, { wrong, cases }: EntryOutcomes): void {
  const want = expected!;
  const right =
    got.kind === 'fail'
      ? want.kind === 'fail' && want.errors.has(got.error)
      : got.kind === 'guest-state'
        ? want.kind === 'guest-state' && want.qualifications.has(got.qualification)
        : got.kind === 'msr-load'
          ? want.kind === 'msr-load' && want.entry === got.qualification
          : got.kind === want.kind;
  if (right) return;
  const told = (value: unknown): string =>
    JSON.stringify(value, (_key, of: unknown) =>
      of instanceof Set ? [...of].map(String) : typeof of === 'bigint' ? `0x${of.toString(16)}` : of,
    );
  wrong.push(`case ${cases}: ${changes.join(', ')}: expected ${told(want)}, got ${told(got)}`);
}

/** The guest is left before its first instruction: a pending MTF exit, in the active state. */
function leaveAtOnce(vcpu: Vcpu): void {
  const vmcs = vcpu.vmcs!;
  vmcs.write32(F.GUEST_ACTIVITY, 0);
  vmcs.write32(F.GUEST_INTERRUPTIBILITY, 0);
  vmcs.write32(F.ENTRY_INTERRUPTION_INFO, 0x8000_0700);
}

/** The hypervisor goes on, whatever its host state was. */
function comeBack(vcpu: Vcpu): void {
  vcpu.setControlRegister(3, BigInt(AT.tables));
  vcpu.setControlRegister(4, 0x2020n);
  vcpu.setControlRegister(0, 0x8000_0031n);
  vcpu.setSegment(1, { selector: 8, base: 0n, limit: 0xffff_ffff, accessRights: 0xa09b });
  vcpu.setSegment(2, { selector: 16, base: 0n, limit: 0xffff_ffff, accessRights: 0xc093 });
  vcpu.rip = BigInt(AT.handler);
  vcpu.rsp = BigInt(AT.stack);
}

// ---------------------------------------------------------------------------------------------- cases
interface Case {
  /** Values of all fields that there are, as they are kept. */
  readonly values: ReadonlyMap<number, bigint>;
  /** The same as they are written. */
  readonly wanted: ReadonlyMap<number, bigint>;
  readonly entries: number;
  /** What is not as in one of the VARIANTS. */
  readonly changes: readonly string[];
  expected?: Expected;
}

/** Fields that can be written, in the order of the table in memory, and what the table has. */
let written: { field: number; name: string; mask: bigint; value: bigint }[] = [];

/** `last`: goes on from this case. */
function makeCase(
  random: () => number,
  nested: NestedVmx,
  vcpu: Vcpu,
  { vmm: { memory }, last }: { vmm: Vmm; last: Case | undefined },
): Case {
  if (written.length === 0 || memory.readU32(PAGES.table) === 0) {
    written = VMCS_FIELDS.filter(
      ({ type, encoding }) => type !== 'readonly' && nested.read(vcpu, encoding) !== undefined,
    ).map(({ encoding: field, name, width }) => ({
      field,
      name,
      mask: field >= rights(0) && field <= rights(7) ? 0x1_f0ffn : WIDTHS[width],
      value: -1n,
    }));
  }
  const wanted = new Map<number, bigint>(last?.wanted ?? FIELDS.map(([field, value]) => [field, BigInt(value)]));
  const variant = random() % VARIANTS.length;
  if (last === undefined) for (const [field, value] of VARIANTS[variant]) wanted.set(field, value);
  const changes = last === undefined ? [`variant ${variant}`] : [...last.changes, 'resumed'];
  const change = (field: number, value: bigint): void => {
    wanted.set(field, BigInt.asUintN(64, value));
  };
  for (let n = random() % 5; n > 0; n--) {
    const at =
      random() % 2 === 0
        ? written.findIndex(({ field }) => field === LIKELY[random() % LIKELY.length])
        : random() % written.length;
    const chosen = written[Math.max(at, 0)];
    if (KEPT.has(chosen.field)) continue;
    change(chosen.field, valueFor(chosen.field, wanted.get(chosen.field) ?? 0n, random));
    changes.push(`${chosen.name} = 0x${(wanted.get(chosen.field)! & chosen.mask).toString(16)}`);
  }
  const values = new Map<number, bigint>();
  written.forEach((slot, n) => {
    const { field, mask } = slot;
    const value = wanted.get(field) ?? 0n;
    values.set(field, value & mask);
    if (slot.value === value) return;
    if (slot.value < 0n) memory.writeU64(PAGES.table + n * 16, BigInt(field));
    memory.writeU64(PAGES.table + n * 16 + 8, value);
    slot.value = value;
  });
  return { values, wanted, entries: written.length, changes };
}

/** An exit with MSRs to be stored or loaded that do not exist is a VMX abort, which ends the run: `more.test.ts`. */
const KEPT = new Set<number>([F.EXIT_MSR_STORE_COUNT, F.EXIT_MSR_LOAD_COUNT]);
const LIKELY: readonly number[] = [
  ...CONTROLS,
  F.ENTRY_INTERRUPTION_INFO,
  F.ENTRY_MSR_LOAD_COUNT,
  F.GUEST_CR0,
  F.GUEST_CR4,
  F.GUEST_RFLAGS,
  F.GUEST_ACTIVITY,
  F.GUEST_INTERRUPTIBILITY,
  F.GUEST_PENDING_DEBUG,
  F.VMCS_LINK_POINTER,
  F.GUEST_CS_ACCESS_RIGHTS,
  F.GUEST_SS_ACCESS_RIGHTS,
  F.ENTRY_MSR_LOAD_ADDRESS,
  F.ENTRY_INSTRUCTION_LENGTH,
  F.ENTRY_EXCEPTION_ERROR_CODE,
  F.EPT_POINTER,
  F.GUEST_RIP,
  F.GUEST_DR7,
  F.GUEST_IA32_EFER,
  F.GUEST_IA32_PAT,
  F.GUEST_IA32_DEBUGCTL,
  F.GUEST_PDPTE0,
  F.GUEST_LDTR_ACCESS_RIGHTS,
  F.GUEST_LDTR_SELECTOR,
];

function valueFor(field: number, now: bigint, random: () => number): bigint {
  const pick = <T>(list: readonly T[]): T => list[random() % list.length];
  if (CONTROLS.includes(field)) {
    let value = now;
    for (let n = random() % 2; n >= 0; n--) value ^= 1n << BigInt(random() % 32);
    return value;
  }
  switch (random() % 3 === 0 ? 0 : field) {
    case F.ENTRY_INTERRUPTION_INFO:
      return (
        0x8000_0000n |
        BigInt((random() % 8) << 8) |
        BigInt(pick([2, 8, 13, 14, 18, 1, 6, 0, random() % 256])) |
        (random() % 3 === 0 ? 0x800n : 0n) |
        (random() % 8 === 0 ? 1n << BigInt(12 + (random() % 19)) : 0n)
      );
    case F.ENTRY_MSR_LOAD_COUNT:
      return BigInt(random() % 6);
    case F.ENTRY_MSR_LOAD_ADDRESS:
      return BigInt(PAGES.msrs + 16 * (random() % 8));
    case F.GUEST_ACTIVITY:
      return BigInt(random() % 5);
    case F.GUEST_INTERRUPTIBILITY:
      return BigInt(random() % 32);
    case F.GUEST_PENDING_DEBUG:
      return BigInt((random() % 2) << 14) | (random() % 2 === 0 ? 1n << BigInt(random() % 20) : 0n);
    case F.GUEST_IA32_DEBUGCTL:
      return BigInt(random() % 4);
    case F.GUEST_RFLAGS:
      return now ^ pick([0x100n, 0x200n, 0x100n, 0x2_0000n]);
    case F.ENTRY_INSTRUCTION_LENGTH:
      return BigInt(random() % 18);
    case F.GUEST_LDTR_ACCESS_RIGHTS:
      return 0x82n ^ (1n << BigInt(random() % 17));
    case F.GUEST_CR3:
      return BigInt(pick([PAGES.pdptes, PAGES.badPdptes]));
    case F.VMCS_LINK_POINTER:
      return BigInt(pick([PAGES.plainVmcs, PAGES.shadowVmcs, PAGES.table, AT.vmcs, PAGES.plainVmcs + 8]));
    default:
  }
  switch (random() % 8) {
    case 0:
      return now ^ (1n << BigInt(random() % 64));
    case 1:
      return now ^ (1n << BigInt(random() % 20));
    case 2:
      return 0n;
    case 3:
      return (1n << 64n) - 1n;
    case 4:
      return BigInt(random() % MEMORY) & ~0xfffn;
    case 5:
      // the ends of physical and of canonical addresses
      return (
        pick([
          1n << 46n,
          (1n << 46n) - 4096n,
          1n << 39n,
          (1n << 39n) - 4096n,
          1n << 56n,
          (1n << 56n) - 1n,
          -(1n << 56n),
          1n << 63n,
        ]) + BigInt(random() % 2)
      );
    case 6:
      return BigInt(random() % 256);
    default:
      return BigInt(random()) << BigInt(random() % 33);
  }
}
