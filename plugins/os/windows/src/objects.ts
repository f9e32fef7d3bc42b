/** Objects of the kernel: what type one is of, and its name. Each has an OBJECT_HEADER before it, and optional parts before that. */
import { Bound } from '@visorkit/vmi';
import { unlessRefused } from './find/image.js';
import { MOST_ELEMENTS } from './kernel.js';
import type { KernelBase } from './kernel.js';

/** Parts before the header, by their bit in InfoMask (Windows 7 and later). */
const Part = { CREATOR: 1, NAME: 2 } as const;
/** The first build that hides types: TypeIndex is exclusive-ored with a number made at boot and with a byte of the header's address. */
const FIRST_WITH_COOKIE = 10240;
/** Buckets of an OBJECT_DIRECTORY, which is a table of chains of (next, object). */
const BUCKETS = 37;
const MOST_TYPES = 256;
/** Exported variables that point to types: enough where nothing tells all of them. */
const EXPORTED_TYPES = [
  'PsProcessType',
  'PsThreadType',
  'PsJobType',
  'IoFileObjectType',
  'IoDriverObjectType',
  'IoDeviceObjectType',
  'IoCompletionObjectType',
  'ExEventObjectType',
  'ExSemaphoreObjectType',
  'ExMutantObjectType',
  'ExTimerObjectType',
  'ExWindowStationObjectType',
  'ExDesktopObjectType',
  'MmSectionObjectType',
  'CmKeyObjectType',
  'SeTokenObjectType',
  'LpcPortObjectType',
  'AlpcPortObjectType',
  'TmTransactionObjectType',
  'TmTransactionManagerObjectType',
  'TmResourceManagerObjectType',
  'TmEnlistmentObjectType',
  'DbgkDebugObjectType',
  'PsSiloContextPagedType',
];

export class Objects {
  readonly #body: bigint;
  /** Names of types by their index; made when it is needed. */
  #types: ReadonlyMap<number, string> | undefined;
  #cookie: number | undefined;

  constructor(private readonly kernel: KernelBase) {
    this.#body = BigInt(kernel.field('_OBJECT_HEADER', 'Body').offset);
  }

  /** Address of the object whose header is at an address, and the other way round. */
  bodyOf(header: bigint): bigint {
    return this.kernel.wrap(header + this.#body);
  }
  headerOf(body: bigint): bigint {
    return this.kernel.wrap(body - this.#body);
  }

  /** `File`, `Process`, …; `type 37` where its name cannot be told. Throws `VMI_UNMAPPED`. */
  typeOf(header: bigint): string {
    const view = this.kernel.struct('_OBJECT_HEADER', header);
    if (view.has('Type')) return this.#typeName(view.big('Type'));
    const index = this.#indexOf(header);
    return this.#names.get(index) ?? `type ${index}`;
  }

  /** The name that an object has in the kernel's name space; empty for none. */
  nameOf(header: bigint): string {
    return (
      unlessRefused(() => {
        const view = this.kernel.struct('_OBJECT_HEADER', header);
        let before: number;
        if (view.has('InfoMask')) {
          const mask = view.number('InfoMask');
          if ((mask & Part.NAME) === 0) return '';
          before = this.#sizeOf('_OBJECT_HEADER_NAME_INFO');
          if ((mask & Part.CREATOR) !== 0) before += this.#sizeOf('_OBJECT_HEADER_CREATOR_INFO');
        } else before = view.number('NameInfoOffset');
        if (before === 0) return '';
        return this.kernel.unicode(this.kernel.struct('_OBJECT_HEADER_NAME_INFO', header - BigInt(before)).at('Name'));
      }) ?? ''
    );
  }

  get #names(): ReadonlyMap<number, string> {
    return (this.#types ??= this.#findTypes());
  }

  #sizeOf(type: string): number {
    return this.kernel.type(type).size;
  }

  #typeName(type: bigint): string {
    return this.kernel.unicode(this.kernel.struct('_OBJECT_TYPE', type).at('Name'));
  }

  /** The index in the clear. */
  #indexOf(header: bigint): number {
    const index = this.kernel.struct('_OBJECT_HEADER', header).number('TypeIndex');
    if (this.kernel.build.number < FIRST_WITH_COOKIE) return index;
    return index ^ secondByte(header) ^ (this.#cookie ??= this.#findCookie());
  }

  /** By its symbol, or by System, whose type is known. */
  #findCookie(): number {
    const address = this.kernel.symbols.address('ObHeaderCookie');
    const known = address === undefined ? undefined : unlessRefused(() => this.kernel.space.u8(address));
    if (known !== undefined) return known;
    const found = unlessRefused(() => {
      const system = this.headerOf(this.kernel.system);
      const hidden = this.kernel.struct('_OBJECT_HEADER', system).number('TypeIndex');
      const [index] = [...this.#names].find(([, name]) => name === 'Process') ?? [undefined];
      return index === undefined ? undefined : hidden ^ secondByte(system) ^ index;
    });
    return found ?? 0;
  }

  #findTypes(): Map<number, string> {
    const names = new Map<number, string>();
    for (const type of this.#typeObjects()) {
      const index = unlessRefused(() => this.kernel.struct('_OBJECT_TYPE', type).number('Index') & 0xff);
      const name = index === undefined || names.has(index) ? '' : (unlessRefused(() => this.#typeName(type)) ?? '');
      if (name !== '') names.set(index!, name);
    }
    return names;
  }

  /** OBJECT_TYPEs: those of the kernel's table, of the directory \ObjectTypes, of the variables that are exported. */
  *#typeObjects(): Generator<bigint, void, undefined> {
    const { kernel } = this;
    const table = kernel.symbols.address('ObTypeIndexTable');
    // The first two entries are no types
    for (let index = 2; table !== undefined && index < MOST_TYPES; index++) {
      const type = unlessRefused(() => kernel.pointerAt(table + BigInt(index * kernel.pointerSize)));
      if (type === undefined || !kernel.isKernel(type)) break;
      yield type;
    }
    const root = kernel.symbols.address('ObpRootDirectoryObject');
    const top = root === undefined ? undefined : unlessRefused(() => kernel.pointerAt(root));
    for (const directory of top === undefined ? [] : this.entries(top))
      if (this.nameOf(this.headerOf(directory)) === 'ObjectTypes') yield* this.entries(directory);
    for (const name of EXPORTED_TYPES) {
      const variable = kernel.symbols.address(name);
      const type = variable === undefined ? undefined : unlessRefused(() => kernel.pointerAt(variable));
      if (type !== undefined && kernel.isKernel(type)) yield type;
    }
  }

  /** Objects in a directory, by the address of the directory. */
  *entries(directory: bigint): Generator<bigint, void, undefined> {
    const { kernel } = this;
    const seen = new Set<bigint>();
    const bound = new Bound(kernel.memory, `objects of the directory at 0x${directory.toString(16)}`, MOST_ELEMENTS);
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      let entry = unlessRefused(() => kernel.pointerAt(directory + BigInt(bucket * kernel.pointerSize)));
      while (entry !== undefined && entry !== 0n && !seen.has(entry) && bound.take()) {
        seen.add(entry);
        const at: bigint = entry;
        const object = unlessRefused(() => kernel.pointerAt(at + BigInt(kernel.pointerSize)));
        if (object !== undefined && kernel.isKernel(object)) yield object;
        entry = unlessRefused(() => kernel.pointerAt(at));
      }
    }
  }
}

const secondByte = (address: bigint): number => Number((address >> 8n) & 0xffn);
