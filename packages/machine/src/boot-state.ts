/** The flat machine states that boot protocols ask for, and the tables in guest memory behind them. */
import type { GuestMemory, SegmentName, SegmentState } from '@visorkit/core';

/** Selectors of the flat GDT: those of Linux's boot protocol, __BOOT_CS and __BOOT_DS, and a TSS. */
export const FlatSelector = { CODE: 0x10, DATA: 0x18, TSS: 0x20 } as const;

/**
 * Selectors for protocols that leave them open, Multiboot and PVH: those of QEMU. Teaching kernels load a GDT of their own with code at 8, and may
 * return from an interrupt before they load CS.
 */
export const KernelSelector = { CODE: 8, DATA: 0x10, TSS: 0x18 } as const;

export type FlatSelectors = Readonly<Record<keyof typeof FlatSelector, number>>;

/** Bytes of the flat GDT; a 64-bit TSS descriptor takes two entries. */
export const FLAT_GDT_SIZE = 0x30;

/** Bytes of the page tables that {@link writeIdentityMap} writes: PML4, PDPT and four page directories. */
export const IDENTITY_MAP_SIZE = 6 * 4096;

/** Bits of control registers and EFER that loaders set. */
export const ControlBits = {
  CR0_PE: 0x1n,
  CR0_ET: 0x10n,
  CR0_NE: 0x20n,
  CR0_PG: 0x80000000n,
  CR4_PAE: 0x20n,
  EFER_LME: 0x100n,
  EFER_LMA: 0x400n,
} as const;

const PRESENT_WRITABLE = 0x3n;
const LARGE_PAGE = 0x80n;

/**
 * Writes a GDT whose code and data segments have base 0 and limit 4 GiB (SDM 3A, 3.4.5), and whose TSS is busy, since it
 * is in TR already.
 */
export function writeFlatGdt(
  memory: GuestMemory,
  gpa: number,
  codeBits: 32 | 64,
  selectors: FlatSelectors = FlatSelector,
): void {
  memory.fill(gpa, FLAT_GDT_SIZE, 0);
  memory.writeU64(gpa + selectors.CODE, codeBits === 64 ? 0x00af9b000000ffffn : 0x00cf9b000000ffffn);
  memory.writeU64(gpa + selectors.DATA, 0x00cf93000000ffffn);
  memory.writeU64(gpa + selectors.TSS, 0x00008b0000000067n);
}

/** The segment registers that go with {@link writeFlatGdt}. */
export function flatSegments(
  codeBits: 32 | 64,
  selectors: FlatSelectors = FlatSelector,
): Record<SegmentName, SegmentState> {
  const data = (): SegmentState => ({ selector: selectors.DATA, base: 0n, limit: 0xffffffff, accessRights: 0xc093 });
  return {
    cs: { selector: selectors.CODE, base: 0n, limit: 0xffffffff, accessRights: codeBits === 64 ? 0xa09b : 0xc09b },
    ss: data(),
    ds: data(),
    es: data(),
    fs: data(),
    gs: data(),
    ldtr: { selector: 0, base: 0n, limit: 0, accessRights: 0x10000 },
    tr: { selector: selectors.TSS, base: 0n, limit: 0x67, accessRights: 0x8b },
  };
}

/** Segment registers of real mode with one base for code (selector = base / 16) and another for data. */
export function realModeSegments(codeBase: number, dataBase: number): Record<SegmentName, SegmentState> {
  const data = (): SegmentState => ({
    selector: (dataBase >>> 4) & 0xffff,
    base: BigInt(dataBase),
    limit: 0xffff,
    accessRights: 0x93,
  });
  return {
    cs: { selector: (codeBase >>> 4) & 0xffff, base: BigInt(codeBase), limit: 0xffff, accessRights: 0x9b },
    ss: data(),
    ds: data(),
    es: data(),
    fs: data(),
    gs: data(),
    ldtr: { selector: 0, base: 0n, limit: 0xffff, accessRights: 0x82 },
    tr: { selector: 0, base: 0n, limit: 0xffff, accessRights: 0x8b },
  };
}

/**
 * Writes 4-level page tables at `gpa` (page-aligned, {@link IDENTITY_MAP_SIZE} bytes) that map the first 4 GiB onto
 * themselves with 2 MiB pages, writable and executable (SDM 3A, 4.5). `gpa` is the value for CR3.
 */
export function writeIdentityMap(memory: GuestMemory, gpa: number): void {
  memory.fill(gpa, IDENTITY_MAP_SIZE, 0);
  memory.writeU64(gpa, BigInt(gpa + 0x1000) | PRESENT_WRITABLE);
  const directories = new BigUint64Array(4 * 512);
  for (let gigabyte = 0; gigabyte < 4; gigabyte++) {
    memory.writeU64(gpa + 0x1000 + gigabyte * 8, BigInt(gpa + 0x2000 + gigabyte * 0x1000) | PRESENT_WRITABLE);
  }
  for (let page = 0; page < directories.length; page++)
    directories[page] = BigInt(page * 0x200000) | PRESENT_WRITABLE | LARGE_PAGE;
  memory.write(gpa + 0x2000, new Uint8Array(directories.buffer));
}
