/** Debian's kernel as a hypervisor: KVM's own modules, programs that use it, and scripts to start them with. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CpioWriter } from '@visorkit/formats';
import type { DebianGuest } from '@visorkit/guests';

const SOURCE = join(import.meta.dirname, '../../boot/guest/kvm.c');
const MODULES = ['virt/lib/irqbypass.ko', 'arch/x86/kvm/kvm.ko', 'arch/x86/kvm/kvm-intel.ko'];
const QEMU = '/usr/bin/qemu-system-x86_64';
/** What QEMU's microvm starts with. */
const FIRMWARE = ['/usr/share/seabios/bios-microvm.bin', '/usr/share/qemu/linuxboot_dma.bin'];

const LOAD = `#!/bin/sh
mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys
insmod /irqbypass.ko; insmod /kvm.ko; insmod /kvm-intel.ko
`;

/** An archive for behind the initramfs: KVM, the program of test/boot/guest/kvm.c as /kvm, and a first process /l1 that runs it `rounds` times for so many CPUIDs. */
export function cpuidArchive(guest: DebianGuest, rounds: number, count: number): Uint8Array {
  const round = `echo BEGIN; /kvm ${count}; echo END\n`;
  return Buffer.concat([
    modules(guest).finish(),
    new CpioWriter()
      .file('kvm', program(), 0o755)
      .file('l1', `${LOAD}${round.repeat(rounds)}poweroff -f\n`, 0o755)
      .finish(),
  ]);
}

/** The same with this machine's QEMU, which runs the guest's own kernel once more. */
export function qemuArchive(guest: DebianGuest, commandLine: string): Uint8Array {
  const cpio = modules(guest);
  for (const file of [QEMU, ...libraries(QEMU)]) cpio.file(file.slice(1), readFileSync(realpathSync(file)), 0o755);
  for (const file of FIRMWARE)
    cpio.file(`fw/${file.slice(file.lastIndexOf('/') + 1)}`, readFileSync(realpathSync(file)));
  cpio.file('vmlinuz', readFileSync(guest.kernel)).file('initrd', readFileSync(guest.initramfs));
  const machine = '-L /fw -M microvm -accel kvm -cpu host -m 256 -nodefaults -nographic -no-reboot -serial stdio';
  const run = `${QEMU} ${machine} -kernel /vmlinuz -initrd /initrd -append "${commandLine}"`;
  cpio.file('l1', `${LOAD}echo BEGIN; ${run}; echo END\npoweroff -f\n`, 0o755);
  return cpio.finish();
}

/** Why there is no QEMU to pack; '' when there is one. */
export function qemuMissing(): string {
  const missing = [QEMU, ...FIRMWARE].find((file) => !existsSync(file));
  return missing === undefined ? '' : `there is no ${missing}; Debian: qemu-system-x86`;
}

/** KVM's modules. Throws when the kernel's package has them not. */
function modules({ kernelPackage: { root } }: DebianGuest): CpioWriter {
  const releases = join(root, 'lib/modules');
  const folder = existsSync(releases) ? join(releases, readdirSync(releases)[0], 'kernel') : releases;
  const cpio = new CpioWriter();
  for (const module of MODULES) {
    const file = join(folder, module);
    if (!existsSync(file)) throw new Error(`the kernel's package has no ${module}`);
    cpio.file(file.slice(file.lastIndexOf('/') + 1), readFileSync(file));
  }
  return cpio;
}

function program(): Uint8Array {
  const folder = mkdtempSync(join(tmpdir(), 'visorkit-kvm-'));
  try {
    const file = join(folder, 'kvm');
    const { status } = spawnSync('gcc', ['-O1', '-static', '-s', '-o', file, SOURCE]);
    if (status !== 0) throw new Error('no static program can be compiled; Debian: gcc, libc6-dev');
    return readFileSync(file);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Shared libraries of a program and its loader, where it looks for them. */
const libraries = (program: string): string[] =>
  execFileSync('ldd', [program], { encoding: 'utf8' })
    .split('\n')
    .flatMap((line) => /(\/\S+) \(0x/.exec(line)?.[1] ?? []);
