/** The text screen: memory, cursor, registers (IBM VGA/XGA Technical Reference, chapter 2). */
import { ArrayGuestMemory } from '@visorkit/machine';
import { refusals, savedAndRestored } from '@visorkit/machine/testing';
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { CODE_PAGE_437 } from './code-page.js';
import { VGA_PORTS, VgaText } from './vga-text.js';

let memory: ArrayGuestMemory;
let screen: VgaText;
beforeEach(() => {
  memory = new ArrayGuestMemory(0x100000);
  screen = new VgaText(memory);
  screen.setUp();
});
const crtc = (index: number, value: number): void => screen.writePort(0x3d4, 2, index | (value << 8));
const write = (row: number, column: number, text: string, attribute = 7, start = 0): void =>
  [...text].forEach((letter, index) =>
    memory.writeU16(0xb8000 + start + (row * 80 + column + index) * 2, letter.charCodeAt(0) | (attribute << 8)),
  );

describe('the text screen', () => {
  it('is blank at first, and shows what is in its memory', () => {
    expect(screen.rows()).toEqual(new Array(25).fill(' '.repeat(80)));
    write(0, 0, 'first');
    write(24, 75, 'last.', 0x1f);
    const rows = screen.rows();
    expect([rows[0].trimEnd(), rows[24].trimStart()]).toEqual(['first', 'last.']);
    expect(screen.cells()[24 * 80 + 79]).toBe(0x1f2e);
    memory.writeU16(0xb8000, 0x07c4);
    expect(screen.rows()[0][0]).toBe('─');
    expect(CODE_PAGE_437.length).toBe(256);
    expect(new Set(CODE_PAGE_437).size).toBe(254); // 0, 20H and FFH look the same
  });

  it('has its cursor where the CRT controller says, in reads too', () => {
    crtc(0x0e, 0x07);
    crtc(0x0f, 0x81);
    expect(screen.cursor).toEqual({ row: 24, column: 1, visible: true });
    screen.writePort(0x3d4, 1, 0x0f);
    expect(screen.readPort(0x3d5, 1)).toBe(0x81);
    expect(screen.readPort(0x3d4, 2)).toBe(0x810f);
    crtc(0x0a, 0x20);
    expect(screen.cursor.visible).toBe(false);
    crtc(0x0a, 0x0d);
    crtc(0x0e, 0xff);
    expect(screen.cursor.visible).toBe(false); // beyond the screen
  });

  it('begins where its start address says', () => {
    write(0, 0, 'scrolled by hardware', 7, 80 * 2);
    crtc(0x0c, 0);
    crtc(0x0d, 80);
    expect(screen.rows()[0].trimEnd()).toBe('scrolled by hardware');
    crtc(0x0e, 0);
    crtc(0x0f, 81);
    expect(screen.cursor).toMatchObject({ row: 0, column: 1 });
    crtc(0x0c, 0x3f);
    crtc(0x0d, 0xff); // goes on at the beginning of the memory
    write(0, 0, 'z');
    expect(screen.rows()[0][1]).toBe('z');
  });

  it('tells of movements of the cursor and the screen, and of nothing else', () => {
    let told = 0;
    const end = screen.watch(() => void told++);
    crtc(0x0e, 0);
    crtc(0x0f, 5);
    crtc(0x09, 0x0f);
    expect(told).toBe(1);
    crtc(0x0d, 80);
    expect(told).toBe(2);
    end();
    crtc(0x0f, 6);
    expect(told).toBe(2);
  });

  it('has a beam that comes and goes, and whose register makes the attribute controller wait for an index', () => {
    const seen = new Set([screen.readPort(0x3da, 1), screen.readPort(0x3da, 1)]);
    expect(seen).toEqual(new Set([0, 9]));
    for (let time = 0; time < 2; time++) {
      screen.readPort(0x3da, 1);
      screen.writePort(0x3c0, 1, 0x10);
      screen.writePort(0x3c0, 1, 0x0c + time);
      expect(screen.readPort(0x3c1, 1)).toBe(0x0c + time);
    }
  });

  it('keeps the palette, three numbers of six bits for each colour', () => {
    screen.writePort(0x3c8, 1, 1);
    for (const value of [10, 20, 0xff]) screen.writePort(0x3c9, 1, value);
    screen.writePort(0x3c7, 1, 1);
    expect([0, 1, 2].map(() => screen.readPort(0x3c9, 1))).toEqual([10, 20, 0x3f]);
  });

  it('takes any programming, and goes on from a saved state', () => {
    const ports = VGA_PORTS.flatMap(([first, count]) => Array.from({ length: count }, (_, index) => first + index));
    const access = fc.tuple(fc.constantFrom(...ports), fc.constantFrom(1 as const, 2 as const), fc.nat(0xffff));
    type Access = readonly [port: number, size: 1 | 2, value: number];
    fc.assert(
      fc.property(fc.array(access, { maxLength: 40 }), fc.array(access, { maxLength: 20 }), (before, after) => {
        const [saved, restored] = savedAndRestored<VgaText, Access>({
          make: () => new VgaText(memory),
          act: (device, [port, size, value]) => {
            device.writePort(port, size, value);
            return [device.readPort(port, size), device.cursor.row];
          },
          before,
          after,
          now: 0,
        });
        expect(restored).toEqual(saved);
      }),
    );
    for (const said of refusals(screen).values()) expect(said).toMatch('The state of device "vga-text"');
  });
});
