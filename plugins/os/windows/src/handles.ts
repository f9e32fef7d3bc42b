/** Handles of a process: a table of entries, or of pages of them, or of pages of such pages. */
import { unlessRefused } from './find/image.js';
import type { KernelBase } from './kernel.js';
import { Objects } from './objects.js';
import { processes } from './processes.js';

export interface WindowsHandle {
  readonly handle: number;
  /** `File`, `Key`, `Process`, … */
  readonly type: string;
  readonly access: number;
  /** Path of a file, name of another object, name and number of a process; empty where there is none. */
  readonly name: string;
  /** Linear address of the object. */
  readonly object: bigint;
}

const PAGE = 4096;
/** Entries of a table at most (Windows has 16 million handles for a process; tables of two levels have room for a quarter of a million). */
const MOST_ENTRIES = 1 << 24;
/** Handles are multiples of 4. */
const STEP = 4;
const LEVELS = 3n;
/** Low bits of TableCode, and of an entry's pointer, that are not address. */
const LOW_BITS = 7n;

/** Handles of a process, in order. `process`: address of its EPROCESS. */
export function* handles(
  kernel: KernelBase,
  process: bigint,
  objects = new Objects(kernel),
): Generator<WindowsHandle, void, undefined> {
  const table = unlessRefused(() => kernel.struct('_EPROCESS', process).big('ObjectTable'));
  if (table === undefined || !kernel.isKernel(table)) return;
  const code = unlessRefused(() => kernel.pointerAt(kernel.struct('_HANDLE_TABLE', table).at('TableCode')));
  if (code === undefined || (code & LOW_BITS) >= LEVELS) return;
  // The table says up to where it has entries; a lie is bounded by the pages that are there
  const said = unlessRefused(() => kernel.struct('_HANDLE_TABLE', table).number('NextHandleNeedingPool') / STEP);
  const limit = Math.min(said === undefined || said === 0 ? MOST_ENTRIES : said, MOST_ENTRIES);
  const size = kernel.type('_HANDLE_TABLE_ENTRY').size;
  const names = new Map<bigint, string>();
  const each = Math.floor(PAGE / size);
  for (const { page, index } of pages(kernel, code & ~LOW_BITS, Number(code & LOW_BITS), limit / each)) {
    // The first entry of each page is kept for the kernel's own use
    for (let entry = 1; entry < each && index * each + entry < limit; entry++) {
      const at = page + BigInt(entry * size);
      const header = unlessRefused(() => objectOf(kernel, at));
      if (header === undefined || !kernel.isKernel(header)) continue;
      const handle = unlessRefused(() => describe(kernel, objects, header, at, (index * each + entry) * STEP, names));
      if (handle !== undefined) yield handle;
    }
  }
}

/** Pages of entries, and which of them each is. */
function* pages(
  kernel: KernelBase,
  table: bigint,
  level: number,
  most: number,
): Generator<{ page: bigint; index: number }, void, undefined> {
  const seen = new Set<bigint>();
  const each = PAGE / kernel.pointerSize;
  /** Index of the first page behind a table. */
  const open: { table: bigint; level: number; index: number }[] = [{ table, level, index: 0 }];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    // Each page is there once: a hostile table has itself in it
    if (next.index >= most || seen.has(next.table) || kernel.space.translate(next.table) === undefined) continue;
    seen.add(next.table);
    if (next.level === 0) {
      yield { page: next.table, index: next.index };
      continue;
    }
    const covered = each ** (next.level - 1);
    for (let entry = each - 1; entry >= 0; entry--) {
      const below: bigint | undefined = unlessRefused(() =>
        kernel.pointerAt(next!.table + BigInt(entry * kernel.pointerSize)),
      );
      if (below !== undefined && kernel.isKernel(below))
        open.push({ table: below, level: next.level - 1, index: next.index + entry * covered });
    }
  }
}

/** The header that an entry leads to. Up to Windows 7 it is a pointer with flags, later its upper bits in a field. */
function objectOf(kernel: KernelBase, entry: bigint): bigint {
  const view = kernel.struct('_HANDLE_TABLE_ENTRY', entry);
  if (view.has('Object')) return kernel.pointerAt(view.at('Object')) & ~LOW_BITS;
  const width = view.field('ObjectPointerBits').bits!.size;
  const low = kernel.pointerSize === 8 ? 4 : 3;
  const address = view.big('ObjectPointerBits') << BigInt(low);
  return kernel.wrap(BigInt.asIntN(width + low, BigInt.asUintN(width + low, address)));
}

function describe(
  kernel: KernelBase,
  objects: Objects,
  header: bigint,
  entry: bigint,
  handle: number,
  processNames: Map<bigint, string>,
): WindowsHandle {
  const view = kernel.struct('_HANDLE_TABLE_ENTRY', entry);
  const type = objects.typeOf(header);
  const object = objects.bodyOf(header);
  return {
    handle,
    type,
    access: view.has('GrantedAccess') ? view.number('GrantedAccess') : view.number('GrantedAccessBits'),
    name: unlessRefused(() => nameOf(kernel, objects, type, object, processNames)) ?? '',
    object,
  };
}

function nameOf(
  kernel: KernelBase,
  objects: Objects,
  type: string,
  object: bigint,
  processNames: Map<bigint, string>,
): string {
  switch (type) {
    case 'File':
      return fileName(kernel, objects, object);
    case 'Process': {
      if (processNames.size === 0)
        for (const { address, name, pid } of processes(kernel)) processNames.set(address, `${name} (${pid})`);
      return processNames.get(object) ?? '';
    }
    case 'Thread': {
      const thread = kernel.struct('_ETHREAD', object);
      return `${thread.number('Cid.UniqueThread')} of ${thread.number('Cid.UniqueProcess')}`;
    }
    default:
      return objects.nameOf(objects.headerOf(object));
  }
}

/** Path of a file: the name of its device, then its own. */
export function fileName(kernel: KernelBase, objects: Objects, file: bigint): string {
  const view = kernel.struct('_FILE_OBJECT', file);
  const device = view.big('DeviceObject');
  const deviceName = kernel.isKernel(device) ? objects.nameOf(objects.headerOf(device)) : '';
  return `${deviceName === '' ? '' : `\\Device\\${deviceName}`}${kernel.unicode(view.at('FileName'))}`;
}
