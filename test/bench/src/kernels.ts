/** The kernels of guest/, in the order of the bits of the guest's `selected` parameter. */
export type Group = 'integer' | 'memory' | 'branch' | 'float';

export const KERNELS: readonly { readonly name: string; readonly group: Group }[] = [
  ...of('integer', 'sieve', 'sha256', 'crc32', 'matmul', 'qsort', 'fib', 'gcd', 'u64'),
  ...of('memory', 'copy', 'strings', 'chase', 'hash', 'repmovs'),
  ...of('branch', 'vm', 'dhrystone'),
  ...of('float', 'mandelbrot-sse2', 'mandelbrot-x87', 'sse2-integer'),
];

function of(group: Group, ...names: string[]): { name: string; group: Group }[] {
  return names.map((name) => ({ name, group }));
}

/** The mask for some kernels by name or by group; all of them for none. Throws on a name that is neither. */
export function selection(names: readonly string[]): number {
  if (names.length === 0) return 2 ** KERNELS.length - 1;
  let mask = 0;
  for (const name of names) {
    const found = KERNELS.flatMap((kernel, index) => (kernel.name === name || kernel.group === name ? [index] : []));
    if (found.length === 0)
      throw new Error(
        `There is no kernel or group "${name}": there are ${KERNELS.map((kernel) => kernel.name).join(', ')}, and the groups integer, memory, branch, float.`,
      );
    for (const index of found) mask |= 1 << index;
  }
  return mask;
}
