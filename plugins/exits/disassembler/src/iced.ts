/** Disassembly for reports, with iced-x86. The library is loaded when it is first needed: most runs never are. */
import { createRequire } from 'node:module';
import type { Disassembler } from '@visorkit/core';

type Iced = typeof import('iced-x86');

export class IcedDisassembler implements Disassembler {
  #iced: Iced | undefined;

  disassemble(bytes: Uint8Array, rip: bigint, bits: 16 | 32 | 64, count: number): string[] {
    this.#iced ??= createRequire(import.meta.url)('iced-x86') as Iced;
    const { Decoder, DecoderOptions, Formatter, FormatterSyntax, Instruction } = this.#iced;
    const decoder = new Decoder(bits, bytes, DecoderOptions.None);
    const formatter = new Formatter(FormatterSyntax.Intel);
    const instruction = new Instruction();
    const lines: string[] = [];
    decoder.ip = rip;
    while (lines.length < count && decoder.canDecode) {
      decoder.decodeOut(instruction);
      const start = Number(instruction.ip - rip);
      const hex = Buffer.from(bytes.subarray(start, start + instruction.length)).toString('hex');
      lines.push(
        `${instruction.ip.toString(16).padStart(16, '0')}  ${hex.padEnd(22)}  ${instruction.isInvalid ? '(bad)' : formatter.format(instruction)}`,
      );
    }
    instruction.free();
    formatter.free();
    decoder.free();
    return lines;
  }
}
