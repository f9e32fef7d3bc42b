/** Types of a module: its BTF, which the kernel keeps a copy of (CONFIG_DEBUG_INFO_BTF_MODULES; kernel/bpf/btf.c). It goes on where the kernel's ends. */
import { Btf } from '@visorkit/vmi';
import type { KernelBase } from './kernel.js';

/** Bytes that a module's description has at most. */
const MOST_BYTES = 64 << 20;

/** Undefined where the kernel has none of a module of that name: it is not loaded, or was built without. Throws `VMI_TYPES` for a damaged one. */
export function moduleTypes(kernel: KernelBase, name: string): Btf | undefined {
  const head = kernel.symbols.address('btf_modules');
  const { types } = kernel;
  if (head === undefined || !(types instanceof Btf) || !kernel.hasField('btf_module', 'btf')) return undefined;
  for (const entry of kernel.list(head, 'btf_module', 'list')) {
    const module = entry.follow('module', kernel.type('module'));
    if (module === undefined || module.text('name') !== name) continue;
    const btf = entry.follow('btf', kernel.type('btf'));
    if (btf === undefined) return undefined;
    const size = Math.min(btf.number('data_size'), MOST_BYTES);
    const source = `BTF of the module ${name} in the kernel's memory`;
    return new Btf(kernel.space.bytes(btf.big('data'), size), { source, pointerSize: kernel.pointerSize, base: types });
  }
  return undefined;
}
