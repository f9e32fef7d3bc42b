/**
 * The block that the kernel keeps for debuggers, KDDEBUGGER_DATA64 (wdbgexts.h), "KDBG": where its lists and tables are. From Windows 8 on, 64-bit kernels
 * encode it unless they are debugged; the constants are found by what the code that decodes it refers to.
 */
import type { AddressSpace, PeImage, PhysicalMemory, SymbolTable } from '@visorkit/vmi';
import { LARGEST_IMAGE, scan } from './image.js';

/** The list entry before the tag, and where the fields of all versions are. */
const TAG = 0x10;
const SIZE = 0x14;
const KERN_BASE = 0x18;
/** Least and most bytes of the block: Windows 2000's, and what no version has reached. */
const SIZES = [0x208, 0x600] as const;
const OWNER = 0x4742_444b;

/** Fields that are addresses, by the name of what they lead to. */
const FIELDS: Readonly<Record<string, number>> = {
  PsLoadedModuleList: 0x48,
  PsActiveProcessHead: 0x50,
  PspCidTable: 0x58,
  ExpSystemResourcesList: 0x60,
  KeBugCheckCallbackListHead: 0x80,
  KiBugcheckData: 0x88,
  ObpRootDirectoryObject: 0x98,
  ObpTypeObjectType: 0xa0,
  MmPfnDatabase: 0xc0,
  MmHighestUserAddress: 0x1c8,
  MmSystemRangeStart: 0x1d0,
  NtBuildLab: 0x208,
  KiProcessorBlock: 0x218,
  MmUnloadedDrivers: 0x220,
  MmLastUnloadedDriver: 0x228,
  CmNtCSDVersion: 0x268,
  MmPhysicalMemoryBlock: 0x270,
};

export interface Kdbg {
  readonly address: bigint;
  readonly encoded: boolean;
  readonly kernelBase: bigint;
  /** Addresses by name; those that the version has and that are not 0. */
  readonly fields: ReadonlyMap<string, bigint>;
}

/** A block as it is, or decoded; undefined for bytes that are none. On 32-bit systems addresses are sign-extended, or not. */
export function parseKdbg(bytes: Uint8Array, address: bigint, pointerSize: 4 | 8, encoded = false): Kdbg | undefined {
  if (bytes.length < SIZES[0]) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const size = view.getUint32(SIZE, true);
  if (view.getUint32(TAG, true) !== OWNER || size < SIZES[0] || size > SIZES[1] || size % 8 !== 0) return undefined;
  const at = (offset: number): bigint => BigInt.asUintN(8 * pointerSize, view.getBigUint64(offset, true));
  const fields = new Map<string, bigint>();
  for (const [name, offset] of Object.entries(FIELDS)) {
    if (offset + 8 > Math.min(size, bytes.length)) continue;
    const value = at(offset);
    if (value !== 0n) fields.set(name, value);
  }
  return { address, encoded, kernelBase: at(KERN_BASE), fields };
}

/** The block at an address; undefined where none is, or it is encoded. */
export function kdbgAt(space: AddressSpace, address: bigint, pointerSize: 4 | 8): Kdbg | undefined {
  const bytes = new Uint8Array(SIZES[1]);
  return parseKdbg(bytes.subarray(0, space.read(address, bytes)), address, pointerSize);
}

/** The block of the kernel whose image is `image`: in it as it is, or encoded. `symbols`: what is known of the kernel's. */
export function findKdbg(space: AddressSpace, image: PeImage, symbols: SymbolTable | undefined): Kdbg | undefined {
  const pointerSize = image.bits === 64 ? 8 : 4;
  const isRight = (block: Kdbg | undefined): block is Kdbg => block?.kernelBase === image.base;
  const known = symbols?.address('KdDebuggerDataBlock');
  const named = known === undefined ? undefined : kdbgAt(space, known, pointerSize);
  if (isRight(named)) return named;
  const text = loaded(space, image);
  const words = new Uint32Array(text.buffer, 0, text.length >> 2);
  for (let index = words.indexOf(OWNER); index >= 0; index = words.indexOf(OWNER, index + 1)) {
    const block = kdbgAt(space, image.base + BigInt(4 * index - TAG), pointerSize);
    if (isRight(block)) return block;
  }
  if (pointerSize === 4) return undefined;
  const given = symbols === undefined ? undefined : constantsOf(symbols);
  const decoded = given === undefined ? undefined : decode(space, given);
  if (isRight(decoded)) return decoded;
  for (const constants of constantsIn(text, image.base)) {
    const block = decode(space, constants);
    if (isRight(block)) return block;
  }
  return undefined;
}

/** Where a memory has blocks that are not encoded, whatever its page tables say: physical addresses. */
export function* scanKdbg(memory: PhysicalMemory): Generator<number, void, undefined> {
  const bytes = new Uint8Array(SIZES[1]);
  for (const tag of scan(memory, Uint8Array.of(0x4b, 0x44, 0x42, 0x47))) {
    const physical = tag - TAG;
    if (parseKdbg(bytes.subarray(0, memory.read(physical, bytes)), 0n, 8) !== undefined) yield physical;
  }
}

/** What an encoded block is decoded with: addresses of the block, of the byte that says that it is encoded, and of two numbers made at boot. */
interface Constants {
  readonly block: bigint;
  readonly flag: bigint;
  readonly never: bigint;
  readonly always: bigint;
}

function constantsOf(symbols: SymbolTable): Constants | undefined {
  const [block, flag, never, always] = [
    'KdDebuggerDataBlock',
    'KdpDataBlockEncoded',
    'KiWaitNever',
    'KiWaitAlways',
  ].map((name) => symbols.address(name));
  if (block === undefined || flag === undefined || never === undefined || always === undefined) return undefined;
  return { block, flag, never, always };
}

function decode(space: AddressSpace, { block, flag, never, always }: Constants): Kdbg | undefined {
  const bytes = new Uint8Array(SIZES[1]);
  const there = space.read(block, bytes);
  const keys = new Uint8Array(16);
  if (space.read(never, keys.subarray(0, 8)) < 8 || space.read(always, keys.subarray(8)) < 8) return undefined;
  const numbers = new DataView(keys.buffer);
  const view = new DataView(bytes.buffer);
  for (let at = 0; at + 8 <= there; at += 8)
    view.setBigUint64(
      at,
      decoded(view.getBigUint64(at, true), flag, numbers.getBigUint64(0, true), numbers.getBigUint64(8, true)),
      true,
    );
  return parseKdbg(bytes.subarray(0, there - (there % 8)), block, 8, true);
}

const SWAP = new DataView(new ArrayBuffer(8));

/** 64 bits of a block: ((value ^ KiWaitNever) rotated left by KiWaitNever, ^ address of the flag) with its bytes in reverse, ^ KiWaitAlways. */
function decoded(value: bigint, flag: bigint, never: bigint, always: bigint): bigint {
  SWAP.setBigUint64(0, rotate(value ^ never, never & 0x3fn) ^ (flag | 0xffff_0000_0000_0000n), true);
  return SWAP.getBigUint64(0, false) ^ always;
}

const rotate = (value: bigint, by: bigint): bigint => BigInt.asUintN(64, (value << by) | (value >> (64n - by)));

/** Code before and behind a BSWAP that belongs to the same function: KdCopyDataBlock has some 100 bytes, with unrolled loops more. */
const BEFORE = 0x100;
const BEHIND = 0x80;
/** Places with BSWAP that are looked at, and combinations that are tried at each. */
const MOST_SWAPS = 1024;
const MOST_TRIALS = 4096;

/**
 * Constants by what the code around a BSWAP refers to relative to RIP (SDM 2A, 2.2.1.6): the flag is compared with 0 (80 3D), the block's address is loaded (8D), the two
 * numbers are loaded or exclusive-ored (8B, 33). A rotation by CL belongs to it too. Every combination is one to try; those are given that decode the tag.
 */
function* constantsIn(text: Uint8Array, base: bigint): Generator<Constants, void, undefined> {
  const view = new DataView(text.buffer);
  let swaps = 0;
  let end = 0;
  for (
    let at = text.indexOf(0x0f, 1);
    at > 0 && at + 2 < text.length && swaps < MOST_SWAPS;
    at = text.indexOf(0x0f, at + 1)
  ) {
    // REX.W 0F C8+r
    if (text[at + 1] < 0xc8 || text[at + 1] > 0xcf || (text[at - 1] & 0xf8) !== 0x48) continue;
    if (at < end) continue;
    const start = Math.max(0, at - BEFORE);
    end = Math.min(at + BEHIND, text.length - 8);
    if (!hasRotation(text, start, end)) continue;
    swaps++;
    for (const { flag, block, never, always } of trialsIn(view, start, end)) {
      const number = (rva: number): bigint => view.getBigUint64(rva, true);
      const address = (rva: number): bigint => base + BigInt(rva);
      const tag = decoded(number(block + TAG), address(flag), number(never), number(always));
      if (Number(tag & 0xffff_ffffn) === OWNER)
        yield { flag: address(flag), block: address(block), never: address(never), always: address(always) };
    }
  }
}

/** ROL r64, CL: REX.W D3 /0. */
function hasRotation(text: Uint8Array, from: number, to: number): boolean {
  for (let at = from; at + 2 < to; at++)
    if ((text[at] & 0xf8) === 0x48 && text[at + 1] === 0xd3 && (text[at + 2] & 0xf8) === 0xc0) return true;
  return false;
}

/** RVAs that may be those of the four. */
function* trialsIn(
  view: DataView,
  from: number,
  to: number,
): Generator<Record<keyof Constants, number>, void, undefined> {
  const { compared, addresses, numbers } = referencesIn(view, from, to);
  let trials = 0;
  for (const flag of [...compared, ...addresses])
    for (const block of addresses)
      for (const never of numbers)
        for (const always of numbers) {
          if (never === always || flag === block) continue;
          if (++trials > MOST_TRIALS) return;
          yield { flag, block, never, always };
        }
}

function referencesIn(
  view: DataView,
  from: number,
  to: number,
): Record<'compared' | 'addresses' | 'numbers', Set<number>> {
  const compared = new Set<number>(),
    addresses = new Set<number>(),
    numbers = new Set<number>();
  const add = (set: Set<number>, rva: number): void => {
    if (rva > 0 && rva + SIZES[0] <= view.byteLength) set.add(rva);
  };
  for (let at = from; at < to; at++) {
    const first = view.getUint8(at),
      second = view.getUint8(at + 1);
    // CMP byte [RIP+disp32], 0: the displacement counts from behind the byte
    if (first === 0x80 && second === 0x3d && view.getUint8(at + 6) === 0)
      add(compared, at + 7 + view.getInt32(at + 2, true));
    // REX.W or REX.WR, opcode, ModRM of [RIP+disp32]
    if ((first & 0xfb) !== 0x48 || (view.getUint8(at + 2) & 0xc7) !== 0x05) continue;
    const target = at + 7 + view.getInt32(at + 3, true);
    if (second === 0x8d) add(addresses, target);
    else if (second === 0x8b || second === 0x33) add(numbers, target);
  }
  return { compared, addresses, numbers };
}

/** An image as far as its pages are there; zeros where they are not. */
export function loaded(space: AddressSpace, image: PeImage): Uint8Array {
  const bytes = new Uint8Array(Math.min(image.sizeOfImage, LARGEST_IMAGE));
  for (let at = 0; at < bytes.length; at += 4096)
    space.read(image.base + BigInt(at), bytes.subarray(at, Math.min(at + 4096, bytes.length)));
  return bytes;
}
