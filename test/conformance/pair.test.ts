/** Several machines at once, in one process, on one and on different backends: none meets another. */
import { describe, expect, it } from 'vitest';
import { BACKENDS } from './backends.js';
import { AX, CX, code } from './code.js';
import { createMachine, runOn } from './machine.js';
import type { Guest } from './machine.js';

/** Prints `letter` and writes it over its memory, two thousand times with a pause between them. */
const guest = (letter: string): Guest => ({
  mode: 'protected32',
  code: code()
    .mov(CX, 2000)
    .label('again')
    .mov(AX, letter.charCodeAt(0))
    .raw(0xa2, 0, 0x60, 0, 0)
    .raw(0x66, 0xba, 0xf8, 0x03)
    .outDxAl()
    .raw(0xa0, 0, 0x60, 0, 0)
    .outDxAl()
    .loop('again')
    .end(),
  shows: { letter: [0x6000, 1] },
});

describe.each(BACKENDS)('two machines at once on $name', (backend) => {
  it('compute for themselves', async () => {
    const outcomes = await Promise.all(['a', 'b', 'c'].map((letter) => runOn(backend, guest(letter))));
    expect(outcomes.map(({ output, memory }) => [output, memory.letter])).toEqual(
      ['a', 'b', 'c'].map((letter) => [letter.repeat(4000), [letter.charCodeAt(0)]]),
    );
  });

  it('one goes on when another is disposed of', async () => {
    const [first, second] = await Promise.all([createMachine(backend, guest('x')), createMachine(backend, guest('y'))]);
    const run = first.vmm.run({ timeout: 20 });
    await second.vmm.dispose();
    const { reason, why } = await run;
    expect(first.outcome(reason, why)).toMatchObject({ reason: 'halted', output: 'x'.repeat(4000) });
    await first.vmm.dispose();
  });
});

it.skipIf(BACKENDS.length < 2)('machines of all backends at once', async () => {
  const outcomes = await Promise.all(BACKENDS.map((backend) => runOn(backend, guest('z'))));
  for (const outcome of outcomes) expect(outcome).toEqual(outcomes[0]);
});
