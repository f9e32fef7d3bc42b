/** Lists of symbols in text, in the forms that Linux and nm write. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { attempt } from '../../samples/samples.js';
import { isSystemMap, readSystemMap } from './system-map.js';

const MAP = `0000000000000000 D __per_cpu_start
000000000001fb40 D cpu_number
0000000001000000 A phys_startup_64
ffffffff81000000 T startup_64
ffffffff81000000 T _stext
ffffffff81000140 t bad_address
ffffffff82613940 D init_task
`;

describe('a System.map', () => {
  const symbols = readSystemMap(MAP);

  it('gives addresses, letters and the nearest symbol', () => {
    expect(symbols.size).toBe(7);
    expect(symbols.address('init_task')).toBe(0xffff_ffff_8261_3940n);
    expect(symbols.address('nothing')).toBeUndefined();
    expect(symbols.nearest(0xffff_ffff_8100_0150n)).toEqual({
      symbol: { name: 'bad_address', address: 0xffff_ffff_8100_0140n, type: 't' },
      offset: 0x10n,
    });
    expect(symbols.nearest(0xffff_ffff_8100_0001n)!.symbol.name).toBe('startup_64');
    expect(readSystemMap('00001000 T a\n').nearest(0xfffn)).toBeUndefined();
  });

  it('of a kernel that was loaded elsewhere keeps what is no address of it', () => {
    const moved = symbols.moved(0x3a00_0000n);
    expect(moved.address('init_task')).toBe(0xffff_ffff_bc61_3940n);
    expect(moved.address('cpu_number')).toBe(0x1fb40n);
    expect(moved.address('phys_startup_64')).toBe(0x100_0000n);
    expect(symbols.moved(0n)).toBe(symbols);
    // 32 bits, and RVAs of Windows
    const narrow = readSystemMap('01000000 A phys_startup_32\nc1000000 T _text\n').moved(0x100_0000n);
    expect([narrow.address('phys_startup_32'), narrow.address('_text')]).toEqual([0x100_0000n, 0xc200_0000n]);
    expect(readSystemMap('00001000 T NtClose\n').moved(0xffff_f800_0000_0000n).address('NtClose')).toBe(
      0xffff_f800_0000_1000n,
    );
  });
});

describe('other lists', () => {
  it('are read too: nm, nm -S, /proc/kallsyms with modules, lines of Windows', () => {
    const nm = readSystemMap(
      '                 U printf\n                 w __gmon_start__\n0000000000001139 0000000000000017 T main\n',
    );
    expect([...nm]).toEqual([{ name: 'main', address: 0x1139n, type: 'T' }]);
    const kallsyms = readSystemMap('ffffffffc0a01000 t helper\t[xfs]\nffffffff9a200000 T _text\n');
    expect(kallsyms.address('helper')).toBe(0xffff_ffff_c0a0_1000n);
    expect(readSystemMap('c1000000 T _text\r\nc1000010 t x\r\n\r\n').address('_text')).toBe(0xc100_0000n);
  });

  it('are recognised by their first lines', () => {
    for (const text of [MAP, '\n                 U printf\n0000000000001139 T main\n', 'c1000000 T _text\r\n'])
      expect(isSystemMap(text), text).toBe(true);
    for (const text of ['', '{}', 'name { ostype = "Linux"; }', 'ffffffff81000000', 'abc T _text'])
      expect(isSystemMap(text), text).toBe(false);
  });

  it('that are none are refused with what is wrong', () => {
    expect(attempt('VMI_SYMBOLS', () => readSystemMap(''))).toMatch(/has no symbols/);
    expect(attempt('VMI_SYMBOLS', () => readSystemMap(`${MAP}oops\n`, { source: 'x.map' }))).toMatch(
      /^Line 8 of x\.map is "oops"/,
    );
    expect(
      attempt('VMI_SYMBOLS', () =>
        readSystemMap('ffffffffffffffff B The real System.map is in the linux-image-dbg package\n'),
      ),
    ).toMatch(/^Line 1 /);
    const hidden = '0000000000000000 T _text\n0000000000000000 T init_task\n';
    expect(attempt('VMI_SYMBOLS', () => readSystemMap(hidden))).toMatch(/read it as root\.$/);
  });

  it('of random text are refused, or read', () => {
    const piece = fc.constantFrom('ffffffff81000000', ' ', 'T', '\n', '[m]', '\t', 'name', '0', '\r\n', 'U');
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.array(piece, { maxLength: 60 }).map((pieces) => pieces.join('')),
        ),
        (text) => {
          isSystemMap(text);
          attempt('VMI_SYMBOLS', () => readSystemMap(text).nearest(5n));
        },
      ),
      { numRuns: 1000 },
    );
  });
});
