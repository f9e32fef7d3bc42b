/**
 * Windows crash dumps of 32 and 64 bits: complete ones with the runs of physical memory in the header, and those with a bitmap of pages (complete, kernel and active
 * memory). Layouts as in wdbgexts.h and in Rekall's and kdmp-parser's descriptions.
 */
import { FileMemory } from '../stored-memory.js';
import type { FileRange } from '../stored-memory.js';
import { MOST_RANGES, damaged } from './format.js';
import type { DumpFormat, WindowsHints } from './format.js';
import { PageBitmap } from './page-bitmap.js';
import type { DumpReader } from './reader.js';

const PAGE = 4096;

/** Places of the fields of DUMP_HEADER and DUMP_HEADER64. */
const HEADERS = {
  PAGEDUMP: {
    ...{ wide: false, size: 0x1000, root: 0x10, modules: 0x18, processes: 0x1c, machine: 0x20, bugcheck: 0x28 },
    ...{ parameters: 0x2c, pae: 0x5c, debugger: 0x60, runs: 0x64, firstRun: 0x6c, dumpType: 0xf88 },
  },
  PAGEDU64: {
    ...{ wide: true, size: 0x2000, root: 0x10, modules: 0x20, processes: 0x28, machine: 0x30, bugcheck: 0x38 },
    ...{ parameters: 0x40, pae: undefined, debugger: 0x80, runs: 0x88, firstRun: 0x98, dumpType: 0xf98 },
  },
} as const;
type Header = (typeof HEADERS)[keyof typeof HEADERS];
/** Bytes that the header has for runs. */
const RUNS_ROOM = 700;

/** Kinds of dumps: what the field DumpType says. */
const KINDS: Readonly<Record<number, 'runs' | 'bitmap' | string>> = {
  1: 'runs',
  2: 'bitmap',
  5: 'bitmap',
  6: 'bitmap',
  3: 'has the header alone',
  4: 'is a small one (minidump), without physical memory',
};

/** The header of the bitmap, behind that of the dump: place of the first page, pages in the file, bits of the bitmap, and the bitmap. */
const BITMAP = { signatures: ['SDMP', 'FDMP'], valid: 'DUMP', firstPage: 0x20, bits: 0x30, bitmap: 0x38 } as const;

export const windowsCrash: DumpFormat = {
  name: 'windows-crash',
  recognises: (file) => file.text(0, 8) in HEADERS,
  open(file) {
    const header = HEADERS[file.text(0, 8) as keyof typeof HEADERS];
    if (file.length < header.size) damaged(`it ends at ${file.length}, within its header of ${header.size} bytes`);
    const type = file.u32(header.dumpType);
    const kind = KINDS[type] ?? 'is of a kind that is not known';
    if (kind !== 'runs' && kind !== 'bitmap')
      damaged(`it is a Windows crash dump of type ${type}, which ${kind}; types 1, 2, 5 and 6 have physical memory`);
    const ranges = kind === 'runs' ? rangesOfRuns(file, header) : rangesOfBitmap(file, header.size);
    return { memory: new FileMemory(file, ranges), hints: { windows: hintsOf(file, header) } };
  },
};

function hintsOf(file: DumpReader, header: Header): WindowsHints {
  const { wide } = header;
  const word = (at: number): bigint => file.word(at, wide);
  return {
    directoryTableBase: word(header.root),
    kdDebuggerDataBlock: word(header.debugger),
    psLoadedModuleList: word(header.modules),
    psActiveProcessHead: word(header.processes),
    machineImageType: file.u32(header.machine),
    processors: file.u32(header.machine + 4),
    version: [file.u32(8), file.u32(12)],
    bugcheck: {
      code: file.u32(header.bugcheck),
      parameters: [0, 1, 2, 3].map((index) => word(header.parameters + index * (wide ? 8 : 4))),
    },
    ...(header.pae === undefined ? {} : { pae: file.u8(header.pae) === 1 }),
  };
}

/** PHYSICAL_MEMORY_DESCRIPTOR: the runs lie in the file one behind the other. */
function rangesOfRuns(file: DumpReader, header: Header): FileRange[] {
  const { wide, runs, firstRun, size } = header;
  const step = wide ? 16 : 8;
  const count = file.u32(runs);
  const most = Math.floor((RUNS_ROOM - (firstRun - runs)) / step);
  if (count < 1 || count > most) damaged(`its header has ${count} runs of memory; 1 to ${most} fit`);
  const ranges: FileRange[] = [];
  let offset: number = size;
  for (let index = 0; index < count; index++) {
    const at = firstRun + index * step;
    const start = Number(file.word(at, wide)) * PAGE,
      length = Number(file.word(at + step / 2, wide)) * PAGE;
    if (!(start + length <= Number.MAX_SAFE_INTEGER && offset <= Number.MAX_SAFE_INTEGER))
      damaged(`run ${index} has ${length} bytes from 0x${start.toString(16)} on`);
    ranges.push({ start, length, offset });
    offset += length;
  }
  return ranges;
}

/** A bit for each page; the pages that are set lie in the file one behind the other. */
function rangesOfBitmap(file: DumpReader, at: number): FileRange[] {
  const [signature, valid] = [file.text(at, 4), file.text(at + 4, 4)];
  if (!(BITMAP.signatures as readonly string[]).includes(signature) || valid !== BITMAP.valid)
    damaged(`at ${at} "SDMP" or "FDMP", and "DUMP", should be; "${printable(signature + valid)}" is there`);
  const first = file.u64(at + BITMAP.firstPage),
    bits = file.u64(at + BITMAP.bits),
    bitmap = at + BITMAP.bitmap;
  if (!(bitmap + bits / 8 <= first))
    damaged(`its bitmap of ${bits} pages does not end before its first page, at ${first}`);
  const { runs } = new PageBitmap(file, bitmap, bits);
  const ranges: FileRange[] = [];
  let offset = first;
  for (let index = 0; index < runs.length && ranges.length < MOST_RANGES; index += 2) {
    const start = runs[index] * PAGE,
      length = runs[index + 1] * PAGE - start;
    ranges.push({ start, length, offset });
    offset += length;
  }
  return ranges;
}

const printable = (text: string): string => text.replace(/[^ -~]/g, '?');
