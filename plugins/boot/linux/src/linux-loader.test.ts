/** Booting bzImages: where things lie, and what is refused. */
import { buildBzImage } from '@visorkit/formats/testing';
import { recordingBootContext } from '@visorkit/machine/testing';
import { describe, expect, test } from 'vitest';
import { LinuxLoader } from './linux-loader.js';

const MIB = 1 << 20;
const kernel = new Uint8Array(0x3000).map((_, index) => index * 7);
const loader = new LinuxLoader();

describe('LinuxLoader', () => {
  test('recognises bzImages only', () => {
    expect(loader.recognises(buildBzImage({ kernel }))).toBe(true);
    expect(loader.recognises(new Uint8Array(2048))).toBe(false);
    expect(loader.recognises(new Uint8Array(0))).toBe(false);
  });

  test('64-bit entry: state and memory as the boot protocol asks', () => {
    const initrd = new Uint8Array(5000).fill(0x55);
    const context = recordingBootContext({
      image: buildBzImage({ kernel, initSize: 4 * MIB }),
      commandLine: 'console=ttyS0',
      modules: [{ name: 'initrd', data: initrd }],
      firmwareTables: { rsdp: 0xe0000 },
    });
    loader.load(context);
    const { memory } = context;
    const state = context.state();

    expect(state).toMatchObject({ mode: 'long64', rip: 0x1000200n, cr4: 0x20n, efer: 0x500n, rflags: 2n });
    expect((state.cr0 ?? 0n) & 0x80000001n).toBe(0x80000001n);
    expect(state.segments?.cs).toEqual({ selector: 0x10, base: 0n, limit: 0xffffffff, accessRights: 0xa09b });
    for (const name of ['ds', 'es', 'ss'] as const)
      expect(state.segments?.[name]).toMatchObject({ selector: 0x18, base: 0n, accessRights: 0xc093 });
    expect(memory.read(0x1000000, kernel.length)).toEqual(kernel);
    const gdt = Number(state.gdtr?.base);
    expect(memory.readU64(gdt + 0x10)).toBe(0x00af9b000000ffffn);
    expect(memory.readU64(Number(state.cr3)) & 1n).toBe(1n);

    const page = Number(state.registers?.rsi);
    expect(page % 16).toBe(0);
    expect(memory.readU64(page + 0x70)).toBe(0xe0000n);
    expect(memory.readU8(page + 0x1ef)).toBe(0); // sentinel
    expect(memory.readU16(page + 0x1fe)).toBe(0xaa55);
    expect(context.string(page + 0x202)).toMatch(/^HdrS/);
    expect(memory.readU8(page + 0x210)).toBe(0xff);
    expect(memory.readU8(page + 0x211) & 0x81).toBe(1); // loaded high, no heap
    expect(memory.readU32(page + 0x214)).toBe(0x1000000);
    expect(context.string(memory.readU32(page + 0x228))).toBe('console=ttyS0');
    expect(memory.readU32(page + 0x260)).toBe(4 * MIB);
    expect(memory.readU8(page + 0x0e)).toBe(0); // no lines, so no text screen

    const ramdisk = memory.readU32(page + 0x218);
    expect(memory.readU32(page + 0x21c)).toBe(5000);
    expect(memory.read(ramdisk, 5000)).toEqual(initrd);
    expect(ramdisk).toBe(64 * MIB - 8192); // as high as memory goes, on a page

    const entries = Array.from({ length: memory.readU8(page + 0x1e8) }, (_, index) => {
      const entry = page + 0x2d0 + index * 20;
      return {
        gpa: Number(memory.readU64(entry)),
        size: Number(memory.readU64(entry + 8)),
        type: memory.readU32(entry + 16),
      };
    });
    expect(entries).toEqual(context.memoryMap);
    expect(memory.readU32(page + 0x1e0)).toBe(63 * 1024);
  });

  test('what the loader puts below 1 MiB is in RAM and does not overlap', () => {
    const context = recordingBootContext({ image: buildBzImage({ kernel }), commandLine: 'x'.repeat(2047) });
    loader.load(context);
    const { registers, gdtr, cr3, rsp } = context.state();
    const page = Number(registers?.rsi);
    const ranges = [
      [Number(gdtr?.base), 0x30],
      [Number(rsp) - 0x1000, 0x1000],
      [page, 4096],
      [context.memory.readU32(page + 0x228), 2048],
      [Number(cr3), 6 * 4096],
    ].sort((a, b) => a[0] - b[0]);
    ranges.forEach(([start, size], index) => {
      expect(start).toBeGreaterThanOrEqual(0x1000);
      expect(start + size).toBeLessThanOrEqual(ranges[index + 1]?.[0] ?? 0x9fc00);
    });
  });

  test('32-bit entry on request, and for a kernel that has no other', () => {
    for (const [options, xLoadFlags] of [
      [{ entry: 32 }, 0x7f],
      [{}, 0x04],
    ] as const) {
      const context = recordingBootContext({ image: buildBzImage({ kernel, xLoadFlags }), options });
      loader.load(context);
      const state = context.state();
      expect(state).toMatchObject({ mode: 'protected32', rip: 0x1000000n, cr0: 0x11n });
      expect(state.registers).toMatchObject({ rsi: expect.any(BigInt) });
      expect(state.segments?.cs).toMatchObject({ selector: 0x10, accessRights: 0xc09b });
      expect(state.efer).toBeUndefined();
    }
  });

  test('the zero page tells of the text screen where the machine has one (screen_info)', () => {
    const context = recordingBootContext({ image: buildBzImage({ kernel }), textScreen: true });
    loader.load(context);
    const page = Number(context.state().registers?.rsi);
    // orig_video_mode, orig_video_cols, orig_video_lines, orig_video_isVGA
    expect([6, 7, 0xe, 0xf].map((at) => context.memory.readU8(page + at))).toEqual([3, 80, 25, 1]);
    expect(context.memory.readU16(page + 0x10)).toBe(16);
  });

  test('an old kernel goes to 1 MiB', () => {
    const context = recordingBootContext({ image: buildBzImage({ kernel, protocol: 0x204 }) });
    loader.load(context);
    expect(context.state()).toMatchObject({ mode: 'protected32', rip: 0x100000n });
  });

  test('several modules are one ramdisk, each on a multiple of four', () => {
    const context = recordingBootContext({
      image: buildBzImage({ kernel }),
      modules: [
        { name: 'a', data: Uint8Array.of(1, 2, 3, 4, 5) },
        { name: 'b', data: Uint8Array.of(6, 7) },
      ],
    });
    loader.load(context);
    const page = Number(context.state().registers?.rsi);
    expect(context.memory.read(context.memory.readU32(page + 0x218), 10)).toEqual(
      Uint8Array.of(1, 2, 3, 4, 5, 0, 0, 0, 6, 7),
    );
    expect(context.memory.readU32(page + 0x21c)).toBe(10);
  });

  test('keeps the initrd below initrd_addr_max', () => {
    const context = recordingBootContext({
      image: buildBzImage({ kernel, initrdAddressMax: 0x2ffffff }),
      modules: [{ name: 'i', data: new Uint8Array(10) }],
    });
    loader.load(context);
    const page = Number(context.state().registers?.rsi);
    expect(context.memory.readU32(page + 0x218)).toBe(0x2fff000);
  });

  test('moves a relocatable kernel where its preferred place is taken', () => {
    const context = recordingBootContext({
      image: buildBzImage({ kernel, initSize: MIB }),
      memoryMap: [
        { gpa: 0, size: 0x9fc00, type: 1 },
        { gpa: MIB, size: 15 * MIB, type: 1 },
        { gpa: 16 * MIB, size: 4096, type: 3 },
        { gpa: 16 * MIB + 4096, size: 40 * MIB, type: 1 },
      ],
    });
    loader.load(context);
    expect(context.state().rip).toBe(BigInt(18 * MIB + 0x200));
  });

  test('16-bit entry on request: state and memory as the boot protocol asks ("Running the Kernel")', () => {
    const initrd = new Uint8Array(5000).fill(0x55);
    const image = buildBzImage({ kernel });
    const warnings: string[] = [];
    const context = recordingBootContext({
      image,
      commandLine: 'vga=normal',
      modules: [{ name: 'initrd', data: initrd }],
      options: { entry: 16 },
      warn: (sentence) => void warnings.push(sentence),
    });
    loader.load(context);
    const { memory } = context;
    const { mode, segments, rsp, rflags, cr0, rip } = context.state();
    expect([mode, cr0, rflags]).toEqual(['real16', 0x10n, 2n]);
    for (const name of ['ds', 'es', 'fs', 'gs', 'ss'] as const)
      expect(segments?.[name]).toMatchObject({ selector: 0x1000, base: 0x10000n });
    expect(rsp).toBe(0xfff0n);
    // The services for real mode come first, and jump to the setup code at 1020:0
    const services = Number(segments!.cs!.base + rip!);
    expect([memory.readU16(services + 0x194), memory.readU16(services + 0x196)]).toEqual([0, 0x1020]);

    const setup = 0x10000;
    expect(memory.read(setup, 0x1f1)).toEqual(image.subarray(0, 0x1f1));
    expect(memory.read(setup + 0x400, 0x200)).toEqual(image.subarray(0x400, 0x600));
    expect(memory.read(0x100000, kernel.length)).toEqual(kernel);
    expect(memory.readU8(setup + 0x210)).toBe(0xff);
    expect(memory.readU8(setup + 0x211)).toBe(0x81);
    expect(memory.readU16(setup + 0x224)).toBe(0xfe00);
    expect(memory.readU32(setup + 0x228)).toBe(0x20000);
    expect(context.string(0x20000)).toBe('vga=normal');
    const ramdisk = memory.readU32(setup + 0x218);
    expect(memory.readU32(setup + 0x21c)).toBe(5000);
    expect(memory.read(ramdisk, 5000)).toEqual(initrd);
    expect(warnings).toEqual([expect.stringMatching(/without a BIOS/)]);
  });

  test.each<[string, Parameters<typeof buildBzImage>[0]]>([
    ['an entry that is no address above 1 MiB', { kernel, code32Start: 0, protocol: 0x207, xLoadFlags: 0 }],
    ['an old protocol, and no version of Linux', { kernel, protocol: 0x203, versionText: 'MEMDISK 6.04' }],
    ['a zImage', { kernel, loadFlags: 0 }],
  ])('16-bit entry by itself: %s', (_what, parts) => {
    const context = recordingBootContext({ image: buildBzImage(parts) });
    loader.load(context);
    expect(context.state().mode).toBe('real16');
  });

  test('an old kernel lies and finds its command line where it looks for them', () => {
    const image = buildBzImage({ kernel, protocol: 0x201, loadFlags: 0 });
    const context = recordingBootContext({ image, commandLine: 'root=/dev/fd0' });
    loader.load(context);
    const { memory } = context;
    expect(memory.read(0x10000, kernel.length)).toEqual(kernel);
    expect(memory.readU16(0x90020)).toBe(0xa33f);
    expect(context.string(0x90000 + memory.readU16(0x90022))).toBe('root=/dev/fd0');
    expect(context.state().segments?.ds).toMatchObject({ selector: 0x9000 });
  });

  test.each<[string, string, RegExp, Parameters<typeof recordingBootContext>[0]]>([
    [
      'memory too small',
      'BOOT_MEMORY_TOO_SMALL',
      /needs 53 MiB of memory from 16 MiB on, so at least 69 MiB in all; this machine has 32 MiB/,
      { image: buildBzImage({ kernel, initSize: 53 * MIB }), memorySize: 32 * MIB },
    ],
    [
      'an initrd larger than memory',
      'BOOT_INITRD_TOO_LARGE',
      /initrd has 80 MiB.*room for 47 MiB/,
      { image: buildBzImage({ kernel }), modules: [{ name: 'i', data: new Uint8Array(80 * MIB) }] },
    ],
    [
      'a command line too long',
      'BOOT_COMMAND_LINE_TOO_LONG',
      /300 bytes; this kernel takes up to 255/,
      { image: buildBzImage({ kernel, commandLineSize: 255 }), commandLine: 'x'.repeat(300) },
    ],
    [
      'the 32-bit entry of a zImage',
      'BOOT_ENTRY',
      /has no 32-bit entry \(it is a zImage/,
      { image: buildBzImage({ kernel, loadFlags: 0 }), options: { entry: 32 } },
    ],
    [
      'the 64-bit entry of a 32-bit kernel',
      'BOOT_ENTRY',
      /has no 64-bit entry/,
      { image: buildBzImage({ kernel, xLoadFlags: 0 }), options: { entry: 64 } },
    ],
    [
      'an unknown entry',
      'BOOT_ENTRY',
      /"entry" of the Linux loader is 8;/,
      { image: buildBzImage({ kernel }), options: { entry: 8 } },
    ],
    ['a truncated kernel', 'BZIMAGE_MALFORMED', /truncated/, { image: buildBzImage({ kernel }).subarray(0, 4096) }],
  ])('refuses %s', (_what, code, message, parts) => {
    expect(() => loader.load(recordingBootContext(parts))).toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(message) }),
    );
  });
});
