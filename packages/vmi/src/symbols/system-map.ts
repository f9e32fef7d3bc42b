/** Symbols in lines of text: a kernel's System.map, what `nm` prints, /proc/kallsyms. */
import { fail } from '@visorkit/core';
import type { GuestSymbol } from './symbol-table.js';
import { SymbolList } from './symbol-table.js';

/** Address, size where `nm -S` has printed it, letter, name, and the module in brackets that /proc/kallsyms has. */
const LINE = /^([0-9a-f]{8}|[0-9a-f]{16})(?: [0-9a-f]{8,16})? (\S) (\S+)(?:\s+\[[^\]]*\])?\s*$/i;
/** What `nm` prints of a symbol without an address. */
const UNDEFINED = /^\s+[Uvw] \S+\s*$/;

/** Whether text begins as such a list. */
export function isSystemMap(start: string): boolean {
  const first = start.split('\n', 50).find((line) => line.trim() !== '' && !UNDEFINED.test(line));
  return first !== undefined && LINE.test(first.trimEnd());
}

/** Reads a list. Addresses are those in it: as linked, or, in /proc/kallsyms, as loaded. Throws `VMI_SYMBOLS`. */
export function readSystemMap(text: string, { source = 'System.map' }: { source?: string } = {}): SymbolList {
  const symbols: GuestSymbol[] = [];
  let number = 0,
    isEmpty = true;
  for (let from = 0; from < text.length; number++) {
    const end = text.indexOf('\n', from);
    const line = text.slice(from, end < 0 ? text.length : end);
    from = end < 0 ? text.length : end + 1;
    const parts = LINE.exec(line);
    if (parts === null) {
      if (line.trim() === '' || UNDEFINED.test(line)) continue;
      return fail(
        'VMI_SYMBOLS',
        `Line ${number + 1} of ${source} is "${line.slice(0, 80).trimEnd()}"; "address letter name" is right, as in "ffffffff81000000 T _text".`,
        { line: number + 1 },
      );
    }
    const address = BigInt(`0x${parts[1]}`);
    if (address !== 0n) isEmpty = false;
    symbols.push({ name: parts[3], address, type: parts[2] });
  }
  if (symbols.length === 0)
    return fail('VMI_SYMBOLS', `${source} has no symbols; lines with "address letter name" are right.`);
  if (isEmpty)
    return fail(
      'VMI_SYMBOLS',
      `All addresses in ${source} are 0: /proc/kallsyms shows them to root only (kernel.kptr_restrict); read it as root.`,
    );
  return new SymbolList(source, symbols);
}
