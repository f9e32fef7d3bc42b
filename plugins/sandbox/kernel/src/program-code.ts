/** The program's code as text, for people: its first instructions, and those around a fault. */
import type { Disassembler } from '@visorkit/core';
import { ElfSegmentType } from '@visorkit/formats';
import type { ElfFile } from '@visorkit/formats';
import type { PagedMemory } from './user-memory.js';

const PAGE = 4096,
  LONGEST_INSTRUCTION = 15;
/** Instructions that are shown from an address on, and before it. */
const SHOWN = 5,
  SHOWN_BEFORE = 2;
/** Bytes before RIP in which instructions are looked for. */
const BEFORE = 32;

export class ProgramCode {
  constructor(
    private readonly memory: PagedMemory,
    private readonly disassembler: Disassembler | undefined,
  ) {}

  /** The first five at the entry point, which was loaded at `entry`; from the file, since their page is not in memory yet. */
  first(program: ElfFile, entry: bigint): readonly string[] {
    for (const segment of program.segments) {
      const offset = Number(program.entry - segment.virtualAddress);
      if (segment.type !== ElfSegmentType.LOAD || offset < 0 || offset >= segment.fileSize) continue;
      return (
        this.disassembler?.disassemble(
          program.segmentBytes(segment).slice(offset, offset + SHOWN * LONGEST_INSTRUCTION),
          entry,
          64,
          SHOWN,
        ) ?? []
      );
    }
    return [];
  }

  /** Two instructions before RIP, where they can be told, and five from it on; the one at RIP is marked. */
  around(rip: bigint): string[] {
    const from = this.#disassemble(rip, this.#readable(Number(rip), SHOWN * LONGEST_INSTRUCTION), SHOWN);
    if (from.length === 0) return [];
    return [
      ...this.#before(rip).map((line) => `  ${line}`),
      ...from.map((line, i) => `${i === 0 ? '> ' : '  '}${line}`),
    ];
  }

  /**
   * x86 code cannot be decoded backwards. Of all starting points whose instructions end exactly at RIP the farthest is
   * taken, because decoding soon synchronises with the real instructions.
   */
  #before(rip: bigint): readonly string[] {
    const bytes = this.memory.peek(Number(rip) - BEFORE, BEFORE);
    if (bytes === undefined) return [];
    const next = rip.toString(16).padStart(16, '0');
    for (let start = 0; start < BEFORE; start++) {
      const code = new Uint8Array([...bytes.subarray(start), ...this.#readable(Number(rip), LONGEST_INSTRUCTION)]);
      const lines = this.#disassemble(rip - BigInt(BEFORE - start), code, BEFORE);
      const at = lines.findIndex((line) => line.startsWith(next));
      if (at > 0 && !lines.slice(0, at).some((line) => line.includes('(bad)')))
        return lines.slice(Math.max(0, at - SHOWN_BEFORE), at);
    }
    return [];
  }

  /** Bytes from an address on, up to `length`, as far as they can be read. */
  #readable(address: number, length: number): Uint8Array {
    return (
      this.memory.peek(address, length) ??
      this.memory.peek(address, Math.min(length, PAGE - (address % PAGE))) ??
      new Uint8Array(0)
    );
  }

  #disassemble(address: bigint, bytes: Uint8Array, count: number): readonly string[] {
    if (bytes.length === 0) return [];
    return (
      this.disassembler?.disassemble(bytes, address, 64, count) ?? [Buffer.from(bytes.subarray(0, 16)).toString('hex')]
    );
  }
}
