/**
 * Memory images of Windows with known contents, from the published layouts of each version (reference tables of structures by version; symbol files): what a test compares with
 * what is read. Numbers are written down here again, on purpose.
 */
import type { FileMemory } from '@visorkit/vmi';
import { TestImage, writePe } from './test-image.js';
import type { TestSpace } from './test-image.js';
import type { Version } from './test-layouts.js';

/** 2024-05-01T12:00:00Z, in 100 ns from 1601 on. */
export const NOON = 133_590_384_000_000_000n;
const SECOND = 10_000_000n;
export const PROGRAM = '\\Device\\HarddiskVolume1\\Windows\\explorer.exe';
export const COMMAND = 'C:\\Windows\\explorer.exe /factory';
/** Of System, which has the index in all versions here. */
const TYPE_INDEXES = { Process: 7, File: 28, Event: 12, Mutant: 14, Directory: 3, Device: 20 } as const;
type TypeName = keyof typeof TYPE_INDEXES;

export interface BuiltProcess {
  readonly pid: number;
  readonly address: bigint;
  readonly space: TestSpace;
}

export interface BuiltWindows {
  readonly image: TestImage;
  readonly memory: FileMemory;
  readonly version: Version;
  readonly processes: readonly BuiltProcess[];
  /** Addresses by name of what is in it: structures to damage, registers to give. */
  readonly places: Readonly<Record<string, bigint>>;
}

/** Where things are in the kernel's image. */
const Rva = {
  TEXT: 0x1000,
  DECODER: 0x2000,
  SYSCALL: 0x3000,
  HANDLER: 0x4000,
  DATA: 0x8000,
  KDBG: 0x8100,
  NEVER: 0x8800,
  ALWAYS: 0x8808,
  FLAG: 0x8810,
  LABEL: 0x8900,
  CSD: 0x8980,
  BUILD: 0x8990,
  ACTIVE: 0x89a0,
  LOADED: 0x89c0,
  VARIABLES: 0x8a00,
  TABLE: 0x9000,
  SHADOW: 0x9080,
  SERVICES: 0x9200,
  ROOT: 0x9800,
  EXPORTS: 0x1_0000,
  DEBUG: 0x1_2000,
} as const;

export function buildWindows(version: Version): BuiltWindows {
  return new Builder(version).build();
}

class Builder {
  readonly #image: TestImage;
  readonly #k: TestSpace;
  readonly #p: 4 | 8;
  readonly #types = new Map<TypeName, bigint>();
  readonly #places: Record<string, bigint> = {};
  readonly #processes: BuiltProcess[] = [];

  constructor(private readonly v: Version) {
    this.#image = new TestImage(v.mode, { pool: v.pool });
    this.#k = this.#image.kernel;
    this.#p = this.#image.pointerSize;
  }

  build(): BuiltWindows {
    const { v } = this;
    const k = this.#k;
    k.map(v.kernel, 0x1_4000);
    const system = this.#image.space();
    for (const name of Object.keys(TYPE_INDEXES) as TypeName[]) this.#types.set(name, this.#room(0x100));
    for (const [name, type] of this.#types) {
      k.unicode(type + BigInt(v.type.name), name);
      k.u8(type + BigInt(v.type.index), TYPE_INDEXES[name]);
    }
    const first = this.#process(4, 0, 'System', system, '');
    const smss = this.#process(
      300,
      4,
      'smss.exe',
      this.#image.space(),
      '\\Device\\HarddiskVolume1\\Windows\\System32\\smss.exe',
    );
    const explorer = this.#process(1500, 300, 'explorer.exe', this.#image.space(), PROGRAM);
    if (v.process.wow64 !== undefined) this.#process(2000, 1500, 'old.exe', this.#image.space(), '');
    k.list(
      this.#at(Rva.ACTIVE),
      this.#processes.map(({ address }) => address + BigInt(v.process.links)),
    );
    this.#k.u64(smss.address + BigInt(v.process.exited), NOON + 5n * SECOND);
    this.#threads(first, [[8, v.kernel + 0x1234n, 0n]]);
    this.#threads(explorer, [
      [1504, 0x7700_1000n, 0x40_1000n],
      [1508, 0x7700_1000n, 0x40_2000n],
    ]);
    this.#userPart(explorer);
    this.#vads(explorer);
    this.#handles(first, explorer);
    this.#modules();
    this.#systemCalls();
    this.#kernelImage(first);
    this.#kdbg();
    this.#shared();
    if (v.process.wow64 !== undefined) this.#wow64(this.#processes[3]);
    if (v.lowStub) this.#lowStub(system);
    this.#controlRegion();
    return {
      image: this.#image,
      memory: this.#image.finish(),
      version: v,
      processes: this.#processes,
      places: this.#places,
    };
  }

  #at(rva: number): bigint {
    return this.v.kernel + BigInt(rva);
  }
  #room(bytes: number): bigint {
    return this.#image.kernelRoom(bytes);
  }
  #pointerAt(space: TestSpace, address: bigint, offset: number, value: bigint): void {
    space.pointer(address + BigInt(offset), value);
  }

  /** An object with its header, and before that its name and, with `creator`, one more part. */
  #object(type: TypeName, bytes: number, name = '', creator = false): bigint {
    const { object } = this.v;
    const nameSize = this.#p === 8 ? 0x20 : 0x10,
      creatorSize = creator ? nameSize : 0;
    const place = this.#room(nameSize + creatorSize + object.body + bytes + 16);
    const header = place + BigInt(nameSize + creatorSize);
    if (name !== '') this.#k.unicode(place + BigInt(this.#p), name);
    if (object.type !== undefined) {
      this.#pointerAt(this.#k, header, object.type, this.#types.get(type)!);
      this.#k.u8(header + BigInt(object.nameOffset!), name === '' ? 0 : nameSize + creatorSize);
    } else {
      const hide = object.cookie === undefined ? 0 : object.cookie ^ Number((header >> 8n) & 0xffn);
      this.#k.u8(header + BigInt(object.index!), TYPE_INDEXES[type] ^ hide);
      this.#k.u8(header + BigInt(object.mask!), (name === '' ? 0 : 2) | (creator ? 1 : 0));
    }
    return header + BigInt(object.body);
  }

  #process(pid: number, ppid: number, name: string, space: TestSpace, path: string): BuiltProcess {
    const { process, vad } = this.v;
    const address = this.#object('Process', 0xb00);
    const k = this.#k;
    this.#pointerAt(k, address, process.dtb, BigInt(space.root));
    this.#pointerAt(k, address, process.pid, BigInt(pid));
    this.#pointerAt(k, address, process.ppid, BigInt(ppid));
    k.text(address + BigInt(process.name), name);
    k.u64(address + BigInt(process.created), NOON + BigInt(pid) * SECOND);
    k.list(address + BigInt(process.threads), []);
    if (path !== '') {
      const information = this.#room(16);
      k.unicode(information, path);
      this.#pointerAt(k, address, process.audit, information);
    }
    void vad;
    const built = { pid, address, space };
    this.#processes.push(built);
    return built;
  }

  #threads({ pid, address }: BuiltProcess, list: readonly [tid: number, start: bigint, win32: bigint][]): void {
    const { thread, process, eighths } = this.v;
    const entries = list.map(([tid, start, win32]) => {
      const at = this.#room(0x800);
      const created = NOON + BigInt(tid) * SECOND;
      this.#k.u64(at + BigInt(thread.created), eighths ? created << 3n : created);
      this.#pointerAt(this.#k, at, thread.cid, BigInt(pid));
      this.#pointerAt(this.#k, at, thread.cid + this.#p, BigInt(tid));
      this.#pointerAt(this.#k, at, thread.start, start);
      this.#pointerAt(this.#k, at, thread.win32, win32);
      this.#pointerAt(this.#k, at, thread.teb, 0x7ffd_e000n);
      this.#k.u8(at + BigInt(thread.state), 5);
      return at + BigInt(thread.link);
    });
    this.#k.list(address + BigInt(process.threads), entries);
    this.#places.thread = entries[0];
  }

  /** PEB with command line and DLLs. */
  #userPart({ address, space }: BuiltProcess): void {
    const peb = 0x7ffd_f000n,
      heap = 0x20_0000n;
    const wide = this.#p === 8;
    space.map(peb, 0x1000);
    space.map(heap, 0x4000);
    this.#pointerAt(this.#k, address, this.v.process.peb, peb);
    this.#pointerAt(space, peb, wide ? 0x18 : 0xc, heap);
    this.#pointerAt(space, peb, wide ? 0x20 : 0x10, heap + 0x100n);
    space.unicode(heap + 0x100n + (wide ? 0x70n : 0x40n), COMMAND, heap + 0x300n);
    const dlls = [
      ['explorer.exe', 'C:\\Windows\\explorer.exe', 0x40_0000n, 0x2_0000],
      ['ntdll.dll', 'C:\\Windows\\System32\\ntdll.dll', 0x7700_0000n, 0x18_0000],
    ] as const;
    const entries = dlls.map(([name, path, base, size], index) => {
      const at = heap + 0x800n + BigInt(index * 0x200);
      this.#pointerAt(space, at, wide ? 0x30 : 0x18, base);
      this.#pointerAt(space, at, wide ? 0x38 : 0x1c, base + 0x1000n);
      space.u32(at + (wide ? 0x40n : 0x20n), size);
      space.unicode(at + (wide ? 0x48n : 0x24n), path, at + 0x100n);
      space.unicode(at + (wide ? 0x58n : 0x2cn), name, at + 0x180n);
      return at;
    });
    space.list(heap + (wide ? 0x10n : 0xcn), entries);
    this.#places.dll = entries[1];
  }

  /** A 32-bit program: its second PEB, with one DLL. */
  #wow64({ address, space }: BuiltProcess): void {
    const { process } = this.v;
    const peb = 0x7efd_e000n,
      native = 0x7efd_f000n;
    for (const at of [peb, native]) space.map(at, 0x1000);
    this.#pointerAt(this.#k, address, process.peb, native);
    let value = peb;
    if (process.wow64Structure) {
      value = this.#room(16);
      this.#k.u64(value, peb);
    }
    this.#pointerAt(this.#k, address, process.wow64!, value);
    const data = peb + 0x400n,
      entry = peb + 0x500n;
    space.u32(peb + 0xcn, data);
    space.u32(data + 0xcn, entry);
    space.u32(data + 0x10n, entry);
    space.u32(entry, data + 0xcn);
    space.u32(entry + 4n, data + 0xcn);
    space.u32(entry + 0x18n, 0x7500_0000);
    space.u32(entry + 0x20n, 0x9000);
    for (const [offset, text, place] of [
      [0x24n, 'C:\\Windows\\SysWOW64\\kernel32.dll', peb + 0x600n],
      [0x2cn, 'kernel32.dll', peb + 0x700n],
    ] as const) {
      space.u16(entry + offset, 2 * text.length);
      space.u16(entry + offset + 2n, 2 * text.length + 2);
      space.u32(entry + offset + 4n, place);
      for (let index = 0; index < text.length; index++) space.u16(place + BigInt(2 * index), text.charCodeAt(index));
    }
  }

  /** A file as the object of a device. */
  #file(path: string): bigint {
    const device = this.#object('Device', 0x100, 'HarddiskVolume1', this.v.object.mask !== undefined);
    const file = this.#object('File', 0x100);
    const wide = this.#p === 8;
    this.#pointerAt(this.#k, file, wide ? 8 : 4, device);
    this.#k.unicode(file + (wide ? 0x58n : 0x30n), path);
    return file;
  }

  #vads({ address }: BuiltProcess): void {
    const { vad, process } = this.v;
    const k = this.#k;
    const make = (start: bigint, end: bigint, protection: number, isPrivate: boolean, file = 0n): bigint => {
      const at = this.#room(0x90);
      for (const [offset, page] of [
        [vad.start, start >> 12n],
        [vad.end, end >> 12n],
      ] as const)
        k.number(at + BigInt(offset), page & (vad.vpnSize === 4 ? 0xffff_ffffn : -1n), vad.vpnSize);
      if (vad.high !== undefined) {
        k.u8(at + BigInt(vad.high), Number(start >> 44n));
        k.u8(at + BigInt(vad.high) + 1n, Number(end >> 44n));
      }
      let flags = BigInt(protection) << BigInt(vad.protection);
      if (isPrivate) flags |= 1n << BigInt(vad.private);
      if (file !== 0n) {
        flags |= BigInt(vad.image) << BigInt(vad.kind);
        const area = this.#room(0x90);
        // From Vista on the pointer has a count in its low bits
        this.#pointerAt(k, area, vad.filePointer, this.v.build >= 6000 ? file | 5n : file);
        let section = area;
        if (vad.throughSubsection) {
          section = this.#room(0x40);
          k.pointer(section, area);
        }
        this.#pointerAt(k, at, vad.section, section);
      }
      k.number(at + BigInt(vad.flags), flags, vad.flagsSize);
      return at;
    };
    const image = make(0x40_0000n, 0x41_ffffn, 7, false, this.#file('\\Windows\\explorer.exe'));
    const low = make(0x1_0000n, 0x1_0fffn, 4, true);
    const high =
      vad.high === undefined
        ? make(0x7ffe_0000n, 0x7ffe_0fffn, 1, true)
        : make(0x7fff_e000_0000n, 0x7fff_e000_0fffn, 0x14, true);
    this.#pointerAt(k, image, vad.left, low);
    this.#pointerAt(k, image, vad.right, high);
    const root = address + BigInt(process.vad);
    this.#pointerAt(k, root, vad.root === 'table' ? vad.rootChild : 0, image);
    this.#places.vad = image;
  }

  /** Handles of explorer in one level; those of System in two, the second page with one. */
  #handles(system: BuiltProcess, explorer: BuiltProcess): void {
    const { handles, process } = this.v;
    const size = 2 * this.#p,
      each = 4096 / size;
    const make = (objects: readonly (readonly [index: number, object: bigint, access: number])[]): bigint => {
      const page = this.#image.kernelPage();
      for (const [index, object, access] of objects) {
        const at = page + BigInt(index * size);
        const header = object - BigInt(this.v.object.body);
        if (handles.shift === undefined) this.#k.pointer(at, header | 1n);
        else this.#k.u64(at, (BigInt.asUintN(64, (header >> 4n) << BigInt(handles.shift)) | 0x1_0001n) & -1n);
        this.#k.u32(at + BigInt(this.#p), access);
      }
      return page;
    };
    const table = (owner: BuiltProcess, code: bigint, count: number): void => {
      const at = this.#room(0x80);
      this.#pointerAt(this.#k, at, handles.code, code);
      this.#k.u32(at + BigInt(handles.next), 4 * count);
      this.#pointerAt(this.#k, owner.address, process.table, at);
    };
    const own = make([
      [1, this.#file('\\Users\\me\\notes.txt'), 0x12_0089],
      [2, this.#object('Event', 0x20, 'Ready'), 0x1f_0003],
      [5, system.address, 0x1400],
      [6, this.#object('Mutant', 0x40, 'One'), 0x1f_0001],
    ]);
    table(explorer, own, each);
    this.#places.handles = own;
    const top = this.#image.kernelPage();
    this.#k.pointer(top, make([[1, explorer.address, 0x1f_ffff]]));
    this.#k.pointer(top + BigInt(this.#p), make([[3, this.#file('\\pagefile.sys'), 3]]));
    table(system, top | 1n, 2 * each);
    this.#places.handleTop = top;
  }

  #modules(): void {
    const { v } = this;
    const wide = this.#p === 8;
    const list = [
      ['ntoskrnl.exe', '\\SystemRoot\\system32\\ntoskrnl.exe', v.kernel, v.sizeOfImage],
      ['hal.dll', '\\SystemRoot\\system32\\hal.dll', v.kernel + 0x200_0000n, 0x3_0000],
      ['evil.sys', '\\??\\C:\\evil.sys', v.kernel + 0x220_0000n, 0x1000],
      ['win32k.sys', '\\SystemRoot\\System32\\win32k.sys', v.kernel + 0x240_0000n, 0x20_0000],
    ] as const;
    const entries = list.map(([name, path, base, size]) => {
      const at = this.#room(0x90);
      this.#pointerAt(this.#k, at, wide ? 0x30 : 0x18, base);
      this.#pointerAt(this.#k, at, wide ? 0x38 : 0x1c, base + 0x1000n);
      this.#k.u32(at + (wide ? 0x40n : 0x20n), size);
      this.#k.unicode(at + (wide ? 0x48n : 0x24n), path);
      this.#k.unicode(at + (wide ? 0x58n : 0x2cn), name);
      return at;
    });
    this.#k.list(this.#at(Rva.LOADED), entries);
    this.#places.module = entries[1];
  }

  /** Two calls of the kernel, one that was led away, one of win32k. */
  #systemCalls(): void {
    const { v } = this;
    const k = this.#k;
    const base = this.#at(Rva.SERVICES),
      graphics = this.#at(Rva.SERVICES + 0x100);
    const put = (table: bigint, index: number, target: bigint, stack: number): void =>
      k.u32(table + BigInt(4 * index), this.#p === 4 ? target : ((target - table) << 4n) | BigInt(stack));
    put(base, 0, this.#at(0x1100), 0);
    put(base, 1, this.#at(0x1200), 5);
    put(base, 2, v.kernel + 0x220_0010n, 1);
    put(graphics, 0, v.kernel + 0x240_1000n, 0);
    const descriptor = (at: bigint, table: bigint, count: number): void => {
      k.pointer(at, table);
      k.pointer(at + BigInt(2 * this.#p), BigInt(count));
    };
    descriptor(this.#at(Rva.TABLE), base, 3);
    descriptor(this.#at(Rva.SHADOW), base, 3);
    descriptor(this.#at(Rva.SHADOW) + BigInt(4 * this.#p), graphics, 1);
    this.#relative(Rva.SYSCALL, [0x4c, 0x8d, 0x15], Rva.TABLE);
    this.#relative(Rva.SYSCALL + 7, [0x4c, 0x8d, 0x1d], Rva.SHADOW);
  }

  /** An instruction with an address relative to RIP; `behind`: bytes after that. Returns where the next one is. */
  #relative(rva: number, opcode: readonly number[], target: number, behind: readonly number[] = []): number {
    const next = rva + opcode.length + 4 + behind.length;
    this.#k.bytes(this.#at(rva), opcode);
    this.#k.u32(this.#at(rva + opcode.length), target - next);
    this.#k.bytes(this.#at(rva + opcode.length + 4), behind);
    return next;
  }

  #kernelImage(system: BuiltProcess): void {
    const { v } = this;
    const k = this.#k;
    const variables: [string, bigint][] = [
      ['PsInitialSystemProcess', system.address],
      ['PsProcessType', this.#types.get('Process')!],
      ['IoFileObjectType', this.#types.get('File')!],
      ['ExEventObjectType', this.#types.get('Event')!],
      ['IoDeviceObjectType', this.#types.get('Device')!],
      // Some versions export no such thing; here it stands for what a type is found by where there is no KDBG
      ['ExMutantObjectType', this.#types.get('Mutant')!],
    ];
    const symbols: Record<string, number> = { NtBuildNumber: Rva.BUILD, ZwClose: 0x1200 };
    if (this.#p === 4) symbols.KeServiceDescriptorTable = Rva.TABLE;
    if (v.kdbg.as === 'lost') symbols.PsLoadedModuleList = Rva.LOADED;
    variables.forEach(([name, value], index) => {
      const rva = Rva.VARIABLES + index * 8;
      k.pointer(this.#at(rva), value);
      // With KDBG, mutants are found by the directory of types
      if (name !== 'ExMutantObjectType' || v.kdbg.as === 'lost') symbols[name] = rva;
    });
    k.u32(this.#at(Rva.BUILD), 0xf000_0000 + v.build);
    k.text(this.#at(Rva.LABEL), v.label);
    if (v.build < 6000) k.u32(this.#at(Rva.CSD), Number(/_sp(\d)/.exec(v.label)?.[1] ?? 0) << 8);
    const root = this.#object('Directory', 0x160);
    const types = this.#object('Directory', 0x160, 'ObjectTypes');
    const entry = (directory: bigint, bucket: number, object: bigint): void => {
      const at = this.#room(0x18);
      this.#pointerAt(k, at, this.#p, object);
      this.#pointerAt(k, directory, bucket * this.#p, at);
    };
    entry(root, 7, types);
    [...this.#types.values()].forEach((type, index) => entry(types, index * 3, type));
    k.pointer(this.#at(Rva.ROOT), root);
    this.#places.directory = types;
    writePe(k, {
      base: v.kernel,
      bits: this.#p === 8 ? 64 : 32,
      timeDateStamp: v.timeDateStamp,
      sizeOfImage: v.sizeOfImage,
      osVersion: v.osVersion,
      sections: [
        { name: '.text', rva: Rva.TEXT, size: 0x7000, code: true },
        { name: '.data', rva: Rva.DATA, size: 0x8000 },
        ...(v.build >= 10240 ? [{ name: 'INITKDBG', rva: 0x1_3000, size: 0x1000, code: true }] : []),
      ],
      ...(v.noExports ? {} : { exports: { name: 'ntoskrnl.exe', symbols, rva: Rva.EXPORTS } }),
      pdb: { ...v.pdb, rva: Rva.DEBUG },
    });
    this.#places.kernel = v.kernel;
  }

  #kdbg(): void {
    const { v } = this;
    const k = this.#k;
    const at = this.#at(Rva.KDBG);
    if (v.kdbg.as === 'lost') return;
    const block = new DataView(new ArrayBuffer(v.kdbg.size));
    const field = (offset: number, value: bigint): void => {
      // 32-bit addresses are sign-extended
      if (offset + 8 <= v.kdbg.size)
        block.setBigUint64(offset, BigInt.asUintN(64, this.#p === 4 ? BigInt.asIntN(32, value) : value), true);
    };
    block.setUint32(0x10, 0x4742_444b, true);
    block.setUint32(0x14, v.kdbg.size, true);
    field(0x18, v.kernel);
    field(0x48, this.#at(Rva.LOADED));
    field(0x50, this.#at(Rva.ACTIVE));
    field(0x98, this.#at(Rva.ROOT));
    field(0x208, this.#at(Rva.LABEL));
    if (v.build < 6000) field(0x268, this.#at(Rva.CSD));
    if (v.kdbg.as === 'encoded') {
      const never = 0x6b1f_3dc2_91a8_5e37n,
        always = 0x1122_3344_5566_7788n;
      k.u64(this.#at(Rva.NEVER), never);
      k.u64(this.#at(Rva.ALWAYS), always);
      k.u8(this.#at(Rva.FLAG), 1);
      for (let offset = 0; offset + 8 <= v.kdbg.size; offset += 8) {
        const mixed = block.getBigUint64(offset, true) ^ always;
        block.setBigUint64(offset, mixed, true);
        const swapped = block.getBigUint64(offset, false) ^ (this.#at(Rva.FLAG) | 0xffff_0000_0000_0000n);
        const by = never & 0x3fn;
        block.setBigUint64(
          offset,
          (BigInt.asUintN(64, (swapped >> by) | (swapped << (64n - by))) ^ never) & 0xffff_ffff_ffff_ffffn,
          true,
        );
      }
      let code: number = Rva.DECODER;
      code = this.#relative(code, [0x80, 0x3d], Rva.FLAG, [0]);
      code = this.#relative(code, [0x48, 0x8d, 0x15], Rva.KDBG);
      code = this.#relative(code, [0x4c, 0x8b, 0x15], Rva.NEVER);
      // XOR RDX, MOV R11: the two ways that are known
      code = this.#relative(code, v.build === 9600 ? [0x48, 0x33, 0x15] : [0x4c, 0x8b, 0x1d], Rva.ALWAYS);
      // ROL RDX, CL; BSWAP RDX; RET
      k.bytes(this.#at(code), [0x48, 0xd3, 0xc2, 0x48, 0x0f, 0xca, 0xc3]);
    }
    k.bytes(at, new Uint8Array(block.buffer));
    this.#places.kdbg = at;
  }

  #shared(): void {
    const at = this.#p === 8 ? 0xffff_f780_0000_0000n : 0xffdf_0000n;
    const k = this.#k;
    k.map(at, 0x1000);
    const time = (offset: bigint, value: bigint): void => {
      k.u64(at + offset, value);
      k.u32(at + offset + 8n, value >> 32n);
    };
    time(0x8n, 3600n * SECOND);
    time(0x14n, NOON + 7200n * SECOND);
    time(0x20n, -7200n * SECOND);
    const root = 'C:\\Windows';
    for (let index = 0; index < root.length; index++) k.u16(at + 0x30n + BigInt(2 * index), root.charCodeAt(index));
    if (this.v.build >= 10240) k.u32(at + 0x260n, this.v.build);
    k.u32(at + 0x264n, 1);
    k.u32(at + 0x26cn, this.v.osVersion[0]);
    k.u32(at + 0x270n, this.v.osVersion[1]);
  }

  /** The first page of the stub by which other processors start: jump, entry of the kernel, CR3. */
  #lowStub(system: TestSpace): void {
    const view = new DataView(this.#image.bytes.buffer);
    view.setBigUint64(0x1_3000, 0x0000_0001_0006_00e9n | (0x4dn << 8n), true);
    view.setBigUint64(0x1_3070, this.#at(Rva.HANDLER), true);
    view.setBigUint64(0x1_30a0, BigInt(system.root), true);
  }

  /** KPCR, its version block, and an IDT with one gate: of XP where it always is. */
  #controlRegion(): void {
    const k = this.#k;
    const kpcr = this.#p === 4 && this.v.build < 6000 ? 0xffdf_f000n : this.#image.kernelPage();
    k.map(kpcr, 0x1000);
    const idt = kpcr + 0x800n,
      handler = this.#at(Rva.HANDLER);
    k.pointer(kpcr + (this.#p === 8 ? 0x18n : 0x1cn), kpcr);
    k.pointer(kpcr + 0x38n, idt);
    k.u16(idt, Number(handler & 0xffffn));
    k.u16(idt + 6n, Number((handler >> 16n) & 0xffffn));
    if (this.#p === 8) k.u32(idt + 8n, handler >> 32n);
    else {
      const block = kpcr + 0x900n;
      k.pointer(kpcr + 0x34n, block);
      k.u64(block + 0x10n, this.v.kernel | 0xffff_ffff_0000_0000n);
    }
    Object.assign(this.#places, { kpcr, idt, handler });
  }
}
