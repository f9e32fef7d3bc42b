/**
 * VMware's saved states (.vmss) and snapshots (.vmsn): groups of tags. The group "memory" says which pages of the .vmem file, or of its own tag "Memory", are which pages
 * of physical memory; the group "cpu" has registers. Layout as VMware gave it to the crash utility (vmware_vmss.c there).
 */
import { FileMemory } from '../stored-memory.js';
import type { ByteSource, FileRange } from '../stored-memory.js';
import { GENERAL_REGISTERS, MOST_RANGES, damaged } from './format.js';
import type { DumpCpu, DumpFormat, DumpRegister } from './format.js';
import { DumpReader, textOf } from './reader.js';

/** The first of these is of old files with 32-bit sizes. */
const MAGICS = [0xbed2_bed0, 0xbad1_bad1, 0xbed2_bed2, 0xbed3_bed3];
const OLD = MAGICS[0];
const HEADER = 12;
/** A group: name of 64 bytes, place and size of its tags. */
const GROUP = 80;
const GROUP_NAME = 64;
const MOST_GROUPS = 4096;
const MOST_TAGS = 1 << 20;
const MOST_CPUS = 1024;
const PAGE = 4096;
/** Sizes that stand for a block: plain, and compressed. */
const BLOCK = 62,
  PACKED_BLOCK = 63;

/** Memory whose map is in a saved state: in this file, or in the one beside it. */
export const vmware: DumpFormat = {
  name: 'vmware',
  recognises: (file, { beside }) => isState(file) || (beside !== undefined && isState(new DumpReader(beside))),
  open(file, { beside }) {
    const other = beside === undefined ? undefined : new DumpReader(beside);
    const [state, memory] = isState(file) ? [file, other] : [other!, file];
    const found = readState(state);
    if (found.own !== undefined) return { memory: memoryOf(state, found.own, found.regions), hints: hintsOf(found) };
    if (memory === undefined)
      damaged('it is a saved state of VMware without the memory, which is in the .vmem file that belongs beside it');
    return { memory: memoryOf(memory, { at: 0, length: memory.length }, found.regions), hints: hintsOf(found) };
  },
};

const isState = (file: DumpReader): boolean => file.length >= HEADER && MAGICS.includes(file.u32(0));

/** Pages of memory: number of the first in the file, number of the first of the guest, and how many. */
interface Region {
  file: number;
  guest: number;
  pages: number;
}

interface State {
  /** Memory that is in the state itself. */
  own: { at: number; length: number } | undefined;
  readonly regions: Region[];
  regionCount: number;
  readonly cpus: { -readonly [Name in DumpRegister]?: bigint }[];
}

function readState(file: DumpReader): State {
  const state: State = { own: undefined, regions: [], regionCount: 0, cpus: [] };
  const groups = file.u32(8);
  if (groups > MOST_GROUPS) damaged(`it has ${groups} groups; more than ${MOST_GROUPS} make no sense`);
  let seen = false;
  for (let index = 0; index < groups; index++) {
    const at = HEADER + index * GROUP;
    const name = textOf(file.bytes(at, GROUP_NAME));
    if (name !== 'memory' && name !== 'cpu') continue;
    seen ||= name === 'memory';
    for (const tag of tagsOf(file, file.u64(at + GROUP_NAME)))
      (name === 'memory' ? memoryTag : cpuTag)(file, state, tag);
  }
  if (!seen) damaged('it is a saved state of VMware without a group "memory"');
  return state;
}

interface Tag {
  readonly name: string;
  readonly indices: readonly number[];
  /** Where the value is, and its bytes. */
  readonly at: number;
  readonly length: number;
  readonly packed: boolean;
}

/** Each begins with a size and the number of indices in one byte, and the length of its name in another; two zeros end them. */
function* tagsOf(file: DumpReader, start: number): Generator<Tag> {
  const wide = file.u32(0) !== OLD;
  let at = start;
  for (let count = 0; at + 2 <= file.length; count++) {
    if (count >= MOST_TAGS) damaged(`a group of it has more than ${MOST_TAGS} tags`);
    const flags = file.u8(at),
      nameLength = file.u8(at + 1);
    if (flags === 0 && nameLength === 0) return;
    const name = textOf(file.bytes(at + 2, nameLength));
    at += 2 + nameLength;
    const indices = Array.from({ length: flags >> 6 }, (_, index) => file.u32(at + 4 * index));
    at += 4 * indices.length;
    let length = flags & 0x3f;
    const packed = length === PACKED_BLOCK;
    if (length === BLOCK || packed) {
      const size = wide ? 8 : 4;
      length = Number(file.word(at, wide));
      at += 2 * size + 2 + file.u16(at + 2 * size);
    }
    yield { name, indices, at, length, packed };
    at += length;
  }
}

function memoryTag(file: DumpReader, state: State, { name, indices: [index = 0], at, length, packed }: Tag): void {
  if (name === 'Memory') {
    if (packed) damaged('its memory is compressed, in a way that VMware has not described');
    state.own = { at, length };
    return;
  }
  if (name === 'regionsCount' && length >= 4) state.regionCount = file.u32(at);
  const key = REGION_TAGS[name];
  if (key === undefined || length < 4) return;
  if (index >= MOST_RANGES) damaged(`it has a region number ${index}`);
  while (state.regions.length <= index) state.regions.push({ file: 0, guest: 0, pages: 0 });
  state.regions[index][key] = length >= 8 ? file.u64(at) : file.u32(at);
}

const REGION_TAGS: Readonly<Record<string, keyof Region>> = {
  regionPageNum: 'file',
  regionPPN: 'guest',
  regionSize: 'pages',
};

/** Registers one by one, or several in a block. */
function cpuTag(file: DumpReader, { cpus }: State, { name, indices, at, length }: Tag): void {
  const [index = 0, part] = indices;
  if (index >= MOST_CPUS) return;
  const set = (register: DumpRegister, value: bigint): void => {
    while (cpus.length <= index) cpus.push({});
    cpus[index][register] = value;
  };
  const general = (GENERAL_REGISTERS as readonly string[]).includes(name);
  if (general && length === 8) set(name as DumpRegister, file.big(at));
  else if (name === 'CR64' && part !== undefined && length === 8) {
    if (part === 0 || part === 2 || part === 3 || part === 4) set(`cr${part}`, file.big(at));
  } else if (name === 'CR64' && length >= 40)
    for (const number of [0, 2, 3, 4] as const) set(`cr${number}`, file.big(at + 8 * number));
}

const hintsOf = ({ cpus }: State): { cpus?: readonly DumpCpu[] } => (cpus.length > 0 ? { cpus } : {});

function memoryOf(
  file: ByteSource,
  { at, length }: { at: number; length: number },
  regions: readonly Region[],
): FileMemory {
  const ranges: FileRange[] = [];
  for (const { file: page, guest, pages } of regions) {
    const start = guest * PAGE,
      from = page * PAGE,
      size = Math.min(pages * PAGE, length - from);
    if (size > 0 && start + size <= Number.MAX_SAFE_INTEGER) ranges.push({ start, length: size, offset: at + from });
  }
  // Small machines have no regions: all is one behind the other
  if (regions.length === 0) ranges.push({ start: 0, length, offset: at });
  return new FileMemory(file, ranges);
}
