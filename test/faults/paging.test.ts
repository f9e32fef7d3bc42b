/** Code whose page tables are random in every paging mode: entries with any bits, tables that point at themselves, at devices, at nothing. */
import type { InitialState } from '@visorkit/core';
import { FLAT_GDT_SIZE, flatSegments, writeFlatGdt } from '@visorkit/machine';
import type { BootContext } from '@visorkit/machine';
import { describe, expect, it } from 'vitest';
import { survive } from './machine.js';
import { Random } from './random.js';

const [GDT, IDT, TABLES, CODE] = [0x2000, 0x3000, 0x40000, 0x20000];
const TABLE_PAGES = 32;
const PRESENT = 1n;
const ALL_RIGHTS = 7n;
const [first, runs] = (process.env.VISORKIT_FUZZ ?? '1,25').split(',').map(Number);

interface PagingMode {
  readonly name: string;
  readonly long: boolean;
  /** Bytes of an entry. */
  readonly width: 4 | 8;
  readonly levels: number;
  readonly cr4: bigint;
  readonly efer: bigint;
}

const MODES: readonly PagingMode[] = [
  { name: '32-bit', long: false, width: 4, levels: 2, cr4: 0x10n, efer: 0n },
  { name: 'PAE', long: false, width: 8, levels: 3, cr4: 0x20n, efer: 0x800n },
  { name: '4-level', long: true, width: 8, levels: 4, cr4: 0x20n, efer: 0xd00n },
  { name: '5-level', long: true, width: 8, levels: 5, cr4: 0x1020n, efer: 0xd00n },
];

/** Fills the tables with anything, then lets the first entry of each lead on to a last table that maps the first megabytes onto themselves. */
function writeTables({ memory }: BootContext, mode: PagingMode, random: Random): void {
  const write = (gpa: number, entry: bigint): void =>
    mode.width === 4
      ? memory.writeU32(gpa, Number(BigInt.asUintN(32, entry)))
      : memory.writeU64(gpa, BigInt.asUintN(64, entry));
  const perPage = 4096 / mode.width;
  for (let page = 0; page < TABLE_PAGES; page++) {
    for (let entry = 0; entry < perPage; entry++) {
      if (random.oneIn(3)) continue;
      const target = random.oneIn(3) ? random.hostile() & ~0xfffn : BigInt(TABLES + 4096 * random.below(TABLE_PAGES));
      write(TABLES + page * 4096 + entry * mode.width, target | BigInt(random.below(0x1000)) | PRESENT);
    }
  }
  for (let level = 0; level < mode.levels - 1; level++) {
    // PAE's top level has reserved bits where the others have rights
    write(
      TABLES + level * 4096,
      BigInt(TABLES + (level + 1) * 4096) | (mode.name === 'PAE' && level === 0 ? PRESENT : ALL_RIGHTS),
    );
  }
  if (mode.name === 'PAE')
    for (const entry of [1, 2, 3])
      write(TABLES + entry * 8, random.oneIn(2) ? 0n : BigInt(TABLES + 4096 * random.below(TABLE_PAGES)) | PRESENT);
  const last = TABLES + (mode.levels - 1) * 4096;
  for (let page = 0; page < perPage; page++)
    if (page < 0x80 || !random.oneIn(4)) write(last + page * mode.width, BigInt(page * 4096) | ALL_RIGHTS);
}

function start(mode: PagingMode, random: Random, context: BootContext): InitialState {
  const { memory } = context,
    bits = mode.long ? 64 : 32;
  writeTables(context, mode, random);
  writeFlatGdt(memory, GDT, bits);
  for (let vector = 0; vector < 256; vector++) {
    memory.writeU32(IDT + vector * (bits / 4), (0x10 << 16) | (0x5000 + (vector % 2) * 16));
    memory.writeU32(IDT + vector * (bits / 4) + 4, 0x8e00);
  }
  // Any fault: the stack anew, another address, on with the loop
  const resume = [
    0xbc,
    0,
    0x80,
    0,
    0,
    0xb8,
    ...[CODE, CODE >>> 8, CODE >>> 16, 0].map((byte) => byte & 0xff),
    0xff,
    0xe0,
  ];
  memory.write(0x5000, Uint8Array.from(resume));
  memory.write(0x5010, Uint8Array.from(resume));
  const code: number[] = [];
  for (let count = 0; count < 200; count++) {
    // RAX is a new address each time, from RBX, which a multiplication and an addition move on
    if (mode.long)
      code.push(0x48, 0x69, 0xdb, 0x0d, 0x66, 0x19, 0, 0x48, 0x81, 0xc3, 0x5f, 0xf3, 0x6e, 0x3c, 0x48, 0x89, 0xd8);
    else code.push(0x69, 0xdb, 0x0d, 0x66, 0x19, 0, 0x81, 0xc3, 0x5f, 0xf3, 0x6e, 0x3c, 0x89, 0xd8);
    if (mode.long && random.oneIn(2)) code.push(0x48, 0xc1, 0xe8, random.pick([16, 17, 25, 32, 40])); // shr rax: canonical
    code.push(
      ...random.pick([
        [0x8b, 0x10],
        [0x89, 0x10],
        [0xf0, 0xff, 0x00],
        [0x0f, 0x01, 0x38],
        [0x0f, 0x11, 0x00],
        [0x50, 0x58],
        [0xff, 0x30],
        [0x8f, 0x00],
        [0x0f, 0x20, 0xd9, 0x0f, 0x22, 0xd9],
        [0x89, 0xc4],
        [0x0f, 0xc7, 0x08],
        [0xff, 0xe0],
        [0xdd, 0x30],
        [0x0f, 0xae, 0x00],
      ]),
    );
  }
  code.push(
    0xe9,
    ...[-(code.length + 5)].flatMap((back) => [back, back >> 8, back >> 16, back >> 24]).map((byte) => byte & 0xff),
  );
  memory.write(CODE, Uint8Array.from(code));
  return {
    mode: mode.long ? 'long64' : 'protected32',
    rip: BigInt(CODE),
    rsp: 0x8000n,
    rflags: 2n,
    registers: { rbx: random.u64() },
    segments: flatSegments(bits),
    gdtr: { base: BigInt(GDT), limit: FLAT_GDT_SIZE - 1 },
    idtr: { base: BigInt(IDT), limit: 256 * (bits / 4) - 1 },
    cr0: random.oneIn(2) ? 0x80010031n : 0x80000031n,
    cr3: BigInt(TABLES),
    cr4: mode.cr4 | 0x600n | (random.oneIn(2) ? 0x80n : 0n),
    efer: mode.efer,
  };
}

describe('random page tables', () => {
  it.each(MODES)(
    '$name',
    async (mode) => {
      const reasons = new Map<string, number>();
      for (let seed = first; seed < first + runs; seed++) {
        const random = new Random(seed);
        const report = await survive(`seed ${seed}`, (context) => start(mode, random, context), {
          maxInstructions: 4000,
        });
        reasons.set(report.reason, (reasons.get(report.reason) ?? 0) + 1);
        // The tables are hostile, not refused at entry
        expect(report.failure?.exit.name, `seed ${seed}: ${report.why}`).not.toBe('entry-failure-guest-state');
      }
      expect(reasons.get('max-instructions') ?? 0, JSON.stringify([...reasons])).toBeGreaterThan(0);
    },
    600_000,
  );
});
