/** Symbols of a loaded module, as the kernel keeps them for its own call traces (CONFIG_KALLSYMS; include/linux/module.h, struct mod_kallsyms). */
import { Bound, SymbolList } from '@visorkit/vmi';
import type { GuestSymbol } from '@visorkit/vmi';
import type { KernelBase } from './kernel.js';

const MOST_SYMBOLS = 1 << 20;
const LONGEST_NAME = 512;

/** Undefined where no module of that name is loaded, or the kernel's types do not tell where its symbols are. */
export function moduleSymbols(kernel: KernelBase, name: string): SymbolList | undefined {
  const entry = kernel.pointerSize === 8 ? 'elf64_sym' : 'elf32_sym';
  if (!kernel.hasField('module', 'kallsyms') || !kernel.hasField(entry, 'st_value')) return undefined;
  for (const module of kernel.list(kernel.symbol('modules'), 'module', 'list')) {
    if (module.text('name') !== name) continue;
    const table = module.follow('kallsyms');
    if (table === undefined) return undefined;
    const size = BigInt(kernel.type(entry).size),
      first = table.big('symtab'),
      names = table.big('strtab'),
      count = table.number('num_symtab');
    const bound = new Bound(kernel.memory, `symbols of the module ${name}`, MOST_SYMBOLS);
    const symbols: GuestSymbol[] = [];
    // The first entry of an ELF table is none
    for (let index = 1; index < count && bound.take(); index++) {
      const symbol = kernel.struct(entry, first + BigInt(index) * size);
      const text = kernel.space.text(names + BigInt(symbol.number('st_name')), LONGEST_NAME);
      if (text !== '' && symbol.number('st_shndx') !== 0)
        symbols.push({ name: text, address: symbol.big('st_value'), type: '' });
    }
    return new SymbolList(`kallsyms of the module ${name}`, symbols);
  }
  return undefined;
}
