/** Times are taken from a kernel's log as they should be. */
import { expect, it } from 'vitest';
import { passesOf } from './kernel-bench.js';
import { table } from './report.js';
import { geometricMean, summarise } from './statistics.js';

const line = (text: string, first: number, last = first) => ({ text, first, last });
const run = (...lines: ReturnType<typeof line>[]) => ({
  lines,
  wallMs: 1,
  peakKiB: 1,
  cpuSeconds: 1,
  status: 1,
  timedOut: false,
  errors: '',
});
const lines = [
  line('READY', 5),
  line('BEGIN fib 0', 9, 10),
  line('END fib 0 4d973 ff', 30, 31),
  line('BEGIN fib 1', 39, 40),
  line('END fib 1 4d973 100', 55, 60),
];

it('times a pass from the end of one line to the beginning of the other', () => {
  expect(passesOf('x', run(...lines, line('DONE', 70)))).toEqual([
    { kernel: 'fib', pass: 0, checksum: '4d973', ticks: 255, ms: 20 },
    { kernel: 'fib', pass: 1, checksum: '4d973', ticks: 256, ms: 15 },
  ]);
});

it("prefers the stamps of the guest's markers", () => {
  expect(passesOf('x', { ...run(...lines, line('DONE', 70)), marks: [11, 29, 41, 54] }).map(({ ms }) => ms)).toEqual([
    18, 13,
  ]);
});

it('says how far a guest came that did not finish', () => {
  expect(() => passesOf('x', run(...lines))).toThrow(
    'x did not finish the kernels: its last line is "END fib 1 4d973 100", its status 1',
  );
});

it('summarises', () => {
  expect(summarise([3, 1, 2])).toEqual({ median: 2, least: 1, most: 3, spread: 1, samples: 3 });
  expect(summarise([4, 1, 2, 3]).median).toBe(2.5);
  expect(summarise([]).median).toBeNaN();
  expect(geometricMean([1, 4, 16])).toBeCloseTo(4);
});

it('lines columns up', () => {
  expect(
    table([
      ['a', 'bb'],
      ['ccc', '1'],
    ]),
  ).toBe('a    bb\nccc   1');
});
