/** A Linux kernel for x86-64 in memory, found and read by what it says of itself: VMCOREINFO, its table of symbols, its BTF. */
import { fail } from '@visorkit/core';
import { AddressSpace } from '@visorkit/vmi';
import type { PhysicalMemory } from '@visorkit/vmi';
import { Btf } from './btf.js';
import { readKallsyms } from './kallsyms.js';
import type { KernelSymbol } from './kallsyms.js';
import { findVmCoreInfo } from './vmcoreinfo.js';
import type { VmCoreInfo } from './vmcoreinfo.js';

/** Where the kernel's image is mapped (Documentation/arch/x86/x86_64/mm.rst). */
const START_KERNEL_MAP = 0xffff_ffff_8000_0000n;
/** Processes, and threads of each, that a list has at most: a hostile list has no end. */
const MOST_TASKS = 1 << 20;
/** Part of task_struct.flags. */
const PF_KTHREAD = 0x20_0000;

export interface LinuxProcess {
  readonly pid: number;
  readonly tgid: number;
  readonly ppid: number;
  readonly uid: number;
  /** Its name, 15 bytes at most. */
  readonly command: string;
  readonly kernelThread: boolean;
  /** Linear address of its task_struct. */
  readonly task: bigint;
  /** Physical address of its page tables; undefined for a kernel thread, which has none of its own. */
  readonly root: number | undefined;
}

export class LinuxKernel {
  readonly release: string;
  /** The kernel's own page tables. */
  readonly space: AddressSpace;
  #symbols: readonly KernelSymbol[] | undefined;
  #addresses: ReadonlyMap<string, bigint> | undefined;
  #types: Btf | undefined;

  private constructor(
    readonly memory: PhysicalMemory,
    private readonly info: VmCoreInfo,
    readonly mode: '4-level' | '5-level',
    private readonly imageShift: bigint,
  ) {
    this.release = info.release;
    const root = (info.symbol('swapper_pg_dir') ?? info.symbol('init_top_pgt'))! + imageShift;
    this.space = new AddressSpace(memory, mode, root);
  }

  /** The kernel in a memory, undefined when none is found. */
  static find(memory: PhysicalMemory): LinuxKernel | undefined {
    for (const info of findVmCoreInfo(memory)) {
      const base = info.number('phys_base');
      const text = info.symbol('_stext');
      if (
        base === undefined ||
        text === undefined ||
        (info.symbol('swapper_pg_dir') ?? info.symbol('init_top_pgt')) === undefined
      )
        continue;
      const mode = info.number('pgtable_l5_enabled') === 1n ? '5-level' : '4-level';
      const kernel = new LinuxKernel(memory, info, mode, base - START_KERNEL_MAP);
      // A copy that a kernel before this one has left leads nowhere, or elsewhere
      if (kernel.space.translate(text) === Number(text + kernel.imageShift)) return kernel;
    }
    return undefined;
  }

  /** All symbols of the kernel and of what is built into it, in order of addresses. Throws `LINUX_SYMBOLS`. */
  get symbols(): readonly KernelSymbol[] {
    if (this.#symbols !== undefined) return this.#symbols;
    const place = (name: string): bigint =>
      this.info.symbol(`kallsyms_${name}`) ??
      fail(
        'LINUX_SYMBOLS',
        `The kernel ${this.release} does not say where its table of symbols is (kallsyms_${name}).`,
      );
    return (this.#symbols = readKallsyms(this.space, {
      names: place('names'),
      count: place('num_syms'),
      tokenTable: place('token_table'),
      tokenIndex: place('token_index'),
      offsets: place('offsets'),
      relativeBase: place('relative_base'),
    }));
  }

  /** Address of a symbol; throws `LINUX_SYMBOLS` when there is none. */
  symbol(name: string): bigint {
    this.#addresses ??= new Map(this.symbols.map(({ name: own, address }) => [own, address]));
    return (
      this.#addresses.get(name) ??
      fail('LINUX_SYMBOLS', `The kernel ${this.release} has no symbol "${name}".`, { name })
    );
  }

  /** The kernel's types. Throws `LINUX_TYPES` when it has none. */
  get types(): Btf {
    if (this.#types !== undefined) return this.#types;
    const [start, end] = [this.symbol('__start_BTF'), this.symbol('__stop_BTF')];
    return (this.#types = new Btf(this.space.bytes(start, Number(end - start))));
  }

  /** Offset of a field in bytes; throws `LINUX_TYPES` when there is none. */
  offset(structure: string, field: string): number {
    return (
      this.types.field(structure, field)?.offset ??
      fail('LINUX_TYPES', `The kernel ${this.release} has no field "${field}" in struct ${structure}.`, {
        structure,
        field,
      })
    );
  }

  /** Every process, from the kernel's list of tasks; init_task, the idle task, first. */
  *processes(): Generator<LinuxProcess, void, undefined> {
    const at = (structure: string, field: string): bigint => BigInt(this.offset(structure, field));
    const tasks = at('task_struct', 'tasks');
    const first = this.symbol('init_task');
    const seen = new Set<bigint>();
    for (let task = first; !seen.has(task) && seen.size < MOST_TASKS; ) {
      seen.add(task);
      yield this.#process(task, at);
      task = BigInt.asUintN(64, this.space.u64(task + tasks) - tasks);
    }
  }

  #process(task: bigint, at: (structure: string, field: string) => bigint): LinuxProcess {
    const { space } = this;
    const parent = space.u64(task + at('task_struct', 'real_parent'));
    const mm = space.u64(task + at('task_struct', 'mm'));
    const cred = space.u64(task + at('task_struct', 'real_cred'));
    return {
      pid: space.u32(task + at('task_struct', 'pid')) | 0,
      tgid: space.u32(task + at('task_struct', 'tgid')) | 0,
      ppid: space.u32(parent + at('task_struct', 'tgid')) | 0,
      uid: space.u32(cred + at('cred', 'uid')),
      command: space.text(task + at('task_struct', 'comm'), 16),
      kernelThread: (space.u32(task + at('task_struct', 'flags')) & PF_KTHREAD) !== 0,
      task,
      root: mm === 0n ? undefined : space.translate(space.u64(mm + at('mm_struct', 'pgd'))),
    };
  }
}
