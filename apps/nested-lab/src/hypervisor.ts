/**
 * A hypervisor of some hundred instructions, in 64-bit code: VMXON, a VMCS for a guest like itself, VMLAUNCH; at the first exit it halts. Its guest sets
 * CR0.TS and calls it. Everything is where it is loaded, below 2 MiB, identity-mapped.
 */
import { VmcsField as F } from '@visorkit/x86';

/** Guest-physical addresses. */
export const AT = {
  code: 0x1000,
  guest: 0x4000,
  exit: 0x5000,
  stack: 0x9000,
  tables: 0x10000,
  pointers: 0x20000,
  vmxon: 0x21000,
  vmcs: 0x22000,
} as const;

const little = (value: bigint | number, count: number): number[] =>
  Array.from({ length: count }, (_, at) => Number((BigInt.asUintN(64, BigInt(value)) >> BigInt(8 * at)) & 0xffn));
const at = (address: number): number[] => [0x25, ...little(address, 4)];
/** MOV RAX, field; MOV RDX, value; VMWRITE RAX, RDX. */
const vmwrite = (field: number, value: bigint | number): number[] => [
  ...[0x48, 0xb8, ...little(field, 8), 0x48, 0xba, ...little(value, 8)],
  ...[0x0f, 0x79, 0xc2],
];

/** Paging, protection, numeric errors as the processor has them. */
const CR0 = 0x8000_0031;
/** PAE and VMXE. */
const CR4 = 0x2020;
const LONG_MODE = 0x500;
const NO_LINK = 0xffff_ffff_ffff_ffffn;
const FLAT = 0xffff_ffff;

/** Segments by number: ES, CS, SS, DS, FS, GS, LDTR, TR. */
const segments = Array.from({ length: 8 }, (_, n): [number, number][] => [
  [F.GUEST_ES_SELECTOR + 2 * n, n === 1 ? 8 : n === 6 ? 0 : 16],
  [F.GUEST_ES_LIMIT + 2 * n, n === 7 ? 0x67 : FLAT],
  [F.GUEST_ES_ACCESS_RIGHTS + 2 * n, n === 1 ? 0xa09b : n === 6 ? 0x10000 : n === 7 ? 0x8b : 0xc093],
]).flat();

/** The VMCS: [field, value]. What is not here is 0. */
const VMCS: readonly (readonly [number, bigint | number])[] = [
  [F.PIN_CONTROLS, 0x16],
  [F.PRIMARY_CONTROLS, 0x0400_6172],
  [F.EXIT_CONTROLS, 0x0033_6ffb],
  [F.ENTRY_CONTROLS, 0x0000_93fb],
  [F.VMCS_LINK_POINTER, NO_LINK],
  [F.GUEST_CR0, CR0],
  [F.GUEST_CR3, AT.tables],
  [F.GUEST_CR4, CR4],
  [F.GUEST_IA32_EFER, LONG_MODE],
  [F.GUEST_DR7, 0x400],
  [F.GUEST_RIP, AT.guest],
  [F.GUEST_RSP, AT.stack],
  [F.GUEST_RFLAGS, 2],
  ...segments,
  [F.HOST_CR0, CR0],
  [F.HOST_CR3, AT.tables],
  [F.HOST_CR4, CR4],
  [F.HOST_IA32_EFER, LONG_MODE],
  [F.HOST_CS_SELECTOR, 8],
  [F.HOST_SS_SELECTOR, 16],
  [F.HOST_DS_SELECTOR, 16],
  [F.HOST_ES_SELECTOR, 16],
  [F.HOST_TR_SELECTOR, 24],
  [F.HOST_RIP, AT.exit],
  [F.HOST_RSP, AT.stack],
];

/** MOV RAX, CR0; OR RAX, 8; MOV CR0, RAX; VMCALL */
const SETS_TS = [0x0f, 0x20, 0xc0, 0x48, 0x83, 0xc8, 0x08, 0x0f, 0x22, 0xc0, 0x0f, 0x01, 0xc1];
const HLT = [0xf4];

/** Code and data by address. `revision`: bits 30:0 of IA32_VMX_BASIC; `guest` and `exit`: other code of its guest, and of its own at an exit. */
export function hypervisor(
  revision: number,
  { guest = SETS_TS, exit = HLT }: { guest?: readonly number[]; exit?: readonly number[] } = {},
): readonly (readonly [number, readonly number[]])[] {
  const code = [
    ...[0xb9, ...little(0x3a, 4), 0xb8, ...little(5, 4), 0x31, 0xd2, 0x0f, 0x30], // IA32_FEATURE_CONTROL: VMX, locked
    ...[0x0f, 0x20, 0xe0, 0x48, 0x0d, ...little(0x2000, 4), 0x0f, 0x22, 0xe0], // CR4.VMXE
    ...[0x0f, 0x20, 0xc0, 0x48, 0x83, 0xc8, 0x20, 0x0f, 0x22, 0xc0], // CR0.NE
    ...[0xf3, 0x0f, 0xc7, 0x34, ...at(AT.pointers)], // VMXON
    ...[0x66, 0x0f, 0xc7, 0x34, ...at(AT.pointers + 8)], // VMCLEAR
    ...[0x0f, 0xc7, 0x34, ...at(AT.pointers + 8)], // VMPTRLD
    ...VMCS.flatMap(([field, value]) => vmwrite(field, value)),
    ...[0x0f, 0x01, 0xc2, 0xf4], // VMLAUNCH; HLT
  ];
  return [
    [AT.code, code],
    [AT.guest, guest],
    [AT.exit, exit],
    [AT.tables, little(AT.tables + 0x1003, 8)],
    [AT.tables + 0x1000, little(AT.tables + 0x2003, 8)],
    [AT.tables + 0x2000, little(0x83, 8)],
    [AT.pointers, [...little(AT.vmxon, 8), ...little(AT.vmcs, 8)]],
    [AT.vmxon, little(revision, 4)],
    [AT.vmcs, little(revision, 4)],
  ];
}
