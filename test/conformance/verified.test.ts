/** A guest of the vmx backend whose translated code runs beside the interpreter does the same, to the instruction. */
import { vmx } from '@visorkit/backend-vmx';
import type { Translate } from '@visorkit/backend-vmx';
import { expect, it } from 'vitest';
import { BACKENDS } from './backends.js';
import { DEVICE, PORTS, createMachine } from './machine.js';
import type { Guest } from './machine.js';

const ROUNDS = 200,
  TABLE = 0x5000,
  HANDLER = 0x6000;
/** A round writes to a table, to a port and a string, reads a device, and faults; RSI and RDI are the table and the device. */
const ROUND = [
  ...[0x48, 0x89, 0x0c, 0xce], // MOV [RSI + RCX * 8], RCX
  ...[0x66, 0xba, PORTS + 1, 0], // MOV DX, PORTS + 1
  ...[0x88, 0xc8, 0xee], // MOV AL, CL; OUT DX, AL
  ...[0x8b, 0x07], // MOV EAX, [RDI]
  ...[0x48, 0x01, 0xc3], // ADD RBX, RAX
  ...[0x0f, 0x0b], // UD2
  ...[0x51, 0x57, 0x48, 0x8d, 0xbe, 0, 8, 0, 0], // PUSH RCX; PUSH RDI; LEA RDI, [RSI + 800H]
  ...[0xf3, 0xaa, 0x5f, 0x59], // REP STOSB; POP RDI; POP RCX
  ...[0xff, 0xc9], // DEC ECX
];
const GUEST: Guest = {
  mode: 'long64',
  // MOV ECX, ROUNDS; the rounds, with JNZ to the first; HLT
  code: [0xb9, ROUNDS, 0, 0, 0, ...ROUND, 0x75, 0x100 - ROUND.length - 2, 0xf4],
  state: { registers: { rsi: BigInt(TABLE), rdi: BigInt(DEVICE) } },
  handlers: { 6: HANDLER },
  data: { [HANDLER]: Uint8Array.of(0x48, 0x83, 0x04, 0x24, 2, 0x48, 0xcf) }, // ADD QWORD [RSP], 2; IRETQ
  shows: { table: [TABLE, 0x1000] },
};

it('verified code', async () => {
  const run = async (translate: Translate) => {
    const backend = vmx({ translate }),
      machine = await createMachine({ ...BACKENDS[0]!, make: () => backend }, GUEST);
    const { reason, why, guestInstructions, exits, statistics } = await machine.vmm.run({ timeout: 20 });
    const outcome = machine.outcome(reason, why);
    await machine.vmm.dispose();
    return { seen: { ...outcome, guestInstructions, exits }, statistics };
  };
  const plain = await run(false),
    verified = await run('verify:2');
  expect(plain.seen.events).toHaveLength(2 * ROUNDS + 1);
  expect(verified.seen).toEqual(plain.seen);
  expect(verified.statistics!['instructions verified']).toBeGreaterThan(plain.seen.guestInstructions / 3);
});
