/** Filter expressions, by their grammar and by random ones. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { traceFilter } from './filter.js';
import { TraceRecord } from './record.js';

function record(fields: Partial<TraceRecord>): TraceRecord {
  return Object.assign(new TraceRecord(), fields);
}

const exit = record({
  kind: 'exit',
  reason: 'ept-violation',
  cpl: 3,
  cpu: 1,
  rip: 0xffff_ffff_8100_0000n,
  gpa: 0x1000,
  qualification: 0x182n,
  stack: ['vmx_vcpu_run+0x12', 'kvm_arch_vcpu_ioctl_run'],
});

it.each([
  ['reason == "ept-violation"', true],
  ["reason == 'cpuid'", false],
  ['reason == ept-violation', true],
  ['kind==exit&&cpu==1', true],
  ['kind == exit && cpl == 0', false],
  ['kind == io || cpl == 3', true],
  ['cpl == 0 || cpl == 1 && cpu == 1', false],
  ['(cpl == 0 || cpl == 3) && cpu == 1', true],
  ['!(cpl == 3)', false],
  ['!!cpl', true],
  ['cpl', true],
  ['rip == 0xffffffff81000000', true],
  ['rip >= 0xffffffff80000000 && rip < 0xffffffffc0000000', true],
  ['rip <= 4096', false],
  ['cpl > 2', true],
  ['cpl != 3', false],
  ['outcome == nobody', false],
  ['by == hypervisor', false],
  ['qualification & 2', true],
  ['qualification & 1', false],
  ['(qualification & 0x180) == 0x180', true],
  ['gpa & 0xfff', false],
  ['reason in [cpuid, "ept-violation"]', true],
  ['cpl in [0, 1]', false],
  ['reason ~ "ept-*"', true],
  ['reason ~ "*vio*on"', true],
  ['reason ~ "ept"', false],
  ['stack ~ "vmx_*"', true],
  ['stack ~ "svm_*"', false],
  // A field that the event does not have: every comparison is false
  ['msr == 0', false],
  ['msr != 0', false],
  ['msr < 5', false],
  ['!msr', true],
])('%s is %s', (text, holds) => {
  expect(traceFilter(text).matches(exit)).toBe(holds);
});

it('knows which fields it looks at', () => {
  expect([...traceFilter('rip == 1 && (value > 2 || reason == io)').fields].sort()).toEqual(['reason', 'rip', 'value']);
});

it.each([
  ['', 'ends where a value is due'],
  ['rip ==', 'ends where a value is due'],
  ['ripp == 1', 'did you mean "rip"?'],
  ['reason == cpuidd', 'did you mean "cpuid"?'],
  ['(rip == 1', 'a ")" is missing at the end'],
  ['rip == 1 cpl', '"cpl" is more than one expression'],
  ['rip == 0x', 'cannot be read'],
  ['rip = 1', 'cannot be read'],
  ['cpl in [1', 'a "]" is missing'],
  ['process.exit()', 'cannot be read'],
])('%s is refused: %s', (text, why) => {
  expect(() => traceFilter(text)).toThrow(
    expect.objectContaining({ code: 'TRACE_FILTER', message: expect.stringContaining(why) }),
  );
});

it('what goes too deep is refused', () => {
  for (const sign of ['(', '!'])
    expect(() => traceFilter(`${sign.repeat(100_000)}1`)).toThrow(expect.objectContaining({ code: 'TRACE_FILTER' }));
});

it('a pattern of many stars takes no time', () => {
  expect(traceFilter(`reason ~ "${'*a'.repeat(5_000)}"`).matches(record({ reason: 'a'.repeat(4_999) }))).toBe(false);
});

it('any text is an expression or refused with its place', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...'rip cpl&&||==!<>()[],"0x1~in'.split('')) }), (text) => {
      try {
        traceFilter(text).matches(exit);
      } catch (error) {
        expect(error).toMatchObject({ code: 'TRACE_FILTER' });
      }
    }),
  );
});

it('comparisons of random numbers are JavaScript’s own', () => {
  fc.assert(
    fc.property(fc.bigInt(0n, (1n << 64n) - 1n), fc.bigInt(0n, (1n << 64n) - 1n), (a, b) => {
      const of = record({ rip: a });
      expect(traceFilter(`rip < ${b}`).matches(of)).toBe(a < b);
      expect(traceFilter(`rip >= 0x${b.toString(16)}`).matches(of)).toBe(a >= b);
      expect(traceFilter(`(rip & ${b}) == ${a & b}`).matches(of)).toBe(true);
    }),
  );
});
