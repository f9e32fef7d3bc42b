/** Flat binaries: modes, addresses, and what is refused. */
import { recordingBootContext } from '@visorkit/machine/testing';
import { describe, expect, test } from 'vitest';
import { FlatLoader } from './flat-loader.js';

const loader = new FlatLoader();
const code = Uint8Array.of(0xba, 0xf8, 0x03, 0x00, 0xd8, 0x04, 0x30, 0xee, 0xb0, 0x0a, 0xee, 0xf4);
const bootSector = new Uint8Array(512).with(0, 0xf4).with(510, 0x55).with(511, 0xaa);

describe('FlatLoader', () => {
  test('recognises code without a header, and boot sectors', () => {
    expect(loader.recognises(code)).toBe(true);
    expect(loader.recognises(bootSector)).toBe(true);
    expect(loader.recognises(Uint8Array.of(0xf4))).toBe(true);
    expect(loader.recognises(new Uint8Array(0x10000).fill(0xf4))).toBe(true);
    expect(loader.recognises(new Uint8Array(0x10001).fill(0xf4))).toBe(false);
    expect(loader.recognises(new Uint8Array(0))).toBe(false);
    expect(loader.recognises(new TextEncoder().encode('#!/bin/sh\n'))).toBe(false);
    expect(loader.recognises(Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 2, 1))).toBe(false);
  });

  test('says what it takes for granted, but of a boot sector', () => {
    expect(loader.assumes(code)).toBe('its 12 bytes are run as a flat binary in real16 mode');
    expect(loader.assumes(bootSector)).toBeUndefined();
  });

  test('real mode at the address asked for, with registers', () => {
    const context = recordingBootContext({
      image: code,
      options: { address: '0x1000', registers: { rax: 2, rbx: '2' } },
    });
    loader.load(context);
    expect(context.memory.read(0x1000, 12)).toEqual(code);
    const state = context.state();
    expect(state).toMatchObject({ mode: 'real16', rip: 0x1000n, rflags: 2n, registers: { rax: 2n, rbx: 2n } });
    expect(state.segments?.cs).toMatchObject({ selector: 0, base: 0n, limit: 0xffff });
  });

  test('the constructor gives defaults that the context overrides', () => {
    const context = recordingBootContext({ image: code, options: { address: 0x3000 } });
    new FlatLoader({ address: 0x2000, registers: { rcx: 1n } }).load(context);
    expect(context.state()).toMatchObject({ rip: 0x3000n, registers: { rcx: 1n } });
  });

  test('a boot sector goes to 7c00 with its drive in DL', () => {
    const context = recordingBootContext({ image: bootSector });
    loader.load(context);
    expect(context.state()).toMatchObject({ mode: 'real16', rip: 0x7c00n, rsp: 0x7c00n, registers: { rdx: 0x80n } });
  });

  test('above 64 KiB in real mode CS holds the segment', () => {
    const context = recordingBootContext({ image: code, options: { address: 0x20010 } });
    loader.load(context);
    expect(context.state()).toMatchObject({ rip: 0x10n, segments: { cs: { selector: 0x2000, base: 0x20000n } } });
  });

  test('protected and long mode', () => {
    const flat = recordingBootContext({
      image: code,
      options: { mode: 'protected32', address: 0x200000, entry: 0x200003 },
    });
    loader.load(flat);
    expect(flat.state()).toMatchObject({
      mode: 'protected32',
      rip: 0x200003n,
      segments: { cs: { accessRights: 0xc09b } },
    });
    const long = recordingBootContext({ image: code, options: { mode: 'long64' } });
    loader.load(long);
    expect(long.state()).toMatchObject({
      mode: 'long64',
      rip: 0x100000n,
      efer: 0x500n,
      cr4: 0x20n,
      segments: { cs: { accessRights: 0xa09b } },
    });
  });

  test('fits a machine of one page more than its code', () => {
    const context = recordingBootContext({ image: code, memorySize: 0x2000, memoryMap: [] });
    loader.load(context);
    expect(context.state()).toMatchObject({ rip: 0x1000n, rsp: 0n });
  });

  test.each<[string, string, RegExp, Parameters<typeof recordingBootContext>[0]]>([
    ['an empty file', 'BOOT_IMAGE_EMPTY', /is empty/, { image: new Uint8Array(0) }],
    [
      'an address that is no number',
      'BOOT_FLAT_OPTION',
      /address of a flat binary is "here"/,
      { image: code, options: { address: 'here' } },
    ],
    [
      'an unknown mode',
      'BOOT_FLAT_OPTION',
      /mode of a flat binary is "real32"/,
      { image: code, options: { mode: 'real32' } },
    ],
    ['an entry outside', 'BOOT_FLAT_OPTION', /entry 0x5 lies outside/, { image: code, options: { entry: 5 } }],
    [
      'real mode above 1 MiB',
      'BOOT_FLAT_OPTION',
      /cannot be reached in real mode/,
      { image: code, options: { address: 0x100000 } },
    ],
    [
      'an unknown register',
      'BOOT_FLAT_OPTION',
      /no general register "eax"/,
      { image: code, options: { registers: { eax: 1 } } },
    ],
    [
      'a register that is no number',
      'BOOT_FLAT_OPTION',
      /"x" of register rax/,
      { image: code, options: { registers: { rax: 'x' } } },
    ],
    [
      'a place outside memory',
      'BOOT_OUTSIDE_MEMORY',
      /RAM only at/,
      { image: code, options: { mode: 'long64', address: 0xf0000000 } },
    ],
    ['modules', 'BOOT_MODULES_UNUSED', /has no way to find/, { image: code, modules: [{ name: 'm', data: code }] }],
  ])('refuses %s', (_what, code_, message, parts) => {
    expect(() => loader.load(recordingBootContext(parts))).toThrow(
      expect.objectContaining({ code: code_, message: expect.stringMatching(message) }),
    );
  });
});
