/** Fields of the current VMCS by their encoding (Intel SDM volume 3D, appendix B), for the hypervisor's side. */
import { fail } from '@visorkit/core';
import { VmcsField, vmcsFieldIndex, vmcsFieldType, vmcsFieldWidth } from '@visorkit/x86';
import type { VmcsFieldType, VmcsFieldWidth } from '@visorkit/x86';
import {
  ACTIVITY,
  CR0,
  CR3,
  CR4,
  DR,
  EFER,
  GDTR_BASE,
  GDTR_LIMIT,
  IDTR_BASE,
  IDTR_LIMIT,
  INTERRUPTIBILITY,
  MSR_BNDCFGS,
  MSR_DEBUGCTL,
  MSR_PAT,
  MSR_PERF_GLOBAL_CTRL,
  MSR_PKRS,
  MSR_SYSENTER_CS,
  MSR_SYSENTER_EIP,
  MSR_SYSENTER_ESP,
  PDPTE,
  PENDING_DEBUG,
  REGS,
  RIP,
  SEG_AR,
  SEG_BASE,
  SEG_LIMIT,
  SEG_SEL,
} from './layout.js';
import {
  DIRTY_CONTROLS,
  DIRTY_GUEST,
  DIRTY_HOST,
  DIRTY_PAGING,
  DIRTY_TRANSLATION,
  GROUP_CONTROL_16,
  GROUP_CONTROL_32,
  GROUP_CONTROL_64,
  GROUP_CONTROL_N,
  GROUP_GUEST_16,
  GROUP_GUEST_32,
  GROUP_GUEST_64,
  GROUP_GUEST_N,
  GROUP_HOST_16,
  GROUP_HOST_32,
  GROUP_HOST_64,
  GROUP_HOST_N,
  GROUP_READONLY_32,
  GROUP_READONLY_64,
  GROUP_READONLY_N,
  VMCS,
  V_DIRTY,
} from './vmcs-layout.js';

/** Group of slots by width and type. */
const GROUPS: Readonly<Record<VmcsFieldWidth, Readonly<Record<VmcsFieldType, number>>>> = {
  16: { control: GROUP_CONTROL_16, readonly: -1, guest: GROUP_GUEST_16, host: GROUP_HOST_16 },
  64: { control: GROUP_CONTROL_64, readonly: GROUP_READONLY_64, guest: GROUP_GUEST_64, host: GROUP_HOST_64 },
  32: { control: GROUP_CONTROL_32, readonly: GROUP_READONLY_32, guest: GROUP_GUEST_32, host: GROUP_HOST_32 },
  natural: { control: GROUP_CONTROL_N, readonly: GROUP_READONLY_N, guest: GROUP_GUEST_N, host: GROUP_HOST_N },
};

/** Guest-state fields that live in the state block: [encoding, address]. RFLAGS is kept lazily and has no address. */
const REGISTERS = new Map<number, number>([
  ...range(8).flatMap((n): [number, number][] => [
    [VmcsField.GUEST_ES_SELECTOR + n * 2, SEG_SEL + n * 4],
    [VmcsField.GUEST_ES_LIMIT + n * 2, SEG_LIMIT + n * 4],
    [VmcsField.GUEST_ES_ACCESS_RIGHTS + n * 2, SEG_AR + n * 4],
    [VmcsField.GUEST_ES_BASE + n * 2, SEG_BASE + n * 8],
  ]),
  ...range(4).map((n): [number, number] => [VmcsField.GUEST_PDPTE0 + n * 2, PDPTE + n * 8]),
  [VmcsField.GUEST_IA32_DEBUGCTL, MSR_DEBUGCTL],
  [VmcsField.GUEST_IA32_PAT, MSR_PAT],
  [VmcsField.GUEST_IA32_EFER, EFER],
  [VmcsField.GUEST_IA32_PERF_GLOBAL_CTRL, MSR_PERF_GLOBAL_CTRL],
  [VmcsField.GUEST_IA32_BNDCFGS, MSR_BNDCFGS],
  [VmcsField.GUEST_IA32_PKRS, MSR_PKRS],
  [VmcsField.GUEST_GDTR_LIMIT, GDTR_LIMIT],
  [VmcsField.GUEST_IDTR_LIMIT, IDTR_LIMIT],
  [VmcsField.GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY],
  [VmcsField.GUEST_ACTIVITY, ACTIVITY],
  [VmcsField.GUEST_SYSENTER_CS, MSR_SYSENTER_CS],
  [VmcsField.GUEST_CR0, CR0],
  [VmcsField.GUEST_CR3, CR3],
  [VmcsField.GUEST_CR4, CR4],
  [VmcsField.GUEST_GDTR_BASE, GDTR_BASE],
  [VmcsField.GUEST_IDTR_BASE, IDTR_BASE],
  [VmcsField.GUEST_DR7, DR + 56],
  [VmcsField.GUEST_RSP, REGS + 32],
  [VmcsField.GUEST_RIP, RIP],
  [VmcsField.GUEST_PENDING_DEBUG, PENDING_DEBUG],
  [VmcsField.GUEST_SYSENTER_ESP, MSR_SYSENTER_ESP],
  [VmcsField.GUEST_SYSENTER_EIP, MSR_SYSENTER_EIP],
]);

/** Controls whose value the processor reads at every use and never checks: writing them costs no check at the next entry. */
const LIVE = new Set<number>([
  VmcsField.ENTRY_INTERRUPTION_INFO,
  VmcsField.ENTRY_EXCEPTION_ERROR_CODE,
  VmcsField.ENTRY_INSTRUCTION_LENGTH,
  VmcsField.EXCEPTION_BITMAP,
  VmcsField.PAGE_FAULT_ERROR_MASK,
  VmcsField.PAGE_FAULT_ERROR_MATCH,
  VmcsField.TSC_OFFSET,
  VmcsField.CR0_MASK,
  VmcsField.CR4_MASK,
  VmcsField.CR0_READ_SHADOW,
  VmcsField.CR4_READ_SHADOW,
  VmcsField.CR3_TARGET_0,
  VmcsField.CR3_TARGET_1,
  VmcsField.CR3_TARGET_2,
  VmcsField.CR3_TARGET_3,
  VmcsField.GUEST_PREEMPTION_TIMER,
  VmcsField.GUEST_INTERRUPT_STATUS,
  VmcsField.PML_INDEX,
  VmcsField.EPTP_INDEX,
]);
const TRANSLATION = new Set<number>([VmcsField.EPT_POINTER, VmcsField.VPID]);
const PAGING = new Set<number>([
  VmcsField.GUEST_CR0,
  VmcsField.GUEST_CR3,
  VmcsField.GUEST_CR4,
  VmcsField.GUEST_IA32_EFER,
  VmcsField.GUEST_PDPTE0,
  VmcsField.GUEST_PDPTE1,
  VmcsField.GUEST_PDPTE2,
  VmcsField.GUEST_PDPTE3,
]);

/** Primary controls that the hypervisor switches all the time and that need no check: windows and the monitor trap flag. */
const PRIMARY_LIVE = (1 << 2) | (1 << 22) | (1 << 27);

const LIMIT = 0x7000;
/** Address of each field by encoding (even ones); -1 no such field, -2 RFLAGS. */
const ADDRESS = new Int32Array(LIMIT).fill(-1);
/** Bytes of the field where it is kept: 2, 4 or 8. */
const SIZE = new Uint8Array(LIMIT);
const DIRTY = new Uint8Array(LIMIT);
/** Bytes of the field in a region. */
const SLOT_SIZE = new Uint8Array(LIMIT);
/** Offset in a region. */
const SLOT = new Int16Array(LIMIT).fill(-1);
const RFLAGS = -2;

/** Bytes by width in a slot, and as a register of the state block: those are 4 or 8 bytes, whatever the field's width. */
const SLOT_BYTES = { 16: 2, 32: 4, 64: 8, natural: 8 } as const;
const REGISTER_BYTES = { 16: 4, 32: 4, 64: 8, natural: 8 } as const;
const DIRTY_BY_TYPE = { control: DIRTY_CONTROLS, readonly: 0, guest: DIRTY_GUEST, host: DIRTY_HOST } as const;

function dirtiedBy(encoding: number): number {
  if (LIVE.has(encoding)) return 0;
  if (TRANSLATION.has(encoding)) return DIRTY_CONTROLS | DIRTY_TRANSLATION;
  return DIRTY_BY_TYPE[vmcsFieldType(encoding)] | (PAGING.has(encoding) ? DIRTY_PAGING : 0);
}

for (const encoding of Object.values(VmcsField)) {
  const width = vmcsFieldWidth(encoding),
    register = REGISTERS.get(encoding),
    slot = GROUPS[width][vmcsFieldType(encoding)] + vmcsFieldIndex(encoding) * 8;
  SLOT[encoding] = slot - VMCS;
  SLOT_SIZE[encoding] = SLOT_BYTES[width];
  ADDRESS[encoding] = encoding === VmcsField.GUEST_RFLAGS ? RFLAGS : (register ?? slot);
  SIZE[encoding] =
    encoding === VmcsField.GUEST_SYSENTER_CS ? 8 : (register === undefined ? SLOT_BYTES : REGISTER_BYTES)[width];
  DIRTY[encoding] = dirtiedBy(encoding);
}

function range(n: number): number[] {
  return Array.from({ length: n }, (_, i) => i);
}

/**
 * Where a field is kept: its address in linear memory. The high half of a 64-bit field (odd encoding) is 4 bytes further. -1 when there is
 * no such field, -2 for RFLAGS, which has no place of its own.
 */
export function fieldAddress(encoding: number): number {
  const address = encoding < LIMIT && encoding >= 0 ? ADDRESS[encoding & ~1] : -1;
  return address >= 0 && (encoding & 1) !== 0 ? address + 4 : address;
}

/** Offset of a field in a VMCS region that is not current, where registers have slots too; that of its high half with an odd encoding. -1: no such field. */
export function regionOffset(encoding: number): number {
  const slot = encoding < LIMIT && encoding >= 0 ? SLOT[encoding & ~1] : -1;
  return slot >= 0 && (encoding & 1) !== 0 ? slot + 4 : slot;
}

/** Bytes of a field in a region: 2, 4 or 8; 0: no such field. */
export function regionBytes(encoding: number): number {
  return SLOT_SIZE[encoding & ~1];
}

/** Bytes a field takes where it is kept: 2, 4 or 8. */
export function fieldBytes(encoding: number): number {
  return SIZE[encoding & ~1];
}

/** Read and write access to the fields of the current VMCS. Values are unsigned. */
export class Vmcs {
  private readonly words: Uint32Array;
  private readonly halves: Uint16Array;
  private readonly longs: BigUint64Array;

  /** `flags` reads and writes RFLAGS, which the processor keeps lazily. */
  constructor(
    buffer: ArrayBufferLike,
    private readonly flags: { read(): number; write(value: number): void },
  ) {
    this.words = new Uint32Array(buffer);
    this.halves = new Uint16Array(buffer);
    this.longs = new BigUint64Array(buffer);
  }

  /** Low 32 bits of a field. */
  read32(field: number): number {
    const address = this.address(field);
    if (address === RFLAGS) return this.flags.read() >>> 0;
    return SIZE[field & ~1] === 2 ? this.halves[address >>> 1] : this.words[address >>> 2];
  }

  /** Writes a field; wider ones get the value zero-extended (with an odd encoding, only the high half changes). */
  write32(field: number, value: number): void {
    const address = this.address(field);
    if (address === RFLAGS) return this.writeFlags(value);
    const words = this.words,
      size = SIZE[field & ~1];
    if (size === 2) this.halves[address >>> 1] = value;
    else if (field === VmcsField.PRIMARY_CONTROLS) {
      const changed = words[address >>> 2] ^ value;
      words[address >>> 2] = value;
      if ((changed & ~PRIMARY_LIVE) === 0) return;
    } else {
      words[address >>> 2] = value;
      if (size === 8 && (field & 1) === 0) words[(address >>> 2) + 1] = 0;
    }
    words[V_DIRTY >>> 2] |= DIRTY[field & ~1];
  }

  /** A field's whole value. */
  read64(field: number): bigint {
    const address = this.address(field);
    if (address === RFLAGS || (field & 1) !== 0 || SIZE[field] !== 8) return BigInt(this.read32(field));
    return this.longs[address >>> 3];
  }

  write64(field: number, value: bigint): void {
    const address = this.address(field);
    if (address === RFLAGS || (field & 1) !== 0 || SIZE[field] !== 8)
      return this.write32(field, Number(value & 0xffffffffn));
    this.longs[address >>> 3] = value;
    this.words[V_DIRTY >>> 2] |= DIRTY[field];
  }

  /** Marks fields as written, for whoever changes the state block itself: DIRTY_ bits of vmcs-layout.ts. */
  touch(groups: number): void {
    this.words[V_DIRTY >>> 2] |= groups;
  }

  private writeFlags(value: number): void {
    this.flags.write(value);
    this.words[V_DIRTY >>> 2] |= DIRTY_GUEST;
  }

  private address(field: number): number {
    const address = fieldAddress(field);
    if (address === -1)
      fail(
        'VMCS_FIELD_UNKNOWN',
        `There is no VMCS field with encoding 0x${field.toString(16)}; see the table VmcsField of @visorkit/x86.`,
        { field },
      );
    return address;
  }
}
