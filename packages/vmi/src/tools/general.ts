/** Tools that work with every kernel, with the names that LibVMI gives its own. */
import { fail } from '@visorkit/core';
import type { AddressSpace } from '../address-space.js';
import type { Cell, Column, Report, ReportOptions } from '../profile.js';
import type { Member, Type } from '../types/type.js';
import type { Vmi } from '../vmi.js';

const PAGE = 4096;
const LINE = 16;
/** Bytes that are shown at once, at most. */
const MOST_BYTES = 1 << 30;

const address = (title: string): Column => ({ title, kind: 'address' });
const number = (title: string): Column => ({ title, kind: 'number' });
const text = (title: string): Column => ({ title });
const hexadecimal = (value: Cell): string => BigInt(value as bigint | number).toString(16);

const BYTES = [address('ADDRESS'), text('BYTES'), text('TEXT')];

export const GENERAL_REPORTS: Readonly<Record<string, Report<Vmi>>> = {
  'process-list': {
    describe: 'processes, in the order of the kernel',
    columns: [number('PID'), number('PPID'), text('NAME'), address('STRUCTURE'), address('ROOT')],
    *rows({ kernel }, { pids }) {
      for (const { pid, ppid, name, address: at, root } of kernel.processes())
        if (pids === undefined || pids.includes(pid)) yield [pid, ppid, name, at, root];
    },
    line: ([pid, , name, at]) => `[${String(pid).padStart(5)}] ${String(name)} (struct addr:${hexadecimal(at)})`,
  },
  'module-list': {
    describe: 'modules and drivers that are loaded into the kernel',
    columns: [text('NAME'), address('BASE'), number('SIZE')],
    *rows({ kernel }) {
      for (const { name, base, size } of kernel.modules()) yield [name, base, size];
    },
  },
  'map-symbol': {
    describe: 'bytes of memory at a symbol of the kernel',
    arguments: [
      { form: '<symbol>', describe: 'its name' },
      { form: '[length]', describe: 'how many bytes; a page unless given' },
    ],
    columns: BYTES,
    rows: (vmi, { arguments: [symbol, length] = [] }) => dump(vmi.kernel.space, vmi.symbol(symbol), lengthOf(length)),
    line: hexLine,
  },
  'map-addr': {
    describe: 'bytes of memory at an address of the kernel, or of the process that --pid names',
    arguments: [
      { form: '<address>', describe: 'linear address, in hexadecimal with 0x before it' },
      { form: '[length]', describe: 'how many bytes; up to the end of the page unless given' },
    ],
    columns: BYTES,
    rows(vmi, { arguments: [at, length] = [], pids }) {
      const from = addressOf(at);
      const rest = PAGE - Number(from & BigInt(PAGE - 1));
      return dump(spaceOf(vmi, pids), from, length === undefined ? rest : lengthOf(length));
    },
    line: hexLine,
  },
  'va-pages': {
    describe: 'what is mapped in the kernel, or in the process that --pid names',
    columns: [address('LINEAR'), address('PHYSICAL'), { title: 'LENGTH', kind: 'hex' }, text('RIGHTS')],
    *rows(vmi, { pids }) {
      for (const { linear, physical, length, rights } of spaceOf(vmi, pids).ranges())
        yield [
          linear,
          physical,
          length,
          `r${rights.write ? 'w' : '-'}${rights.execute ? 'x' : '-'}${rights.user ? 'u' : '-'}`,
        ];
    },
  },
  translate: {
    describe: 'where an address leads, and every table entry on the way',
    arguments: [{ form: '<address>', describe: 'linear address, in hexadecimal with 0x before it' }],
    columns: [text('LEVEL'), address('ENTRY AT'), address('VALUE')],
    *rows(vmi, { arguments: [at] = [], pids }) {
      const { entries, physical, pageSize } = spaceOf(vmi, pids).lookup(addressOf(at));
      for (const { level, address: entry, value } of entries) yield [String(level), entry, value];
      yield [physical === undefined ? 'not mapped' : `page of ${pageSize >>> 10} KiB`, physical, undefined];
    },
  },
  symbols: {
    describe: 'symbols of the kernel',
    arguments: [{ form: '[part]', describe: 'those whose names have this in them' }],
    columns: [address('ADDRESS'), text('TYPE'), text('NAME')],
    *rows({ kernel }, { arguments: [part = ''] = [] }) {
      for (const { address: at, type, name } of kernel.symbols) if (name.includes(part)) yield [at, type, name];
    },
    line: ([at, type, name]) => `${hexadecimal(at).padStart(16, '0')} ${String(type)} ${String(name)}`,
  },
  'symbol-at': {
    describe: 'the symbol that an address lies at or behind',
    arguments: [{ form: '<address>', describe: 'linear address, in hexadecimal with 0x before it' }],
    columns: [text('NAME'), { title: 'OFFSET', kind: 'hex' }],
    *rows(vmi, { arguments: [at] = [] }) {
      const near = vmi.symbolAt(addressOf(at));
      if (near !== undefined) yield [near.symbol.name, near.offset];
    },
  },
  type: {
    describe: 'how a structure of the kernel, or of a module, is laid out',
    arguments: [
      { form: '<name>', describe: 'of a struct, union, enum or another type' },
      { form: '[module]', describe: 'the module that has it' },
    ],
    columns: [number('OFFSET'), text('BITS'), number('SIZE'), text('TYPE'), text('NAME')],
    *rows(vmi, { arguments: [name, module] = [] }) {
      const type = module === undefined ? vmi.type(name) : typeOfModule(vmi, name, module);
      yield [0, '', type.size, type.kind, type.name];
      yield* membersOf(type.members ?? [], 0, 1);
      for (const [label, value] of type.values ?? []) yield [undefined, '', undefined, String(value), `  ${label}`];
    },
  },
};

function typeOfModule({ kernel }: Vmi, name: string, module: string): Type {
  const types = kernel.moduleTypes?.(module);
  const type = types?.type(name);
  if (type !== undefined) return type;
  const why = types === undefined ? `no types of a module "${module}"` : `no type "${name}" (${types.source})`;
  return fail('VMI_FIELD', `The kernel ${kernel.release} has ${why}.`, { name, module });
}

/** Structures in structures in …: damaged types may have no end. */
const DEEPEST = 8;

/** Members in order, those of anonymous structures indented below them. */
function* membersOf(members: readonly Member[], base: number, depth: number): Generator<readonly Cell[]> {
  for (const { name, type, bitOffset, bitSize } of members) {
    const bits = base + bitOffset;
    const place = bitSize === 0 ? '' : `${bits % 8}:${bitSize}`;
    yield [Math.floor(bits / 8), place, type.size, nameOf(type), `${'  '.repeat(depth)}${name}`];
    if (name === '' && depth < DEEPEST) yield* membersOf(type.members ?? [], bits, depth + 1);
  }
}

function nameOf(type: Type, depth = 0): string {
  if (depth > DEEPEST) return '…';
  if (type.kind === 'pointer') return `${type.target === undefined ? 'void' : nameOf(type.target, depth + 1)} *`;
  if (type.kind === 'array')
    return `${type.target === undefined ? '' : nameOf(type.target, depth + 1)}[${type.count ?? ''}]`;
  const named = type.kind === 'struct' || type.kind === 'union' || type.kind === 'enum';
  return named ? `${type.kind}${type.name === '' ? '' : ` ${type.name}`}` : type.name || type.kind;
}

/** Sixteen bytes a row. What is not there ends it. */
function* dump(space: AddressSpace, from: bigint, length: number): Generator<readonly Cell[]> {
  const line = new Uint8Array(LINE);
  for (let done = 0; done < length; done += LINE) {
    const at = BigInt.asUintN(64, from + BigInt(done));
    const bytes = line.subarray(0, space.read(at, line.subarray(0, Math.min(LINE, length - done))));
    // The first throws the error that says what is missing
    if (bytes.length === 0 && done === 0) space.u8(at);
    if (bytes.length === 0) return;
    yield [
      at,
      Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(' '),
      Array.from(bytes, (byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '.')).join(''),
    ];
    if (bytes.length < LINE) return;
  }
}

function hexLine([at, bytes, letters]: readonly Cell[]): string {
  return `${hexadecimal(at).padStart(16, '0')}: ${String(bytes).padEnd(3 * LINE)} |${String(letters)}|`;
}

function spaceOf(vmi: Vmi, pids: ReportOptions['pids']): AddressSpace {
  if (pids === undefined) return vmi.kernel.space;
  if (pids.length !== 1)
    fail('VMI_ARGUMENT', `${pids.length} processes are named; the tool shows the memory of one.`, { pids });
  return vmi.processSpace(pids[0]);
}

/** Throws `VMI_ARGUMENT`. */
export function addressOf(given: string): bigint {
  if (/^0x[0-9a-f]{1,16}$/i.test(given)) return BigInt(given);
  if (/^[0-9a-f]{9,16}$/i.test(given)) return BigInt(`0x${given}`);
  return fail('VMI_ARGUMENT', `"${given}" is no address; 0xffffffff81000000 is right.`, { given });
}

function lengthOf(given: string | undefined): number {
  if (given === undefined) return PAGE;
  const length = Number(given);
  if (Number.isInteger(length) && length > 0 && length <= MOST_BYTES) return length;
  return fail('VMI_ARGUMENT', `"${given}" is no length; a number of bytes from 1 to ${MOST_BYTES} is right.`, {
    given,
  });
}
