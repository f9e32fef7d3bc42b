/** Kernels that start by their 16-bit entry: by the services for real mode, and by firmware of a PC. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { checksPassed, fetchDebianPackage } from '@visorkit/guests';
import { buildBzImage } from '@visorkit/formats/testing';
import { listing } from '@visorkit/machine';
import { beforeAll, describe, expect, it } from 'vitest';
import { BOOT_TIMEOUT, POWERED_OFF, boot, find, findDebianGuest, titled } from './boots.js';
import type { Boot } from './boots.js';

describe('a kernel without a BIOS', () => {
  /** Where setup code begins: the boot sector's jump leads there. */
  const SETUP_CODE = 0x26c;
  /**
   * Counts the entries of the memory map, asks for sizes in the older ways, moves its boot sector beyond 1 MiB and back, asks for a disk and a key that
   * there are not, and waits for a tick of the clock.
   * It prints the count and "t", or "!" where something is not as it should be.
   */
  const code = listing(`
                           | start:
      6631db               | xor ebx,ebx
      be3000               | mov si,'0'
                           | .map:
      66b820e80000         | mov eax,0xe820
      66ba50414d53         | mov edx,0x534d4150
      66b914000000         | mov ecx,20
      bf0080               | mov di,0x8000
      cd15                 | int 0x15
      7274                 | jc bad
      46                   | inc si
      6609db               | or ebx,ebx
      75e1                 | jnz .map
      89f0                 | mov ax,si
      e87000               | call put
      cd12                 | int 0x12
      3d7f02               | cmp ax,639
      7562                 | jne bad
      b488                 | mov ah,0x88
      cd15                 | int 0x15
      725c                 | jc bad
      83f8ff               | cmp ax,0xffff
      7557                 | jne bad
      b801e8               | mov ax,0xe801
      cd15                 | int 0x15
      7250                 | jc bad
      3d003c               | cmp ax,0x3c00
      754b                 | jne bad
      8cd8                 | mov ax,ds
      c1e80c               | shr ax,12
      a22703               | mov [there+0x14],al
      a25f03               | mov [back+0x1c],al
      be1303               | mov si,there
      e84600               | call move
      7238                 | jc bad
      be4303               | mov si,back
      e83e00               | call move
      7230                 | jc bad
      813efe8155aa         | cmp word [0x81fe],0xaa55
      7528                 | jne bad
      31c0                 | xor ax,ax
      cd13                 | int 0x13
      7322                 | jnc bad
      b401                 | mov ah,1
      cd16                 | int 0x16
      751c                 | jnz bad
      b400                 | mov ah,0
      cd1a                 | int 0x1a
      89d5                 | mov bp,dx
      fb                   | sti
                           | .tick:
      f4                   | hlt
      b400                 | mov ah,0
      cd1a                 | int 0x1a
      39ea                 | cmp dx,bp
      74f7                 | je .tick
      b074                 | mov al,'t'
      e80e00               | call put
                           | end:
      b00a                 | mov al,10
      e80900               | call put
      fa                   | cli
      f4                   | hlt
                           | bad:
      b021                 | mov al,'!'
      e80200               | call put
      ebf2                 | jmp short end
                           | put:
      b40e                 | mov ah,0x0e
      cd10                 | int 0x10
      c3                   | ret
                           | move:
      b90001               | mov cx,0x100
      b487                 | mov ah,0x87
      cd15                 | int 0x15
      c3                   | ret
                           | there:
      0000000000000000     | dq 0
      0000000000000000     | dq 0
      ff0f000000930000     | dq 0x0000930000000fff
      ff0f000010930000     | dq 0x0000931000000fff
      0000000000000000     | dq 0
      0000000000000000     | dq 0
                           | back:
      0000000000000000     | dq 0
      0000000000000000     | dq 0
      ff0f000010930000     | dq 0x0000931000000fff
      ff0f008000930000     | dq 0x0000930080000fff
      0000000000000000     | dq 0
      0000000000000000     | dq 0
  `);

  it('finds the memory map, the clock and the serial port, and is told what there is not', async () => {
    const image = buildBzImage({ kernel: new Uint8Array(64) });
    image.set(code.bytes, SETUP_CODE);
    const { output, report } = await boot({ image, options: { entry: 16 } }, 50e6);
    expect(output).toBe('3t\n');
    expect(report.reason).toBe('halted');
  });
});

const kernel = await findDebianGuest('amd64');
const seabios = await find(() => fetchDebianPackage('seabios'));
const qemu = await find(() => fetchDebianPackage('qemu-system-data'));
const syslinux = await find(() => fetchDebianPackage('syslinux-common'));
const missing = (...all: readonly { readonly missing: string }[]): { value: undefined; missing: string } => ({
  value: undefined,
  missing: all.map((one) => one.missing).join(''),
});
const bios = (): Uint8Array => readFileSync(join(seabios.value.root, 'usr/share/seabios/bios.bin'));
const memdisk = (): Uint8Array => readFileSync(join(syslinux.value.root, 'usr/lib/syslinux/memdisk'));

describe.skipIf(kernel.missing !== '')(titled("Debian's kernel in real mode", kernel), () => {
  let run: Boot;
  beforeAll(async () => {
    const { kernel: file, initramfs } = kernel.value;
    run = await boot({
      image: readFileSync(file),
      initramfs,
      mode: 'check',
      append: 'cryptomgr.notests',
      options: { entry: 16 },
    });
  }, BOOT_TIMEOUT);

  it('gets the memory map from its own setup code', () => {
    expect(run.output).toContain('BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable');
  });

  it('passes its checks and powers off', () => {
    expect(checksPassed(run.output)).toBe(true);
    expect(run.report).toMatchObject(POWERED_OFF);
  });
});

const qboot = missing(kernel, qemu);
describe.skipIf(qboot.missing !== '')(titled("Debian's kernel by qboot", qboot), () => {
  it(
    'passes its checks and powers off',
    async () => {
      const { kernel: file, initramfs } = kernel.value;
      const { output, report } = await boot({
        image: readFileSync(file),
        firmware: readFileSync(join(qemu.value.root, 'usr/share/qemu/qboot.rom')),
        initramfs,
        mode: 'check',
        append: 'cryptomgr.notests',
      });
      expect(checksPassed(output)).toBe(true);
      expect(report).toMatchObject(POWERED_OFF);
    },
    BOOT_TIMEOUT,
  );
});

const byBios = missing(kernel, seabios);
describe.skipIf(byBios.missing !== '')(titled("Debian's kernel by SeaBIOS", byBios), () => {
  it(
    'is started from the option ROM, with its command line and RAM disk',
    async () => {
      const { kernel: file, initramfs } = kernel.value;
      const { output, report } = await boot({
        image: readFileSync(file),
        firmware: bios(),
        initramfs,
        mode: 'check',
        append: 'cryptomgr.notests',
      });
      expect(output).toContain('Booting from ROM');
      expect(checksPassed(output)).toBe(true);
      expect(report).toMatchObject(POWERED_OFF);
    },
    BOOT_TIMEOUT,
  );
});

const disk = missing(syslinux, seabios);
describe.skipIf(disk.missing !== '')(titled('MEMDISK', disk), () => {
  it(
    'boots a floppy image that comes as the RAM disk',
    async () => {
      // Prints by the BIOS, which keeps the last character back: MOV AX, 0E00H + character; INT 10H …
      const sector = new Uint8Array(1440 * 1024);
      sector.set([...'floppy!'].flatMap((letter) => [0xb8, letter.charCodeAt(0), 0x0e, 0xcd, 0x10]));
      sector.set([0xfa, 0xf4], 35);
      sector.set([0x55, 0xaa], 510);
      const { output, report } = await boot({ image: memdisk(), firmware: bios(), disk: sector }, 3e9);
      expect(output).toMatch(/Disk is fd0, 1440 K[\s\S]*floppy/);
      expect(report.reason).toBe('halted');
    },
    BOOT_TIMEOUT,
  );
});
