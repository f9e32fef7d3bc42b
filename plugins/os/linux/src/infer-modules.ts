/** struct module, told by the list of modules: each of its elements has a name, its place in /sys/module, and memory that it lies in itself. Without a loaded module there is nothing to see. */
import type { ImageWords } from './infer-image.js';
import { places, single } from './infer-reader.js';
import type { Reader, Snapshot } from './infer-reader.js';
import type { InferredField, InferredTypes } from './inferred-types.js';

const MODULE_BYTES = 2048;
const MOST_MODULES = 1 << 12;
/** Lists that look like the one of modules, of which nearly all are told apart by their first element. */
const MOST_LISTS = 1 << 16;
const LONGEST_NAME = 64;
const NAME = /^[A-Za-z0-9_]+$/;
/** MODULE_STATE_UNFORMED. */
const LAST_STATE = 3;
const LARGEST_PART = 1 << 28;
/** MOD_MEM_NUM_TYPES. */
const PARTS = 7;
const MOST_REFERENCES = 1 << 20;
const MOST_SYMBOLS = 1 << 20;
/** Elf32_Sym and Elf64_Sym (gABI, chapter 4). */
const SYMBOL = {
  4: { name: 0, value: 4, section: 14 },
  8: { name: 0, value: 8, section: 6 },
} as const;

/** Adds `module` and what it leads to, and the symbols `modules` and `module_kset`. */
export function inferModules(
  words: ImageWords,
  reader: Reader,
  types: InferredTypes,
  symbols: Map<string, bigint>,
): void {
  const p = reader.pointerSize;
  const list = single(listsOfModules(words, reader));
  if (list === undefined) return;
  const modules = list.modules.map((base) => reader.some(base, MODULE_BYTES));
  symbols.set('modules', list.head);
  const fields: InferredField[] = [
    ['state', 0, types.i32],
    ['list', p, types.named('list_head')],
    ['name', nameAt(p), types.array(types.u8, LONGEST_NAME - p)],
    ...inferSysfs(words, reader, types, modules, symbols),
    ...inferMemory(reader, types, modules),
    ...inferReferences(reader, types, modules),
    ...inferSymbols(reader, types, modules),
  ];
  types.add('module', fields);
}

/** A state, a list_head, and then the name, which fills 64 bytes with the pointer before it (MODULE_NAME_LEN). */
const nameAt = (p: number): number => 3 * p;
const behindName = (p: number): number => nameAt(p) + LONGEST_NAME - p;

interface ModuleList {
  readonly head: bigint;
  /** Addresses of every struct module. */
  readonly modules: readonly bigint[];
}

function listsOfModules(words: ImageWords, reader: Reader): ModuleList[] {
  const found: ModuleList[] = [];
  const behind = BigInt(reader.pointerSize);
  let tried = 0;
  words.lists((head, next) => {
    // What is first in the list leads back to its head, and has a name behind
    if (tried > MOST_LISTS || reader.pointer(next + behind) !== head) return;
    tried++;
    const modules = modulesOf(reader, head, next);
    if (modules.length > 0) found.push({ head, modules });
  });
  return found;
}

/** The modules of a list; none where one of its elements cannot be a module. */
function modulesOf(reader: Reader, head: bigint, first: bigint): bigint[] {
  const p = BigInt(reader.pointerSize);
  const found: bigint[] = [];
  for (let node = first, before = head; node !== head; before = node, node = reader.pointer(node)) {
    const base = node - p;
    if (found.length >= MOST_MODULES || !reader.isPointer(base) || reader.pointer(node + p) !== before) return [];
    const state = reader.u32(base);
    if (state < 0 || state > LAST_STATE || !NAME.test(nameOf(reader, base))) return [];
    found.push(base);
  }
  return found;
}

const nameOf = (reader: Reader, module: bigint): string =>
  reader.text(module + BigInt(nameAt(reader.pointerSize)), LONGEST_NAME);

/** mkobj, behind the name: a kobject of the same name in a set that all are in, and the module itself. */
function inferSysfs(
  words: ImageWords,
  reader: Reader,
  types: InferredTypes,
  modules: readonly Snapshot[],
  symbols: Map<string, bigint>,
): InferredField[] {
  const p = reader.pointerSize;
  const object = behindName(p);
  const [name, set] = [object, object + 4 * p];
  const isObject = modules.every(
    (module) =>
      reader.text(module.pointer(name), LONGEST_NAME) === nameOf(reader, module.base) &&
      reader.isPointer(module.pointer(set)) &&
      module.pointer(set) === modules[0].pointer(set),
  );
  const [itself] = places(object + 6 * p, object + 32 * p, p, (at) =>
    modules.every((module) => module.pointer(at) === module.base),
  );
  if (!isObject || itself === undefined) return [];
  types.add('kset', [['list', 0, types.named('list_head')]]);
  types.add('kobject', [
    ['name', 0, types.pointer()],
    ['entry', p, types.named('list_head')],
    ['kset', 4 * p, types.pointer('kset')],
  ]);
  types.add('module_kobject', [
    ['kobj', 0, types.named('kobject')],
    ['mod', itself - object, types.pointer('module')],
  ]);
  const variable = single(words.equal(modules[0].pointer(set)));
  if (variable !== undefined) symbols.set('module_kset', variable);
  return [['mkobj', object, types.named('module_kobject')]];
}

const isPages = (value: number): boolean => value > 0 && value <= LARGEST_PART && value % 4096 === 0;

/** Memory of a module, in which the struct module lies: one stretch (`core_layout`), or one by kind (`mem`, since 6.4). */
function inferMemory(reader: Reader, types: InferredTypes, modules: readonly Snapshot[]): InferredField[] {
  const p = reader.pointerSize;
  const holds = (module: Snapshot, at: number): boolean => {
    const base = module.pointer(at);
    return base <= module.base && module.base < base + BigInt(Math.max(0, module.u32(at + p)));
  };
  const layout = single(
    places(behindName(p), MODULE_BYTES - 32, p, (at) =>
      modules.every((module) => {
        const [size, text, readOnly, afterInit] = [0, 1, 2, 3].map((word) => module.u32(at + p + 4 * word));
        return (
          reader.isPointer(module.pointer(at), 4096) &&
          holds(module, at) &&
          [size, text, readOnly, afterInit].every(isPages) &&
          text <= readOnly &&
          readOnly <= afterInit &&
          afterInit <= size
        );
      }),
    ),
  );
  if (layout !== undefined) {
    types.add('module_layout', [
      ['base', 0, types.pointer()],
      ['size', p, types.u32],
      ['text_size', p + 4, types.u32],
      ['ro_size', p + 8, types.u32],
      ['ro_after_init_size', p + 12, types.u32],
    ]);
    return [['core_layout', layout, types.named('module_layout')]];
  }
  // MOD_TEXT, MOD_DATA and the others; some have nothing
  const isPart = (module: Snapshot, at: number): boolean =>
    module.pointer(at) === 0n || (reader.isPointer(module.pointer(at), 4096) && isPages(module.u32(at + p)));
  const found: { at: number; stride: number }[] = [];
  for (let stride = 2 * p; stride <= 16 * p; stride += p)
    for (let at = behindName(p); at + PARTS * stride < MODULE_BYTES; at += p) {
      const fits = modules.every(
        (module) =>
          module.pointer(at) !== 0n &&
          holds(module, at + stride) &&
          Array.from({ length: PARTS }, (_unused, kind) => at + kind * stride).every((part) => isPart(module, part)),
      );
      if (fits) found.push({ at, stride });
    }
  const mem = single(found);
  if (mem === undefined) return [];
  const part = types.add(
    'module_memory',
    [
      ['base', 0, types.pointer()],
      ['size', p, types.u32],
    ],
    mem.stride,
  );
  return [['mem', mem.at, types.array(part, PARTS)]];
}

/** Who uses it and whom it uses, two lists; then its function for the end, and how many use it, one more than /proc/modules says. */
function inferReferences(reader: Reader, types: InferredTypes, modules: readonly Snapshot[]): InferredField[] {
  const p = reader.pointerSize;
  const isList = (module: Snapshot, at: number): boolean =>
    reader.isPointer(module.pointer(at)) && reader.pointer(module.pointer(at) + BigInt(p)) === module.base + BigInt(at);
  const lists = single(
    places(behindName(p), MODULE_BYTES - 6 * p, p, (at) =>
      modules.every((module) => {
        const [exit, references] = [module.pointer(at + 4 * p), module.u32(at + 5 * p)];
        return (
          isList(module, at) &&
          isList(module, at + 2 * p) &&
          (exit === 0n || (reader.isPointer(exit, 1) && exit !== module.base + BigInt(at + 4 * p))) &&
          references > 0 &&
          references < MOST_REFERENCES
        );
      }),
    ),
  );
  if (lists === undefined) return [];
  const counter = types.add('atomic_t', [['counter', 0, types.i32]]);
  return [
    ['source_list', lists, types.named('list_head')],
    ['target_list', lists + 2 * p, types.named('list_head')],
    ['refcnt', lists + 5 * p, counter],
  ];
}

/** kallsyms, which leads into the struct itself: an ELF table of symbols, how many it has, and their names. */
function inferSymbols(reader: Reader, types: InferredTypes, modules: readonly Snapshot[]): InferredField[] {
  const p = reader.pointerSize;
  const { name, value, section } = SYMBOL[p];
  const entry = 16 + 8 * Number(p === 8);
  const isTable = (module: Snapshot, at: number): boolean => {
    const [table, count, names] = [module.pointer(at), module.u32(at + p), module.pointer(at + 2 * p)];
    if (!reader.isPointer(table) || !reader.isPointer(names, 1) || count < 1 || count > MOST_SYMBOLS) return false;
    const [none, first] = [reader.some(table, entry), reader.snapshot(table + BigInt(entry), entry)];
    const isNone = places(0, entry, 4, (word) => none.u32(word) !== 0).length === 0;
    return isNone && (first === undefined || reader.text(names + BigInt(first.u32(name)), 512) !== '');
  };
  const kallsyms = single(
    places(behindName(p), MODULE_BYTES, p, (at) =>
      modules.every((module) => {
        const inner = module.pointer(at) - module.base;
        return inner > 0n && inner < BigInt(MODULE_BYTES) && isTable(module, Number(inner));
      }),
    ),
  );
  if (kallsyms === undefined) return [];
  types.add(p === 8 ? 'elf64_sym' : 'elf32_sym', [
    ['st_name', name, types.u32],
    ['st_value', value, types.word],
    ['st_shndx', section, types.u16],
    ['st_size', p === 8 ? 16 : 8, types.word],
  ]);
  types.add('mod_kallsyms', [
    ['symtab', 0, types.pointer()],
    ['num_symtab', p, types.u32],
    ['strtab', 2 * p, types.pointer()],
  ]);
  return [['kallsyms', kallsyms, types.pointer('mod_kallsyms')]];
}
