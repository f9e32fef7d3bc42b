/** AML as bytes, against the specification's encodings. */
import { describe, expect, it } from 'vitest';
import fc from 'fast-check';
import {
  buffer,
  device,
  eisaId,
  integer,
  ioPorts,
  isaInterrupt,
  name,
  namePath,
  packageOf,
  resources,
  scope,
  string,
} from './aml.js';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

describe('AML (ACPI 6.4, chapter 20)', () => {
  it('writes integers in their shortest form', () => {
    expect(
      [0, 1, 2, 0xff, 0x100, 0xffff, 0x10000, 0xffff_ffff, 0x1_0000_0000].map((value) => hex(integer(value))),
    ).toEqual(['00', '01', '0a02', '0aff', '0b0001', '0bffff', '0c00000100', '0cffffffff', '0e0000000001000000']);
  });

  it('writes names, pads them, and joins paths', () => {
    expect(hex(namePath('_S5'))).toBe(Buffer.from('_S5_').toString('hex'));
    expect(hex(namePath('\\_SB'))).toBe(`5c${Buffer.from('_SB_').toString('hex')}`);
    expect(hex(namePath('\\_SB.PCI0'))).toBe(`5c2e${Buffer.from('_SB_PCI0').toString('hex')}`);
    expect(hex(namePath('A.B.C'))).toBe(`2f03${Buffer.from('A___B___C___').toString('hex')}`);
    expect(hex(namePath('\\'))).toBe('5c00');
  });

  it('compresses EISA IDs as the specification shows', () => {
    expect(hex(eisaId('PNP0A03'))).toBe('0c41d00a03');
    expect(hex(eisaId('PNP0501'))).toBe('0c41d00501');
  });

  it('nests packages, scopes and devices', () => {
    expect(hex(name('_S5', packageOf(integer(0), integer(0))))).toBe(
      `08${Buffer.from('_S5_').toString('hex')}120402 0000`.replace(' ', ''),
    );
    expect(hex(scope('\\_SB', device('COM1', name('_UID', integer(1)))))).toBe(
      `10135c${Buffer.from('_SB_').toString('hex')}5b820b${Buffer.from('COM1').toString('hex')}08${Buffer.from('_UID').toString('hex')}01`,
    );
  });

  it('writes resource descriptors', () => {
    expect(hex(ioPorts(0x3f8, 8))).toBe('4701f803f8030108');
    expect(hex(isaInterrupt(4))).toBe('221000');
    expect(hex(resources(isaInterrupt(4)))).toBe('11080a05' + '221000' + '7900');
  });

  it('gives every length an encoding that counts itself', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.integer({ min: 0, max: 80 }), fc.integer({ min: 4060, max: 4110 }), fc.constant(0x10_0000)),
        (length) => {
          const bytes = buffer(new Uint8Array(length));
          const lead = bytes[1];
          const extra = lead >> 6;
          let decoded = extra === 0 ? lead & 0x3f : lead & 0xf;
          for (let index = 0; index < extra; index++) decoded += bytes[2 + index] * 2 ** (4 + 8 * index);
          expect(decoded).toBe(bytes.length - 1);
        },
      ),
    );
  });

  it('ends strings with a zero', () => {
    expect(hex(string('ACPI'))).toBe('0d4143504900');
  });
});
