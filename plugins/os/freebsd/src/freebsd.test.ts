/** FreeBSD in memory images that are built from the published layouts: no image of a real one can be had. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isVisorkitError } from '@visorkit/core';
import { SymbolList } from '@visorkit/vmi';
import { FREEBSD_REPORTS, FreebsdKernel } from './index.js';
import { PROCESSES, VERSIONS, buildFreebsd, memoryOf } from './test-freebsd.js';

describe.each(Object.entries(VERSIONS))('FreeBSD %s', (name, version) => {
  const { memory, roots, procs, allproc, linkerFiles, bytes } = buildFreebsd(version);
  const kernel = FreebsdKernel.find(memory)!;

  it('is found in its memory alone, with its processes', () => {
    expect(kernel.release).toBe(`${name}-RELEASE`);
    expect(kernel.banner).toBe(version.banner);
    expect(kernel.isThere()).toBe(true);
    expect([...kernel.processes()]).toEqual(
      PROCESSES.map((process, index) => ({ ...process, address: procs[index], root: roots[index] })),
    );
    expect(kernel.types.source).toBe(
      name === '14.1'
        ? 'offsets inferred from the running processes'
        : `built-in offsets for FreeBSD ${name.split('.')[0]}`,
    );
  });

  it('gives threads with their numbers', () => {
    const of = (pid: number): unknown[] =>
      [...FREEBSD_REPORTS.threads.rows(kernel, { pids: [pid] })].map(([, , tid]) => tid);
    expect(of(0)[0]).toBe(100_000);
    expect(of(1)).toHaveLength(2);
    expect(new Set([0, 1, 11, 812].flatMap(of)).size).toBe(8);
  });

  it('gives modules by symbols, and says what is missing without', () => {
    const symbols = new SymbolList('kernel.debug', [
      { name: 'linker_files', address: linkerFiles, type: 'd' },
      { name: 'allproc', address: allproc, type: 'B' },
    ]);
    const known = FreebsdKernel.find(memory, { symbols })!;
    expect([...known.modules()].map(({ name: file, size }) => [file, size])).toEqual([
      ['kernel', 0x1f0_0000],
      ['if_em.ko', 0x2_0000],
    ]);
    expect(() => [...kernel.modules()]).toThrow(/without a symbol linker_files/);
  });

  it('is found by CR3 when its tables do not lead back', () => {
    const hidden = bytes.slice();
    for (const root of roots) hidden.fill(0, root + 8 * 256, root + 8 * 257);
    const registers = { cr3: BigInt(roots[0]) };
    const values = {
      freebsd_name: BigInt(version.comm),
      freebsd_pid: BigInt(version.pid),
      freebsd_vmspace: BigInt(version.vmspace),
      freebsd_pmap: 0x130n,
      freebsd_pgd: BigInt(version.cr3 - 0x130),
    };
    const found = FreebsdKernel.find(memoryOf(hidden), { registers, values })!;
    expect(found.types.source).toBe('offsets that were given');
    expect([...found.processes()].map(({ pid }) => pid)).toEqual([812, 11, 1, 0]);
  });
});

describe('hostile memory', () => {
  it('of FreeBSD ends, and is refused with a sentence at most', () => {
    const { bytes, procs } = buildFreebsd(VERSIONS['14.1']);
    const value = fc.oneof(fc.constantFrom(...procs, 0n), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }));
    const place = fc.integer({ min: 0x60_0000 >> 3, max: (bytes.length >> 3) - 1 });
    const word = fc.oneof(place, fc.integer({ min: 0x30_0000 >> 3, max: 0x30_2000 >> 3 }));
    fc.assert(
      fc.property(fc.array(fc.tuple(word, value), { maxLength: 200 }), (changes) => {
        const changed = bytes.slice();
        const view = new DataView(changed.buffer);
        for (const [at, number] of changes) view.setBigUint64(8 * at, number, true);
        try {
          const kernel = FreebsdKernel.find(memoryOf(changed));
          if (kernel === undefined) return;
          for (const report of Object.values(FREEBSD_REPORTS))
            for (const row of report.rows(kernel, {})) expect(row.length).toBeGreaterThan(0);
        } catch (error) {
          if (!isVisorkitError(error)) throw error;
          expect(error.message).toMatch(/\.$/);
        }
      }),
      { numRuns: 40, interruptAfterTimeLimit: 20_000 },
    );
  }, 60_000);

  it('random bytes, and a list in a circle', () => {
    expect(FreebsdKernel.find(memoryOf(new Uint8Array(1 << 20).fill(0x63)))).toBeUndefined();
    const { bytes, procs } = buildFreebsd(VERSIONS['12.0']);
    const view = new DataView(bytes.buffer);
    // The latest process is said to be behind the one before the last
    view.setBigUint64(Number(procs[0] - 0xffff_f800_0000_0000n) + 8, procs[2], true);
    expect([...FreebsdKernel.find(memoryOf(bytes))!.processes()].length).toBeLessThanOrEqual(4);
  });
});
