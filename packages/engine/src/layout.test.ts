/** Facts that two sides of the processor have each in its own words: they agree. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { VMCS_FIELDS } from '@visorkit/x86';
import { describe, expect, it } from 'vitest';
import * as layout from './layout.js';
import * as vmcsLayout from './vmcs-layout.js';
import { fieldAddress } from './vmcs.js';

const textOf = (file: string): string => readFileSync(join(import.meta.dirname, file), 'utf8');

describe('VMCS fields', () => {
  it('are where their encodings put them', () => {
    const named = [
      ...textOf('vmcs-layout.ts').matchAll(/^export const (V_\w+) = GROUP_\w+[^;]*; \/\/ ([0-9A-F]{4})/gm),
    ];
    expect(named.length).toBeGreaterThan(80);
    for (const [, name, encoding] of named)
      expect([name, (vmcsLayout as unknown as Record<string, number>)[name]]).toEqual([
        name,
        fieldAddress(Number.parseInt(encoding, 16)),
      ]);
  });

  it('have a place each, within the VMCS or the state block', () => {
    const places = VMCS_FIELDS.map(({ encoding }) => fieldAddress(encoding)).filter((address) => address >= 0);
    expect(new Set(places).size).toBe(places.length);
    expect(vmcsLayout.VMCS).toBe(layout.VMCS);
  });
});

describe('memory of the engine', () => {
  it('has parts that do not overlap', () => {
    const parts: readonly (readonly [string, number, number])[] = [
      ['state', layout.REGS, layout.COUNTERS + 256 - layout.REGS],
      ['events', layout.EVENT_INFO, 0x100],
      ['caches', layout.JUMP_GENERATION, 0x80],
      ['EPT hierarchies', layout.EPT_CONTEXTS, layout.EPT_CONTEXTS_KEPT * 16],
      ['translation sets', layout.TLB_SET_INFO, layout.TLB_SETS * 64],
      ['generation of global pages', layout.GLOBAL_GENERATION, 4],
      ['threshold of known blocks', layout.TIER_KNOWN_THRESHOLD, 4],
      ['VMCS', layout.VMCS, vmcsLayout.VMCS_BYTES],
      ['empty table', layout.TLB_EMPTY, layout.TLB_TABLE_BYTES],
      ['EPT cache', layout.EPT_CACHE, layout.EPT_CACHE_ENTRIES * 16],
      ['accesses', layout.MMIO_LOG, (layout.MMIO_LOG_ENTRIES + 1) * layout.MMIO_LOG_ENTRY],
      ['chains', layout.GUEST_PAGE_CHAINS, layout.GUEST_PAGE_HASHES * 4],
      ['jump cache', layout.JUMP_CACHE, layout.JUMP_CACHE_ENTRIES * 16],
      ['structures', layout.STRUCTURE_PAGES, 1 << 17],
      ['hash', layout.BLOCK_HASH, layout.BLOCK_HASH_ENTRIES * 4],
      ['pages', layout.PAGE_BLOCKS, 1 << 22],
      ['tables', layout.TLB, layout.TLB_SETS * layout.TLB_SET_BYTES],
      ['links', layout.GUEST_PAGE_LINKS, ((layout.TLB_SETS * layout.TLB_SET_BYTES) / layout.TLB_ENTRY_BYTES) * 16],
      ['region cache', layout.REGION_CACHE, layout.REGION_CACHE_ENTRIES * 16],
      ['counters of regions', layout.TIER_COUNTERS, layout.TIER_COUNTERS_BYTES],
      ['known blocks', layout.KNOWN_BLOCKS, layout.KNOWN_BLOCKS_BITS / 8],
      ['late pages', layout.LATE_PAGES, 1 << 17],
      ['arena', layout.ARENA, layout.ARENA_BYTES],
      ['hypervisor', layout.HYPERVISOR, layout.HYPERVISOR_BYTES],
      ['RAM', layout.GUEST_RAM, 0],
    ];
    const sorted = [...parts].sort((a, b) => a[1] - b[1]);
    sorted.forEach(([name, from, bytes], i) => {
      if (i + 1 < sorted.length) expect([name, from + bytes <= sorted[i + 1][1]]).toEqual([name, true]);
    });
    expect(layout.GUEST_RAM % 0x20_0000).toBe(0);
    expect((layout.TLB_EMPTY / layout.TLB_TABLE_BYTES) % 4, 'context of the empty table').toBe(3);
    expect(layout.TLB % layout.TLB_SET_BYTES, 'tables begin with context 0').toBe(0);
    expect(layout.TLB_LISTS + layout.TLB_CONTEXTS * layout.TLB_LIST_BYTES).toBeLessThanOrEqual(layout.TLB_JUMP_PAGES);
    expect(layout.TLB_JUMP_PAGES + 2 * (layout.TLB_JUMP_PAGES_BITS / 8)).toBeLessThanOrEqual(layout.TLB_SET_BYTES);
  });
});
