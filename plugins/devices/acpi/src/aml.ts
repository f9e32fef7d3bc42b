/**
 * Writes AML, the byte code of ACPI's namespace (ACPI specification 6.4, chapter 20): as much of it as a machine needs to
 * describe its devices.
 */

/** Encoded terms; nesting functions take any number of them. */
export type Aml = Uint8Array;

const Op = {
  zero: 0x00,
  one: 0x01,
  name: 0x08,
  byte: 0x0a,
  word: 0x0b,
  dword: 0x0c,
  string: 0x0d,
  qword: 0x0e,
  scope: 0x10,
  buffer: 0x11,
  package: 0x12,
  method: 0x14,
  dualName: 0x2e,
  multiName: 0x2f,
  extended: 0x5b,
  root: 0x5c,
  return: 0xa4,
} as const;
const EXTENDED_DEVICE = 0x82;
const TAG_END = [0x79, 0x00];

/** Joins terms and raw bytes. */
export function join(...parts: readonly (Aml | readonly number[])[]): Aml {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

const little = (value: number, bytes: number): number[] =>
  Array.from({ length: bytes }, (_, index) => Math.floor(value / 2 ** (8 * index)) & 0xff);

/** A constant in its shortest form (20.2.3). `value` is a non-negative safe integer. */
export function integer(value: number): Aml {
  if (value === 0) return join([Op.zero]);
  if (value === 1) return join([Op.one]);
  if (value <= 0xff) return join([Op.byte, value]);
  if (value <= 0xffff) return join([Op.word], little(value, 2));
  if (value <= 0xffff_ffff) return join([Op.dword], little(value, 4));
  return join([Op.qword], little(value, 8));
}

/** ASCII text. */
export function string(text: string): Aml {
  return join(
    [Op.string],
    [...text].map((character) => character.charCodeAt(0)),
    [0],
  );
}

/** A compressed EISA ID such as "PNP0501" (19.3.4 EISAID). */
export function eisaId(id: string): Aml {
  const letter = (index: number): number => id.charCodeAt(index) - 0x40;
  const vendor = (letter(0) << 10) | (letter(1) << 5) | letter(2);
  const product = Number.parseInt(id.slice(3), 16);
  return join([Op.dword, vendor >> 8, vendor & 0xff, product >> 8, product & 0xff]);
}

/** A name path such as `\_SB.PCI0` (20.2.2); segments shorter than four characters are padded with underscores. */
export function namePath(path: string): Aml {
  const rooted = path.startsWith('\\');
  const segments = (rooted ? path.slice(1) : path).split('.').filter((segment) => segment !== '');
  const bytes = segments.flatMap((segment) => [...segment.padEnd(4, '_')].map((character) => character.charCodeAt(0)));
  const prefix =
    segments.length === 0
      ? [0]
      : segments.length === 1
        ? []
        : segments.length === 2
          ? [Op.dualName]
          : [Op.multiName, segments.length];
  return join(rooted ? [Op.root] : [], prefix, bytes);
}

/** PkgLength counts itself, so its own size is found first (20.2.4). */
function withLength(opcode: readonly number[], body: Aml): Aml {
  const size = [0x3f - 1, 0xfff - 2, 0xf_ffff - 3].findIndex((limit) => body.length <= limit);
  const bytes = size < 0 ? 4 : size + 1;
  const length = body.length + bytes;
  const encoded =
    bytes === 1 ? [length] : [((bytes - 1) << 6) | (length & 0xf), ...little(Math.floor(length / 16), bytes - 1)];
  return join(opcode, encoded, body);
}

export const name = (path: string, value: Aml): Aml => join([Op.name], namePath(path), value);
export const scope = (path: string, ...body: Aml[]): Aml => withLength([Op.scope], join(namePath(path), ...body));
export const device = (path: string, ...body: Aml[]): Aml =>
  withLength([Op.extended, EXTENDED_DEVICE], join(namePath(path), ...body));
export const packageOf = (...elements: Aml[]): Aml => withLength([Op.package], join([elements.length], ...elements));
export const buffer = (bytes: Aml): Aml => withLength([Op.buffer], join(integer(bytes.length), bytes));
/** A method of `args` arguments, 0-7. */
export const method = (path: string, args: number, ...body: Aml[]): Aml =>
  withLength([Op.method], join(namePath(path), [args & 7], ...body));
export const returnValue = (value: Aml): Aml => join([Op.return], value);

// Resource descriptors (6.4) -----------------------------------------------------------------------------------------------

/** The value of a _CRS: descriptors and their end tag. */
export const resources = (...descriptors: Aml[]): Aml => buffer(join(...descriptors, TAG_END));

/** Fixed I/O ports (6.4.2.5). */
export const ioPorts = (first: number, count: number): Aml =>
  join([0x47, 0x01], little(first, 2), little(first, 2), [0x01, count]);

/** One ISA interrupt, edge triggered and active high (6.4.2.1). */
export const isaInterrupt = (irq: number): Aml => join([0x22], little(1 << irq, 2));

/** Interrupt by its global number (6.4.3.6). */
export const interrupt = (gsi: number, options: { level?: boolean; shared?: boolean; activeLow?: boolean } = {}): Aml =>
  join(
    [0x89, 0x06, 0x00, 0x01 | (options.level ? 0 : 2) | (options.activeLow ? 4 : 0) | (options.shared ? 8 : 0), 0x01],
    little(gsi, 4),
  );

/** A fixed range of memory below 4 GiB (6.4.3.4). */
export const memory = (gpa: number, length: number, writable = true): Aml =>
  join([0x86, 0x09, 0x00, writable ? 1 : 0], little(gpa, 4), little(length, 4));

/** Address ranges (6.4.3.5): bus numbers, ports, memory that a bridge passes on, or that a device itself uses. */
const RANGE_FIXED = 0x0c;
const RANGE_CONSUMED = 0x01;
function addressSpace(
  [tag, bytes, type, typeFlags]: readonly [tag: number, bytes: number, type: number, typeFlags: number],
  first: number,
  last: number,
  consumed = false,
): Aml {
  return join(
    [tag],
    little(3 + 5 * bytes, 2),
    [type, RANGE_FIXED | (consumed ? RANGE_CONSUMED : 0), typeFlags],
    little(0, bytes),
    little(first, bytes),
    little(last, bytes),
    little(0, bytes),
    little(last - first + 1, bytes),
  );
}
const BUS_NUMBERS = [0x88, 2, 2, 0] as const;
const PORTS = [0x88, 2, 1, 3] as const;
const MEMORY = [0x87, 4, 0, 1] as const;
const MEMORY_64 = [0x8a, 8, 0, 1] as const;
const MEMORY_64_READ_ONLY = [0x8a, 8, 0, 0] as const;
export const busRange = (first: number, last: number): Aml => addressSpace(BUS_NUMBERS, first, last);
export const portRange = (first: number, last: number, consumed = false): Aml =>
  addressSpace(PORTS, first, last, consumed);
export const memoryRange = (first: number, last: number): Aml =>
  addressSpace(last < 2 ** 32 ? MEMORY : MEMORY_64, first, last);
/** A fixed range of memory that may lie above 4 GiB. */
export const memory64 = (gpa: number, length: number, writable = true): Aml =>
  addressSpace(writable ? MEMORY_64 : MEMORY_64_READ_ONLY, gpa, gpa + length - 1, true);
