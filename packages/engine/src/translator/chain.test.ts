/** Regions that lie in different pages go on to one another without coming back to the run loop. */
import { VmcsField } from '@visorkit/x86';
import { describe, expect, it } from 'vitest';
import { Engine } from '../engine.js';
import type { EngineOptions } from '../engine.js';
import { regionsLeft, writeIdentityTables, writeValidVmcs } from '../testing.js';

const LOOP = 0x1_0000,
  FUNCTION = 0x2_0000,
  STACK = 0x3_0000;
const RSP = 4,
  COUNT = 2_000;
/** In front of the loop: MOV ECX, COUNT; then CALL the function; DEC ECX; JNZ to the CALL; HLT. */
const CODE = [
  0xb9,
  COUNT & 0xff,
  COUNT >>> 8,
  0,
  0,
  0xe8,
  ...distance(LOOP + 10, FUNCTION),
  0xff,
  0xc9,
  0x75,
  0xf7,
  0xf4,
];
/** Flags are handed over: ADD EAX, 0x7fffffff sets OF or CF in turn; ADC EDX, 0 behind the jump to the third page takes CF. */
const FLAGS = 0x2_1000;
const CALLEE = [0x05, 0xff, 0xff, 0xff, 0x7f, 0xe9, ...distance(FUNCTION + 10, FLAGS)],
  BEHIND = [0x83, 0xd2, 0, 0xc3];

function distance(from: number, to: number): number[] {
  return [...new Uint8Array(Int32Array.of(to - from).buffer)];
}

async function machine(options: Pick<EngineOptions, 'translate'>): Promise<Engine> {
  const engine = await Engine.create({ memoryBytes: 4 << 20, ...options });
  writeIdentityTables(engine);
  writeValidVmcs(engine);
  engine.vmcs.write32(VmcsField.EXCEPTION_BITMAP, 0xffff_ffff);
  engine.rflags = 2;
  engine.setRegister32(RSP, STACK);
  return engine;
}

async function run(translates: boolean): Promise<Engine> {
  const engine = await machine(translates ? { translate: { threshold: 50, batch: 1 } } : {});
  engine.memory.write(LOOP, Uint8Array.from(CODE));
  engine.memory.write(FUNCTION, Uint8Array.from(CALLEE));
  engine.memory.write(FLAGS, Uint8Array.from(BEHIND));
  engine.rip = BigInt(LOOP);
  engine.enter();
  return engine;
}

describe('regions in several pages', () => {
  it('do what the interpreter does, flags included, and seldom leave translated code', async () => {
    const plain = await run(false),
      engine = await run(true);
    const seen = (of: Engine): unknown => [
      of.retired,
      of.rip,
      of.rflags,
      ...[0, 1, 2, RSP].map((n) => of.getRegister32(n)),
    ];
    expect(seen(engine)).toEqual(seen(plain));
    expect(engine.getRegister32(2)).toBeGreaterThan(COUNT / 3);
    expect(engine.translator!.retired).toBeGreaterThan(plain.retired * 0.8);
    // four transitions in each round of the loop, of which one in sixty comes back
    expect(regionsLeft(engine)).toBeLessThan((4 * COUNT) / 20);
  });

  it('need not be left for a function of the same page that a register points to, however many others have run more often', async () => {
    // five functions wait to be translated, called twice 49 times; with the sixth and its loop the module is full, after 50
    const engine = await machine({ translate: { threshold: 50, batch: 7 } }),
      functions = Array.from({ length: 6 }, (_, n) => LOOP + 0x800 + 0x10 * n);
    for (const at of functions) engine.memory.write(at, Uint8Array.of(0xff, 0xc2, 0xc3)); // INC EDX; RET
    const loops = functions.slice(0, -1).flatMap((to) => [to, to]);
    loops.forEach((to, n) => {
      const at = LOOP + 0x20 * n;
      engine.memory.write(
        at,
        Uint8Array.from([0xb9, 49, 0, 0, 0, 0xe8, ...distance(at + 10, to), 0xff, 0xc9, 0x75, 0xf7, 0xf4]),
      );
    });
    const byRegister = LOOP + 0x20 * loops.length; // CALL RAX
    engine.memory.write(
      byRegister,
      Uint8Array.of(0xb9, COUNT & 0xff, COUNT >>> 8, 0, 0, 0xff, 0xd0, 0xff, 0xc9, 0x75, 0xfa, 0xf4),
    );
    const enter = (rip: number): void => {
      engine.rip = BigInt(rip);
      engine.enter();
    };
    engine.setRegister32(2, 0);
    loops.forEach((_, n) => enter(LOOP + 0x20 * n));
    const sum = engine.getRegister32(2);
    expect([sum, regionsLeft(engine)]).toEqual([loops.length * 49, 0]);
    engine.setRegister32(0, functions.at(-1)!);
    enter(byRegister);
    expect(engine.getRegister32(2) - sum).toBe(COUNT);
    expect(regionsLeft(engine)).toBeLessThan(10);
  });
});
