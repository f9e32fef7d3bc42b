/** What comes between two iterations of a repeated INS or OUTS, although one exit carries out many (SDM 3B 18.2.3.1, 18.3.1.1; SDM 2 REP). */
import { describe, expect, it } from 'vitest';
import { GuestMemoryToken, definePlugin } from '@visorkit/core';
import { exits } from '@visorkit/exits';
import { InterruptSourceToken, PortBusToken, compose } from '@visorkit/machine';
import { providing } from '@visorkit/testkit';
import { vmx } from './index.js';
import { run as runFor } from './test-guest.js';

const NOTES = 0x10,
  PORT = 0x3f8,
  TEXT = 0x600;
const le32 = (v: number): number[] => [v & 255, (v >>> 8) & 255, (v >>> 16) & 255, v >>> 24];
/** MOV DX, 3F8H; MOV CX, count; MOV SI, 600H; MOV DI, 600H. */
const prepare = (count: number): number[] => [0xba, 0xf8, 0x03, 0xb9, count, 0, 0xbe, 0, 6, 0xbf, 0, 6];
const REP_OUTSB = [0xf3, 0x6e],
  REP_INSB = [0xf3, 0x6c];
/** PUSHF; POP AX; OR or AND AH; PUSH AX; POPF */
const trapOn = [0x9c, 0x58, 0x80, 0xcc, 0x01, 0x50, 0x9d],
  trapOff = [0x9c, 0x58, 0x80, 0xe4, 0xfe, 0x50, 0x9d];
const TRAP_OFF_INSTRUCTIONS = 5;
const HLT = 0xf4;
/** MOV AL, CL; OUT 10H, AL; IRET: shows how many iterations were left. */
const noteCount = [0x88, 0xc8, 0xe6, NOTES, 0xcf];
/** Breakpoint 0 with the R/W field `kind` and a length of one byte; CR4.DE on. */
const breakpoint = (address: number, kind: number): number[] => [
  ...[0x0f, 0x20, 0xe0, 0x0c, 0x08, 0x0f, 0x22, 0xe0],
  ...[0x66, 0xb8, ...le32(address), 0x0f, 0x23, 0xc0],
  ...[0x66, 0xb8, ...le32((kind << 16) | 0x401), 0x0f, 0x23, 0xf8],
];
const ON_WRITE = 1,
  ON_IO = 2,
  ON_ACCESS = 3;

/** Runs real-mode code; what it did on both ports in order: characters on 3F8H, numbers on 10H. `onWrite` sees the writes to 3F8H. */
async function run(
  code: readonly number[],
  handlers: Readonly<Record<number, readonly number[]>>,
  onWrite: (count: number, raise: () => void) => void = () => {},
): Promise<(string | number)[]> {
  const events: (string | number)[] = [];
  let writes = 0,
    raised = false;
  const raise = (): void => {
    raised = true;
  };
  const guest = definePlugin({
    name: 'guest',
    uses: { memory: GuestMemoryToken, ports: PortBusToken },
    apply({ hooks, vcpus }, { memory, ports }) {
      const device = {
        readPort: () => {
          events.push('in');
          return 0x2a;
        },
        writePort: (port: number, _size: number, value: number) => {
          events.push(port === PORT ? String.fromCharCode(value) : value);
          if (port === PORT) onWrite(++writes, raise);
        },
      };
      ports.register(PORT, 1, device, 'guest');
      ports.register(NOTES, 1, device, 'guest notes');
      hooks.load.tap('guest', () => {
        memory.write(0x1000, Uint8Array.from([...code, HLT]));
        memory.write(TEXT, Buffer.from('abcdefgh'));
        for (const [vector, bytes] of Object.entries(handlers)) {
          const at = 0x1800 + Number(vector) * 0x20;
          memory.writeU32(Number(vector) * 4, at);
          memory.write(at, Uint8Array.from(bytes));
        }
        vcpus[0].setInitialState({ mode: 'real16', rip: 0x1000n, rsp: 0x8000n });
      });
    },
  });
  await using vmm = compose({
    backend: vmx(),
    memory: 1 << 20,
    time: 'virtual',
    plugins: [
      guest,
      providing(InterruptSourceToken, {
        pending: () => raised,
        acknowledge: () => {
          raised = false;
          return 0x20;
        },
      }),
      ...exits(),
    ],
  });
  await vmm.run({ maxInstructions: 10_000 });
  return events;
}
/** Raises an interrupt at the second write. */
const atSecond = (count: number, raise: () => void): void => {
  if (count === 2) raise();
};

describe('between iterations of', () => {
  it.each([
    ['OUTS', REP_OUTSB, (n: number) => 'abcdefgh'[n]],
    ['INS', REP_INSB, () => 'in'],
  ] as const)('REP %s a single step traps', async (_, instruction, shown) => {
    const events = await run([...prepare(4), ...trapOn, ...instruction, ...trapOff], { 1: noteCount });
    const expected = [3, 2, 1, 0].flatMap((left, n) => [shown(n), left]);
    expect(events).toEqual([...expected, ...new Array<number>(TRAP_OFF_INSTRUCTIONS).fill(0)]);
  });

  it('REP OUTS a breakpoint on the memory that is read traps', async () => {
    const events = await run([...breakpoint(TEXT + 2, ON_ACCESS), ...prepare(4), ...REP_OUTSB], { 1: noteCount });
    expect(events).toEqual(['a', 'b', 'c', 1, 'd']);
    expect(await run([...breakpoint(TEXT + 2, ON_WRITE), ...prepare(4), ...REP_OUTSB], { 1: noteCount })).toEqual([
      'a',
      'b',
      'c',
      'd',
    ]);
  });

  it('REP INS a breakpoint on the memory that is written traps, on the last one too', async () => {
    const events = await run([...breakpoint(TEXT + 3, ON_WRITE), ...prepare(4), ...REP_INSB], { 1: noteCount });
    expect(events).toEqual(['in', 'in', 'in', 'in', 0]);
  });

  it('REP OUTS a breakpoint on the port traps each time', async () => {
    const events = await run([...breakpoint(PORT, ON_IO), ...prepare(3), ...REP_OUTSB], { 1: noteCount });
    expect(events).toEqual(['a', 2, 'b', 1, 'c', 0]);
  });

  it('REP OUTS an interrupt that the device raises is taken', async () => {
    const code = [...prepare(4), 0xfb, ...REP_OUTSB, 0xfa];
    expect(await run(code, { 0x20: noteCount }, atSecond)).toEqual(['a', 'b', 2, 'c', 'd']);
    const masked = [...prepare(4), 0xfa, ...REP_OUTSB, 0xfb, 0x90, 0xfa];
    expect(await run(masked, { 0x20: noteCount }, atSecond)).toEqual(['a', 'b', 'c', 'd', 0]);
  });
});

it('a breakpoint on a port traps after IN and OUT', async () => {
  const out = [0xb0, 0x41, 0xee, 0x90]; // MOV AL, 'A'; OUT DX, AL; NOP
  expect(await run([...breakpoint(PORT, ON_IO), ...prepare(7), ...out], { 1: noteCount })).toEqual(['A', 7]);
  expect(await run([...breakpoint(PORT + 1, ON_IO), ...prepare(7), ...out], { 1: noteCount })).toEqual(['A']);
});

it('a count that is high enough meets the limit of instructions, and takes virtual time', async () => {
  // MOV ECX, -1; REP OUTSB with 32-bit addresses, of the first 64 KiB again and again
  const endless = [0x66, 0xb9, ...le32(0xffff_ffff), 0x66, 0xbe, ...le32(0), 0xba, 0x10, 0, 0x67, ...REP_OUTSB];
  const { report } = await runFor([...endless, HLT], { maxInstructions: 10_000 });
  expect(report.reason).toBe('max-instructions');
  expect(report.guestInstructions).toBe(10_000);
  expect(report.guestNanoseconds).toBeGreaterThanOrEqual(10_000);
});
