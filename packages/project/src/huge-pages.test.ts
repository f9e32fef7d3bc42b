/** Larger pages of the host: whether the system was asked, by what it says of the mapping. */
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { ArrayGuestMemory } from '@visorkit/machine';
import { adviseHugePages, largeBuffer } from './index.js';

const MIB = 1 << 20;

/** KiB of this process's mappings that are to have huge pages. */
const advised = (): number =>
  readFileSync('/proc/self/smaps', 'latin1')
    .split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m)
    .filter((mapping) => /^VmFlags:.* hg/m.test(mapping))
    .reduce((sum, mapping) => sum + Number(/^Size: +(\d+)/m.exec(mapping)![1]), 0);

describe('huge pages', () => {
  it('are asked for the whole of a guest’s RAM, where Linux has them', async (context) => {
    if (!existsSync('/sys/kernel/mm/transparent_hugepage/enabled'))
      context.skip('this system has no transparent huge pages');
    const { buffer } = new WebAssembly.Memory({ initial: 512, maximum: 512, shared: true }),
      before = advised();
    expect(await adviseHugePages(new ArrayGuestMemory(32 * MIB, buffer))).toBe(true);
    expect(advised() - before).toBeGreaterThanOrEqual(32 * 1024);
    expect(new Uint8Array(buffer).every((byte) => byte === 0)).toBe(true);
  });

  it('are not asked for RAM that is still in its file', async () => {
    const memory = new ArrayGuestMemory(2 * MIB, new SharedArrayBuffer(2 * MIB), 0, new Uint8Array(64));
    memory.restore([{ gpa: 0, length: 4096, bytes: new Uint8Array(4096).fill(7) }]);
    expect(await adviseHugePages(memory)).toBe(false);
    expect(memory.late).toBe(true);
  });

  it('are asked for a buffer, which is all zeros', async (context) => {
    if (!existsSync('/sys/kernel/mm/transparent_hugepage/enabled'))
      context.skip('this system has no transparent huge pages');
    const before = advised(),
      bytes = await largeBuffer(8 * MIB + 5);
    expect(bytes).toHaveLength(8 * MIB + 5);
    expect(advised() - before).toBeGreaterThanOrEqual(8 * 1024 - 4);
    expect(bytes.every((byte) => byte === 0)).toBe(true);
  });
});
