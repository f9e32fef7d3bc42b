/** Bad input to the command line: a sentence, a stable code, a status other than 0, and never a crash. */
import { gzipSync } from 'node:zlib';
import { buildBzImage, buildElf, buildMultibootHeader, concatenate } from '@visorkit/formats/testing';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { Scratch, cli, refused } from './test-cli.js';

vi.mock('node:fs', async (original) =>
  (await import('./test-writes.js')).catchWrites(await original<typeof import('node:fs')>()),
);

const scratch = new Scratch();
afterAll(() => scratch.remove());

const loop = scratch.file('loop.bin', [0xeb, 0xfe]);
const common = ['--serial', 'none', '--time', 'virtual', '--max-instructions', '1000'];

const random = Uint8Array.from({ length: 100_000 }, (_, index) => Math.imul(index + 1, 0x9e3779b1) >>> 13);
const arm64 = new Uint8Array(0x1000);
arm64.set(Buffer.from('ARM\x64'), 0x38);
const pe = new Uint8Array(0x400);
pe.set(Buffer.from('MZ'));
pe[0x3c] = 0x80;
pe.set(Buffer.from('PE\0\0\x64\x86', 'latin1'), 0x80);
const elfFor = (machine: number, bits: 32 | 64 = 64): Uint8Array =>
  buildElf({ bits, machine, entry: 0x100000n, segments: [{ physicalAddress: 0x100000n, data: Uint8Array.of(0xf4) }] });

describe('kernel files', () => {
  it.each<[string, string, RegExp, Uint8Array | string]>([
    ['an empty file', 'BOOT_IMAGE_EMPTY', /is empty/, new Uint8Array(0)],
    ['an ELF for AArch64', 'BOOT_FORMAT_UNKNOWN|BOOT_ELF_MACHINE|ELF_MACHINE', /AArch64|ARM64/i, elfFor(183)],
    ['an ELF for RISC-V', '', /RISC-V/, elfFor(243)],
    ['an ELF for 32-bit ARM', '', /ARM/, elfFor(40, 32)],
    ['an ELF for PowerPC', '', /PowerPC/i, elfFor(21)],
    ['an ARM64 Image', 'BOOT_FORMAT_UNKNOWN', /ARM64/, arm64],
    ['a gzip file', 'BOOT_FORMAT_UNKNOWN', /gzip/, gzipSync(random)],
    ['a PE program', 'BOOT_FORMAT_UNKNOWN', /PE executable .* x86-64/, pe],
    ['a script', 'BOOT_FORMAT_UNKNOWN', /a script/, '#!/bin/sh\necho no\n'],
    ['text', 'BOOT_FORMAT_UNKNOWN', /a text file/, 'not a kernel\n'],
    ['many random bytes', 'BOOT_FORMAT_UNKNOWN', /No boot loader recognises/, random],
    ['zeros', 'BOOT_FORMAT_UNKNOWN', /zero bytes/, new Uint8Array(5000)],
  ])('%s', async (what, _code, message, content) => {
    const { status, err } = await cli('run', '--kernel', scratch.file(what.replaceAll(' ', '-'), content), ...common);
    expect(err).toMatch(message);
    expect(err).toMatch(/\[[A-Z]\w+\]/);
    expect(status).toBe(2);
  });

  it('with options or a command line that their loader has no use for', async () => {
    const elf = scratch.file('kernel64.elf', elfFor(62)),
      flat = ['--kernel', loop, '--mode', 'real16'];
    await refused(
      'BOOT_OPTION_UNKNOWN',
      /boot loader "elf", which takes .*kernel64\.elf, has no option "entry"; it has protocol/,
      '--kernel',
      elf,
      '--entry',
      '64',
    );
    await refused(
      'BOOT_COMMAND_LINE_UNUSED',
      /the command line "quiet", which the boot loader "flat" has no way to hand over/,
      ...flat,
      '--append',
      'quiet',
    );
    const config = scratch.file(
      'stray.config.mjs',
      `export default { kernel: ${JSON.stringify(elf)}, loaderOptions: { protocoll: 'elf' } };`,
    );
    await refused('BOOT_OPTION_UNKNOWN', /no option "protocoll"/, '--config', config);
  });

  it('beside firmware that would not find them', async () => {
    const firmware = ['--firmware', scratch.file('firmware.bin', new Uint8Array(0x10000).fill(0x90))];
    await refused('OPTION_VALUE', /--mode is for images that are started directly/, ...firmware, '--mode', 'real16');
    await refused(
      'OPTION_VALUE',
      /--loader is for images that are started directly/,
      ...firmware,
      '--kernel',
      loop,
      '--loader',
      'linux',
    );
    await refused(
      'OPTION_VALUE',
      /--entry is for images that are started directly/,
      ...firmware,
      '--kernel',
      loop,
      '--entry',
      '32',
    );
    await refused('OPTION_VALUE', /a RAM disk only with a kernel/, ...firmware, '--initrd', loop);
    await refused('OPTION_VALUE', /a command line only with a kernel/, ...firmware, '--append', 'quiet');
    await refused(
      'OPTION_VALUE',
      /one RAM disk beside the kernel, and 2 were given/,
      ...firmware,
      '--kernel',
      loop,
      '--initrd',
      loop,
      '--module',
      loop,
    );
    await refused(
      'FILE_UNREADABLE',
      /--kernel names ".*", but it is empty/,
      ...firmware,
      '--kernel',
      scratch.file('empty-kernel', ''),
    );
    await refused(
      'FILE_UNREADABLE',
      /--firmware names ".*nowhere", but there is no such file/,
      '--firmware',
      scratch.path('nowhere'),
    );
    await refused('BOOT_FIRMWARE_SIZE', /has 2 bytes; a multiple of 64 KiB/, '--firmware', loop);
  });

  it('as kernels that the firmware would pass over', async () => {
    const vmlinux = scratch.file('vmlinux', buildElf({ bits: 64, entry: 0n, segments: [] }));
    const firmware = (text: string): string => {
      const image = new Uint8Array(0x10000).fill(0x90);
      image.set(new TextEncoder().encode(text), 0x28);
      return scratch.file(`${text}.bin`, image);
    };
    await refused(
      'BOOT_FIRMWARE_KERNEL',
      /is a 64-bit ELF executable for x86-64, and UEFI firmware starts only EFI applications/,
      '--firmware',
      firmware('_FVH'),
      '--kernel',
      vmlinux,
    );
    await refused(
      'BOOT_FIRMWARE_KERNEL',
      /is a 64-bit ELF executable for x86-64, and SeaBIOS starts only a Linux kernel image/,
      '--firmware',
      firmware('SeaBIOS'),
      '--kernel',
      vmlinux,
    );
  });

  it('that are missing, folders, or not given', async () => {
    await refused(
      'FILE_UNREADABLE',
      /names ".*nowhere", but there is no such file/,
      '--kernel',
      scratch.path('nowhere'),
    );
    await refused('FILE_UNREADABLE', /it is a folder/, '--kernel', scratch.folder);
    await refused('OPTION_MISSING', /name an image with --kernel/);
    await refused('FILE_UNREADABLE', /--initrd names/, '--kernel', loop, '--initrd', scratch.path('nowhere'));
    await refused(
      'FILE_UNREADABLE',
      /--initrd names ".*", but it is empty/,
      '--kernel',
      loop,
      '--initrd',
      scratch.file('empty', ''),
    );
    await refused(
      'FILE_UNREADABLE',
      /"\/dev\/zero", but it is a device; a file or a pipe is right/,
      '--kernel',
      '/dev/zero',
    );
    await refused(
      'OPTION_VALUE',
      /--address is for flat binaries, and ".*" is an ELF file/,
      '--kernel',
      scratch.file('kernel.elf', elfFor(62)),
      '--address',
      '0x5000',
    );
  });

  it('small ones of no known format run as flat binaries with a warning, and silently when that is asked for', async () => {
    const guessed = await cli('run', '--kernel', loop, ...common);
    expect(guessed.err).toMatch(/warn: .*of no known format: its 2 bytes are run as a flat binary/);
    expect(guessed.status).toBe(122);
    for (const asked of [
      ['--loader', 'flat'],
      ['--mode', 'long64'],
      ['--address', '0x8000'],
    ]) {
      const { err, status } = await cli('run', '--kernel', loop, ...common, ...asked);
      expect(err).not.toMatch(/warn/);
      expect(status).toBe(122);
    }
    await refused(
      'BOOT_LOADER_UNKNOWN',
      /no boot loader "flt"; the machine has .*flat/,
      '--kernel',
      loop,
      '--loader',
      'flt',
      '--serial',
      'none',
    );
  });
});

/** Cuts that fall into every part of a file: each of the first bytes, around powers of two, and near the end. */
function cuts(length: number): number[] {
  const wanted = new Set<number>([
    0, 1, 2, 3, 4, 7, 8, 15, 16, 19, 20, 31, 51, 52, 63, 64, 65, 0x1f0, 0x1f1, 0x1fe, 0x1ff, 0x200, 0x201, 0x202, 0x206,
    0x211, 0x230, 0x250, 0x263, 0x264, 0x268,
  ]);
  for (let power = 1; power < length; power *= 2) wanted.add(power).add(power + 1);
  for (const back of [1, 2, 16, 17, 511, 512, 513]) wanted.add(length - back);
  return [...wanted].filter((cut) => cut >= 0 && cut < length).sort((a, b) => a - b);
}

describe('truncated images, at every interesting length', () => {
  const hlt = new Uint8Array(3000).fill(0xf4);
  /** Name, image, and from where on the beginning says what it is. */
  const images: [string, Uint8Array, number][] = [
    ['bzImage', buildBzImage({ kernel: hlt }), 2],
    ['elf64', buildElf({ bits: 64, entry: 0x100000n, segments: [{ physicalAddress: 0x100000n, data: hlt }] }), 4],
    ['elf32', buildElf({ bits: 32, entry: 0x100000n, segments: [{ physicalAddress: 0x100000n, data: hlt }] }), 4],
    [
      'multiboot',
      concatenate(
        buildMultibootHeader(0, {
          header: 0x100000,
          load: 0x100000,
          loadEnd: 0x100000 + 32 + hlt.length,
          bssEnd: 0x102000,
          entry: 0x100020,
        }),
        hlt,
      ),
      12,
    ],
  ];
  it.each(images)(
    '%s',
    async (name, image, known) => {
      const whole = await cli('run', '--kernel', scratch.file(name, image), ...common, '--memory', '64M');
      expect([68, 122], whole.err).toContain(whole.status);
      for (const cut of cuts(image.length)) {
        const { status, err } = await cli(
          'run',
          '--kernel',
          scratch.file(`${name}-cut`, image.subarray(0, cut)),
          ...common,
          '--memory',
          '64M',
        );
        // What is missing may be padding, or what is left may be code: then it runs, with a warning. It never just ends well.
        expect(status, `${cut} bytes: ${err}`).not.toBe(0);
        expect(err, `${cut} bytes`).toMatch(/^visorkit: .{10}/m);
        expect(err, `${cut} bytes`).not.toMatch(/internal error/);
        if (cut >= known && cut < image.length / 2) expect(status, `${cut} bytes: ${err}`).toBe(2);
      }
    },
    60_000,
  );
});

describe('sizes', () => {
  const bzImage = scratch.file(
    'bzImage',
    buildBzImage({ kernel: new Uint8Array(3000).fill(0xf4), initSize: 32 << 20 }),
  );

  it('memory: nonsense, nothing, too little, too much', async () => {
    await refused('SIZE_INVALID', /--memory is "plenty"; it must be/, '--kernel', loop, '--memory', 'plenty');
    await refused('SIZE_INVALID', /--memory is "0"/, '--kernel', loop, '--memory', '0');
    await refused('SIZE_INVALID', /--memory is "-1"/, '--kernel', loop, '--memory=-1');
    await refused('MEMORY_SIZE', /whole 4096-byte pages/, '--kernel', loop, '--memory', '1000', '--serial', 'none');
    await refused('ENGINE_MEMORY', /from 4 KiB to 3990 MiB/, '--kernel', loop, '--memory', '4G', '--serial', 'none');
    await refused('ENGINE_MEMORY', /from 4 KiB to 3990 MiB/, '--kernel', loop, '--memory', '900T', '--serial', 'none');
  });

  it('memory too small for the kernel', async () => {
    const { status, err } = await cli('run', '--kernel', bzImage, '--memory', '8M', ...common);
    expect(err).toMatch(/memory/);
    expect(err).toMatch(/\[BOOT_\w+\]/);
    expect(status).toBe(2);
    const tiny = await cli('run', '--kernel', bzImage, '--memory', '4K', ...common);
    expect(tiny.err).toMatch(/\[\w+\]/);
    expect(tiny.status).toBe(2);
  });

  it('an initrd larger than memory', async () => {
    const initrd = scratch.file('initrd', new Uint8Array(100 << 20));
    const { status, err } = await cli('run', '--kernel', bzImage, '--initrd', initrd, '--memory', '64M', ...common);
    expect(err).toMatch(/initrd|initial RAM disk/i);
    expect(err).toMatch(/memory/);
    expect(err).toMatch(/\[BOOT_\w+\]/);
    expect(status).toBe(2);
  });

  it('processors and limits', async () => {
    await refused(
      'OPTION_VALUE',
      /--cpus takes a whole number from 1 to 255, not "0"/,
      '--kernel',
      loop,
      '--cpus',
      '0',
    );
    await refused('OPTION_VALUE', /--cpus/, '--kernel', loop, '--cpus', 'two');
    await refused('VMX_CPUS', /up to 64 CPUs; 65 were asked for/, '--kernel', loop, '--cpus', '65', '--serial', 'none');
    await refused('OPTION_VALUE', /--timeout takes a positive number/, '--kernel', loop, '--timeout', '0');
    await refused(
      'OPTION_VALUE',
      /--max-instructions takes a whole number/,
      '--kernel',
      loop,
      '--max-instructions',
      '-5',
    );
    await refused('OPTION_VALUE', /--time takes one of real, virtual/, '--kernel', loop, '--time', 'tea');
    await refused('OPTION_VALUE', /--backend takes one of vmx, kvm/, '--kernel', loop, '--backend', 'xen');
    await refused('OPTION_VALUE', /--serial takes stdio, none or file:PATH/, '--kernel', loop, '--serial', 'tcp:1');
    await refused('OPTION_VALUE', /--mode takes one of/, '--kernel', loop, '--mode', 'real');
  });

  it('unknown options and commands', async () => {
    for (const argv of [['run', '--kernle', loop], ['boot'], ['run', '--kernel'], ['run', loop]]) {
      const { status, err } = await cli(...argv);
      expect(err).toMatch(
        /^visorkit: (Unknown (option|command)|Option .* argument missing|Too many arguments).*\. .*"visorkit help" lists the commands.* \[COMMAND_LINE\]\n$/,
      );
      expect(status).toBe(2);
    }
    expect((await cli('run', '--kernle', loop)).err).toContain('Did you mean --kernel?');
  });

  it('outputs that cannot be written', async () => {
    const report = await cli('run', '--kernel', loop, ...common, '--report', scratch.path('no/such/folder'));
    expect(report).toMatchObject({ status: 78, err: expect.stringContaining('[REPORT_FILE]') });
    const serial = await cli('run', '--kernel', loop, '--serial', `file:${scratch.path('no/such/folder')}`);
    expect(serial).toMatchObject({ status: 78, err: expect.stringContaining('[OUTPUT_FILE]') });
  });

  it('a run that could not begin has a report too', async () => {
    const { out, status } = await cli('run', '--kernel', scratch.path('nowhere'), '--report', '-');
    expect(JSON.parse(out)).toMatchObject({ reason: 'not-started', exitStatus: 2, error: { code: 'FILE_UNREADABLE' } });
    expect(status).toBe(2);
  });
});
