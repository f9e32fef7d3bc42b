/** Multiboot kernels: modules, information, and what is refused. */
import { buildElf, buildMultibootHeader, concatenate } from '@visorkit/formats/testing';
import { recordingBootContext } from '@visorkit/machine/testing';
import { describe, expect, test } from 'vitest';
import { MultibootLoader } from './multiboot-loader.js';

const loader = new MultibootLoader();
const code = Uint8Array.of(0xf4, 0xeb, 0xfd, 0x90);
/** Like a program of kvm-unit-tests: ELF32, two segments from 4 MiB, header in the first. */
const flat = (): Uint8Array =>
  buildElf({
    bits: 32,
    entry: 0x40000cn,
    segments: [
      { physicalAddress: 0x400000n, data: concatenate(buildMultibootHeader(0), code) },
      { physicalAddress: 0x410000n, data: code, memorySize: 0x8000n },
    ],
  });
const kludge = (addresses: {
  header: number;
  load: number;
  loadEnd: number;
  bssEnd: number;
  entry: number;
}): Uint8Array => concatenate(new Uint8Array(16), buildMultibootHeader(0, addresses), code, new Uint8Array(100));

describe('MultibootLoader', () => {
  test('recognises the header in ELF files and others', () => {
    expect(loader.recognises(flat())).toBe(true);
    expect(
      loader.recognises(kludge({ header: 0x100010, load: 0x100000, loadEnd: 0, bssEnd: 0, entry: 0x100030 })),
    ).toBe(true);
    expect(loader.recognises(buildElf({ bits: 32, entry: 0n, segments: [] }))).toBe(false);
    expect(loader.recognises(new Uint8Array(0))).toBe(false);
  });

  test('machine state and information of an ELF kernel', () => {
    const environ = new TextEncoder().encode('NR_CPUS=1\nTEST_DEVICE=1\n');
    const context = recordingBootContext({
      image: flat(),
      imageName: 'x86/msr.flat',
      commandLine: '-smp 1',
      modules: [{ name: 'environ a=b', data: environ }],
    });
    loader.load(context);
    const { memory } = context;
    const state = context.state();
    expect(state).toMatchObject({ mode: 'protected32', rip: 0x40000cn, cr0: 0x11n, rflags: 2n });
    expect(state.registers?.rax).toBe(0x2badb002n);
    expect(state.segments?.cs).toMatchObject({ selector: 8, base: 0n, limit: 0xffffffff, accessRights: 0xc09b });
    expect(memory.read(0x410000, 4)).toEqual(code);

    const info = Number(state.registers?.rbx);
    expect(info).toBeLessThan(0x9fc00);
    expect(memory.readU32(info)).toBe(0x24d);
    expect(memory.readU32(info + 4)).toBe(639); // KiB below 0x9fc00
    expect(memory.readU32(info + 8)).toBe(63 * 1024);
    expect(context.string(memory.readU32(info + 16))).toBe('x86/msr.flat -smp 1');

    expect(memory.readU32(info + 20)).toBe(1);
    const module = memory.readU32(info + 24);
    const start = memory.readU32(module);
    expect(start % 4096).toBe(0);
    expect(start).toBeGreaterThanOrEqual(0x418000);
    expect(memory.readU32(module + 4)).toBe(start + environ.length);
    expect(memory.read(start, environ.length)).toEqual(environ);
    expect(context.string(memory.readU32(module + 8))).toBe('environ a=b');

    const entries: { gpa: number; size: number; type: number }[] = [];
    const map = memory.readU32(info + 48);
    for (let at = map; at < map + memory.readU32(info + 44); at += memory.readU32(at) + 4) {
      entries.push({
        gpa: Number(memory.readU64(at + 4)),
        size: Number(memory.readU64(at + 12)),
        type: memory.readU32(at + 20),
      });
    }
    expect(entries).toEqual(context.memoryMap);
    expect(context.string(memory.readU32(info + 64))).toBe('visorkit');
  });

  test('tells of the text screen where the machine has one', () => {
    const context = recordingBootContext({ image: flat(), textScreen: true });
    loader.load(context);
    const info = Number(context.state().registers?.rbx);
    const { memory } = context;
    expect(memory.readU32(info)).toBe(0x124d);
    expect(memory.readU64(info + 88)).toBe(0xb8000n);
    expect([96, 100, 104].map((field) => memory.readU32(info + field))).toEqual([160, 80, 25]);
    expect([memory.readU8(info + 108), memory.readU8(info + 109)]).toEqual([16, 2]);
  });

  test('the command line of a kernel without arguments is its name', () => {
    const context = recordingBootContext({ image: flat(), imageName: 'a.flat' });
    loader.load(context);
    expect(context.string(context.memory.readU32(Number(context.state().registers?.rbx) + 16))).toBe('a.flat');
  });

  test('loads by the a.out kludge, and clears bss', () => {
    const image = kludge({ header: 0x200010, load: 0x200000, loadEnd: 0x200040, bssEnd: 0x201000, entry: 0x200030 });
    const context = recordingBootContext({ image });
    context.memory.fill(0x200000, 0x2000, 0xcc);
    loader.load(context);
    expect(context.memory.read(0x200000, 0x40)).toEqual(image.subarray(0, 0x40));
    expect(context.memory.read(0x200040, 0xfc0)).toEqual(new Uint8Array(0xfc0));
    expect(context.memory.readU8(0x201000)).toBe(0xcc);
    expect(context.state().rip).toBe(0x200030n);
  });

  test.each<[string, string, RegExp, Uint8Array]>([
    [
      'requirements it does not know',
      'MULTIBOOT_UNSUPPORTED',
      /flags 0x8\)/,
      buildElf({
        bits: 32,
        entry: 0x100000n,
        segments: [{ physicalAddress: 0x100000n, data: buildMultibootHeader(8) }],
      }),
    ],
    [
      'a file that nothing says where to load',
      'MULTIBOOT_MALFORMED',
      /nothing says where to load/,
      buildMultibootHeader(0),
    ],
    [
      'an entry outside',
      'MULTIBOOT_MALFORMED',
      /entry_addr 0x5/,
      kludge({ header: 0x100010, load: 0x100000, loadEnd: 0, bssEnd: 0, entry: 5 }),
    ],
    [
      'addresses that contradict each other',
      'MULTIBOOT_MALFORMED',
      /load_addr/,
      kludge({ header: 0x100010, load: 0x200000, loadEnd: 0, bssEnd: 0, entry: 5 }),
    ],
    [
      'a place outside memory',
      'BOOT_OUTSIDE_MEMORY',
      /RAM only at/,
      kludge({ header: 0x80000010, load: 0x80000000, loadEnd: 0, bssEnd: 0, entry: 0x80000000 }),
    ],
    [
      'an ELF file of another machine',
      'MULTIBOOT_UNSUPPORTED',
      /for ARM;/,
      buildElf({
        bits: 32,
        machine: 40,
        entry: 0n,
        segments: [{ physicalAddress: 0n, data: buildMultibootHeader(0) }],
      }),
    ],
  ])('refuses %s', (_what, code_, message, image) => {
    expect(() => loader.load(recordingBootContext({ image }))).toThrow(
      expect.objectContaining({ code: code_, message: expect.stringMatching(message) }),
    );
  });
});
