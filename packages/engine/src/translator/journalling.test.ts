/** A processor that tells of its stores does what it does otherwise, and what it tells is enough to undo all that it has written. */
import { readFileSync } from 'node:fs';
import { ExitReason } from '@visorkit/x86';
import { describe, expect, it } from 'vitest';
import { Engine } from '../engine.js';
import { processorModule } from '../module.js';
import { writeIdentityTables, writeValidVmcs } from '../testing.js';
import { WebAssembly } from '../webassembly.js';
import { journallingProcessor } from './journalling.js';
import { Places } from './places.js';

const CODE = 0x1_0000,
  DATA = 0x3_0000;
/** FXSAVE [RBX]; MOV RDI, RBX; ADD RDI, 4096 - 8; MOV ECX, 16; REP STOSB, across a page; MOVUPS [RBX + 600], XMM0; PUSH RBX; UD2, which no IDT is for. */
const PROGRAM = '0fae03 4889df 4881c7f80f0000 b910000000 f3aa 0f118358020000 53 0f0b'.replaceAll(' ', '');

function guest(engine: Engine): Engine {
  writeIdentityTables(engine);
  writeValidVmcs(engine);
  engine.cr4 = 0x620n;
  engine.memory.write(CODE, Uint8Array.from(Buffer.from(PROGRAM, 'hex')));
  engine.memory.fill(DATA, 0x2000, 0xee);
  engine.rip = BigInt(CODE);
  engine.setRegister32(0, 0x55);
  engine.setRegister32(3, DATA);
  engine.setRegister32(4, DATA + 0x1800);
  return engine;
}

describe('a processor that tells of its stores', () => {
  it('is a module that hosts take', () => {
    const bytes = readFileSync(new URL('../../build/engine.wasm', import.meta.url));
    expect(WebAssembly.validate(journallingProcessor(bytes))).toBe(true);
  });

  it('does the same, and tells of every byte that it is about to change', async () => {
    const plain = guest(await Engine.create({ memoryBytes: 1 << 20 })),
      module = await processorModule(undefined, true);
    const engine = guest(
      new Engine(module, { memoryBytes: 1 << 20, translate: { threshold: 0xffff_ffff, verify: true } }),
    );
    const was = engine.bytes.slice(),
      places = new Places(engine.bytes);
    engine.journal.told = (address, bytes) => places.note(address >>> 0, bytes);
    engine.exports.journalFrom!.value = 0;
    const result = engine.enter();
    engine.exports.journalFrom!.value = -1;
    expect([plain.enter(), result]).toEqual([ExitReason.TRIPLE_FAULT, ExitReason.TRIPLE_FAULT]);
    expect(Buffer.compare(engine.memory.read(0, 1 << 20), plain.memory.read(0, 1 << 20))).toBe(0);
    expect(engine.memory.readU8(DATA + 0x1007)).toBe(0x55);
    expect(engine.retired).toBe(plain.retired);
    places.putBack();
    expect(Buffer.compare(engine.bytes, was)).toBe(0);
  });
});
