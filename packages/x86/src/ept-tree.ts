/**
 * EPT tables as a tree that can be read: what each entry covers, its rights and memory type, with neighbours that continue one another folded
 * into one line (SDM 3C 29.3).
 *
 * The tables may be anybody's, those of a guest hypervisor in guest memory too, so nothing is taken for granted: entries that lead nowhere are shown as
 * such, and a walk ends after so many tables.
 */
import { EptEntry, EptEntryHigh, eptMisconfiguration } from './ept.js';

/** One entry, or several leaves that follow one another. */
export interface EptNode {
  /** Level of the entry, 5 to 1. */
  readonly level: number;
  /** Its place in the table, 0 to 511, and how many entries are folded here. */
  readonly index: number;
  readonly count: number;
  /** First guest-physical address, and bytes in all. */
  readonly gpa: number;
  readonly size: number;
  /** A leaf's first host-physical address, or the address of the table. */
  readonly address: number;
  /** Sum of READ, WRITE and EXECUTE. */
  readonly rights: number;
  /** Execution in user mode (bit 10), which counts with mode-based execute control. */
  readonly userExecute: boolean;
  /** Of a leaf: as in `EptMemoryType`. */
  readonly memoryType?: number;
  /** Of a leaf: violations exit even with "EPT-violation #VE" (bit 63). */
  readonly suppressVe?: boolean;
  /** Of an entry that leads to a table. */
  readonly children?: readonly EptNode[];
  /** Why nothing is below: the entry is misconfigured, its table cannot be read, or there are too many tables. */
  readonly fault?: string;
}

export interface EptTreeOptions {
  /** Width of physical addresses; 46 bits unless given. */
  readonly physicalBits?: number;
  /** Tables that are read at most: a hierarchy that leads back to itself has no end. 65,536 unless given. */
  readonly mostTables?: number;
}

const ENTRIES = 512;
const SPAN = [0, 2 ** 12, 2 ** 21, 2 ** 30, 2 ** 39, 2 ** 48] as const;
const ENTRY_NAMES = ['', 'PTE', 'PDE', 'PDPTE', 'PML4E', 'PML5E'] as const;
const MEMORY_TYPES: Readonly<Record<number, string>> = { 0: 'UC', 1: 'WC', 4: 'WT', 5: 'WP', 6: 'WB' };

/**
 * The tree under an EPT pointer. `read` gives the 64-bit word at a physical address, `undefined` where there is no memory. Entries that are not present
 * are left out.
 */
export function eptTree(
  pointer: bigint,
  read: (address: number) => bigint | undefined,
  { physicalBits = 46, mostTables = 65_536 }: EptTreeOptions = {},
): EptNode[] {
  let left = mostTables;
  const tableAt = (table: number, level: number, base: number): EptNode[] | string => {
    if (left-- <= 0) return `more than ${mostTables} tables`;
    const nodes: EptNode[] = [];
    for (let index = 0; index < ENTRIES; index++) {
      const entry = read(table + index * 8);
      if (entry === undefined) return `no memory at ${hex(table)}`;
      // A leaf with bit 10 alone can be executed in user mode
      if ((entry & 0x407n) === 0n) continue;
      add(nodes, nodeOf(entry, level, index, base + index * SPAN[level]));
    }
    return nodes;
  };
  const nodeOf = (entry: bigint, level: number, index: number, gpa: number): EptNode => {
    const low = Number(entry & 0xffff_ffffn),
      high = Number(entry >> 32n);
    const address = (high & 0xf_ffff) * 0x1_0000_0000 + ((low & ~0xfff) >>> 0);
    const size = SPAN[level];
    const common = {
      level,
      index,
      count: 1,
      gpa,
      size,
      rights: low & 7,
      userExecute: (low & EptEntry.EXECUTE_USER) !== 0,
    };
    const fault = eptMisconfiguration(low, high, level, physicalBits);
    if (fault !== undefined) return { ...common, address, fault };
    if (level === 1 || (level <= 3 && (low & EptEntry.LARGE) !== 0)) {
      const suppressVe = (high & EptEntryHigh.SUPPRESS_VE) !== 0;
      return { ...common, address: address - (address % size), memoryType: (low >>> 3) & 7, suppressVe };
    }
    const children = tableAt(address, level - 1, gpa);
    return typeof children === 'string' ? { ...common, address, fault: children } : { ...common, address, children };
  };
  const top = tableAt(Number(pointer & 0xf_ffff_ffff_f000n), eptLevels(pointer), 0);
  if (typeof top === 'string') return [{ ...NOTHING, level: eptLevels(pointer), fault: top }];
  return top;
}

const NOTHING = { index: 0, count: 0, gpa: 0, size: 0, address: 0, rights: 0, userExecute: false };

/** Page-walk length that an EPT pointer says: 4 or 5 (bits 5:3). */
export function eptLevels(pointer: bigint): number {
  return Math.min(Number((pointer >> 3n) & 7n) + 1, 5);
}

/** Adds a node, or lengthens the last one when it continues it. */
function add(nodes: EptNode[], node: EptNode): void {
  const last = nodes.at(-1);
  const goesOn =
    last !== undefined &&
    last.memoryType !== undefined &&
    last.memoryType === node.memoryType &&
    last.rights === node.rights &&
    last.userExecute === node.userExecute &&
    last.suppressVe === node.suppressVe &&
    last.gpa + last.size === node.gpa &&
    last.address + last.size === node.address;
  if (!goesOn) nodes.push(node);
  else nodes[nodes.length - 1] = { ...last, count: last.count + 1, size: last.size + node.size };
}

/** The tree as lines of text, the pointer first. */
export function eptTreeLines(
  pointer: bigint,
  read: (address: number) => bigint | undefined,
  options: EptTreeOptions = {},
): string[] {
  const flags = (pointer & 0x40n) !== 0n ? 'with accessed and dirty flags' : 'no accessed and dirty flags';
  const type = MEMORY_TYPES[Number(pointer & 7n)] ?? `type ${pointer & 7n}`;
  const head = `EPT pointer ${hex(pointer)}: ${eptLevels(pointer)} levels, tables ${type}, ${flags}`;
  return [head, ...linesOf(eptTree(pointer, read, options), 1)];
}

function linesOf(nodes: readonly EptNode[], depth: number): string[] {
  return nodes.flatMap((node) => [`${'  '.repeat(depth)}${lineOf(node)}`, ...linesOf(node.children ?? [], depth + 1)]);
}

function lineOf({
  level,
  index,
  count,
  gpa,
  size,
  address,
  rights,
  userExecute,
  memoryType,
  suppressVe,
  fault,
}: EptNode): string {
  const entries = count > 1 ? `${index}-${index + count - 1}` : String(index);
  const letters = `${rights & 1 ? 'r' : '-'}${rights & 2 ? 'w' : '-'}${rights & 4 ? 'x' : '-'}${userExecute ? 'u' : ''}`;
  const place = `${ENTRY_NAMES[level]} ${entries}: ${hex(gpa)}-${hex(gpa + Math.max(size, 1) - 1)} ${letters}`;
  if (fault !== undefined) return `${place} ${fault}`;
  if (memoryType === undefined) return `${place} table ${hex(address)}`;
  const pages = count > 1 ? `${count} pages of ${sizeText(SPAN[level])}, ${sizeText(size)}` : sizeText(size);
  return `${place} ${pages} at ${hex(address)} ${MEMORY_TYPES[memoryType] ?? memoryType}${suppressVe === false ? ', #VE' : ''}`;
}

const hex = (value: number | bigint): string => `0x${value.toString(16)}`;

/** Bytes in the largest unit that gives a whole number. */
function sizeText(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (bytes >= 1024 && bytes % 1024 === 0 && unit < units.length - 1) {
    bytes /= 1024;
    unit++;
  }
  return `${bytes} ${units[unit]}`;
}
