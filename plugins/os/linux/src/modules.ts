/** Modules, by three ways of looking: a module that hides is missing from one of them. */
import type { GuestModule, StructView } from '@visorkit/vmi';
import type { KernelBase } from './kernel.js';

/** MODULE_NAME_LEN: 64 less a pointer. */
const nameLength = (kernel: KernelBase): number => 64 - kernel.pointerSize;
/** Where modules are (Documentation/arch/x86/x86_64/mm.rst), and the first address behind it. */
const MODULES_START = 0xffff_ffff_c000_0000n;
const MODULES_END = 0xffff_ffff_ff00_0000n;
/** BPF programs share stretches of this many bytes (kernel/bpf/core.c, bpf_prog_pack). */
const PACK = 0x20_0000n;
const STATES = ['live', 'coming', 'going', 'unformed'];

export interface LinuxModule extends GuestModule {
  /** `live`, `coming`, `going` or `unformed`. */
  readonly state: string;
  /** How many use it. */
  readonly references: number;
  /** Linear address of its struct module. */
  readonly address: bigint;
}

/** The kernel's list, which /proc/modules shows. */
export function* modules(kernel: KernelBase): Generator<LinuxModule, void, undefined> {
  for (const module of kernel.list(kernel.symbol('modules'), 'module', 'list')) yield describe(kernel, module);
}

/** What /sys/module shows, of which the list may know nothing: the set of their kobjects. */
export function* modulesInSysfs(kernel: KernelBase): Generator<LinuxModule, void, undefined> {
  const set = kernel.pointerAt(kernel.symbol('module_kset'));
  if (set === 0n) return;
  const head = kernel.struct('kset', set).at('list');
  for (const object of kernel.list(head, 'kobject', 'entry')) {
    const module = kernel.containing('module_kobject', 'kobj', object.address).follow('mod');
    // What is built in has a folder there too, but no module
    if (module !== undefined) yield describe(kernel, module);
  }
}

export interface HiddenModule {
  readonly name: string;
  readonly base: bigint;
  readonly size: number;
  /** Where it was found, and where not. */
  readonly why: string;
}

/** Modules that one way of looking shows and the list does not, and code in the modules' addresses that belongs to none. */
export function* hiddenModules(kernel: KernelBase): Generator<HiddenModule, void, undefined> {
  const listed = [...modules(kernel)];
  const known = new Set(listed.map(({ address }) => address));
  const found = [...listed];
  for (const module of modulesInSysfs(kernel)) {
    if (known.has(module.address)) continue;
    found.push(module);
    yield { ...module, why: 'in /sys/module, not in the list of modules' };
  }
  if (kernel.pointerSize === 4) return;
  const taken = found.flatMap(({ address }) => parts(kernel.struct('module', address)));
  for (const { linear, length, rights } of kernel.space.ranges(MODULES_START, MODULES_END - 1n)) {
    if (!rights.execute || rights.user) continue;
    const end = linear + BigInt(length);
    if (taken.some(({ base, size }) => base < end && base + BigInt(size) > linear)) continue;
    if (isKernelsOwn(kernel, linear, end)) continue;
    yield {
      name: moduleNear(kernel, linear, end),
      base: linear,
      size: length,
      why: 'code that no module of the list has',
    };
  }
}

/** Code that the kernel itself makes among modules: of BPF programs, ftrace's and kprobes' trampolines. */
function isKernelsOwn(kernel: KernelBase, start: bigint, end: bigint): boolean {
  const lists: readonly (readonly [string, string, string])[] = [
    ['bpf_kallsyms', 'bpf_ksym', 'lnode'],
    ['ftrace_ops_trampoline_list', 'ftrace_ops', 'list'],
  ];
  for (const [symbol, type, member] of lists) {
    const head = kernel.address(symbol);
    if (head === undefined || !kernel.hasField(type, member)) continue;
    for (const item of kernel.list(head, type, member)) {
      const base = item.big(type === 'bpf_ksym' ? 'start' : 'trampoline');
      if (base >= start && base < end) return true;
    }
  }
  const packs = kernel.address('pack_list');
  if (packs !== undefined && kernel.hasField('bpf_prog_pack', 'list')) {
    for (const pack of kernel.list(packs, 'bpf_prog_pack', 'list')) {
      const base = pack.big('ptr');
      if (base < end && base + PACK > start) return true;
    }
  }
  return isFilter(kernel, start);
}

/** Before 5.18 each program of BPF has pages of its own, and those of the kernel's own filters are in no list: by who asked for the pages. */
function isFilter(kernel: KernelBase, start: bigint): boolean {
  const areas = kernel.address('vmap_area_list');
  if (areas === undefined || !kernel.hasField('vmap_area', 'list') || !kernel.hasField('vm_struct', 'caller'))
    return false;
  for (const area of kernel.list(areas, 'vmap_area', 'list')) {
    if (start < area.big('va_start') || start >= area.big('va_end')) continue;
    const caller = area.follow('vm')?.big('caller') ?? 0n;
    return kernel.symbols.nearest(caller)?.symbol.name === 'bpf_jit_binary_alloc';
  }
  return false;
}

/** The name in a struct module that lies near hidden code: data of a module is behind its code. */
function moduleNear(kernel: KernelBase, start: bigint, end: bigint): string {
  const type = kernel.type('module');
  const name = kernel.field('module', 'name').offset;
  const base = baseOf(kernel.struct('module', 0n));
  for (const { linear, length, rights } of kernel.space.ranges(start, end + 0x10_0000n)) {
    if (!rights.write) continue;
    for (let at = 0; at + type.size <= length; at += 64) {
      const module = kernel.struct('module', linear + BigInt(at));
      if (kernel.space.u64(module.at(base)) !== start) continue;
      return kernel.space.text(module.address + BigInt(name), nameLength(kernel));
    }
  }
  return '';
}

function describe(kernel: KernelBase, module: StructView): LinuxModule {
  const all = parts(module);
  return {
    name: kernel.space.text(module.at('name'), nameLength(kernel)),
    base: all[0]?.base ?? 0n,
    size: all.reduce((sum, { size }) => sum + size, 0),
    state: STATES[module.number('state')] ?? String(module.number('state')),
    references: module.number('refcnt.counter') - 1,
    address: module.address,
  };
}

/** The field with the address of a module's code. */
const baseOf = (module: StructView): string =>
  module.has('mem') ? 'mem[0].base' : module.has('core_layout') ? 'core_layout.base' : 'module_core';

/** Memory of a module: parts by kind since 6.4, one stretch before. What is needed at its start only does not count. */
function parts(module: StructView): { base: bigint; size: number }[] {
  const found: { base: bigint; size: number }[] = [];
  if (module.has('mem')) {
    // MOD_TEXT, MOD_DATA, MOD_RODATA, MOD_RO_AFTER_INIT
    for (let kind = 0; kind < 4; kind++) {
      const base = module.big(`mem[${kind}].base`);
      if (base !== 0n) found.push({ base, size: module.number(`mem[${kind}].size`) });
    }
  } else if (module.has('core_layout')) {
    found.push({ base: module.big('core_layout.base'), size: module.number('core_layout.size') });
  } else {
    found.push({ base: module.big('module_core'), size: module.number('core_size') });
  }
  return found;
}
