/**
 * Catches what a test's process writes to its standard output and error. In a file of its own, because it must not
 * import node:fs itself.
 */

export const written: { out: Uint8Array[]; err: Uint8Array[] } = { out: [], err: [] };

/**
 * For `vi.mock('node:fs', async (original) => catchWrites(await original()))`: writes to the descriptors 1 and 2 are kept.
 */
export function catchWrites<
  Module extends { writeSync: (descriptor: number, bytes: Uint8Array, offset?: number) => number },
>(fs: Module): Module {
  const writeSync = (descriptor: number, bytes: Uint8Array, offset = 0): number => {
    if (descriptor !== 1 && descriptor !== 2) return fs.writeSync(descriptor, bytes, offset);
    written[descriptor === 1 ? 'out' : 'err'].push(bytes.slice(offset));
    return bytes.length - offset;
  };
  return { ...fs, writeSync };
}
