/**
 * `visorkit exec` in its own guest: Debian's kernel with its KVM is the hypervisor, this machine's Node runs visorkit on it, with the backend kvm, and the sandbox's kernel is
 * the guest of that. Everything that it needs is in the initramfs.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, realpathSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CpioWriter } from '@visorkit/formats';
import { nestedVmx } from '@visorkit/nested-vmx';
import { describe, expect, it } from 'vitest';
import { BOOT_TIMEOUT, POWERED_OFF, QUICK, boot, find, findDebianGuest, titled } from './boots.js';

const COMMAND = join(import.meta.dirname, '../../apps/visorkit');
const MODULES = ['virt/lib/irqbypass.ko', 'arch/x86/kvm/kvm.ko', 'arch/x86/kvm/kvm-intel.ko'];
/** Of visorkit's packages: what the command's one-file build reads of them when it runs a sandbox on KVM. */
const PACKAGES = [
  ['@visorkit/backend-kvm', /\.js$/],
  ['@visorkit/engine', /\.wasm$/],
  ['@visorkit/sandbox-kernel', /\.(elf|js)$/],
] as const;
const PROGRAM = '#include <stdio.h>\nint main(int n, char **v) { printf("hello from %s\\n", v[n - 1]); return 3; }\n';
const L1 = `#!/bin/sh
mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys
insmod /irqbypass.ko; insmod /kvm.ko; insmod /kvm-intel.ko
/node /visorkit/bin/visorkit.js exec --backend kvm --memory 64M /program "the sandbox"
echo "status $?"
poweroff -f
`;

const found = await find(async () => {
  const { value, missing } = await findDebianGuest('amd64');
  if (missing !== '') throw new Error(missing);
  return { guest: value, files: archive(value.kernelPackage.root) };
});

function archive(root: string): Uint8Array {
  const cpio = new CpioWriter();
  addModules(cpio, root);
  const node = realpathSync(process.execPath);
  cpio.file('node', readFileSync(node), 0o755);
  for (const library of libraries(node)) cpio.file(library.slice(1), readFileSync(realpathSync(library)), 0o755);
  addCommand(cpio);
  return cpio.file('program', program(), 0o755).file('l1', L1, 0o755).finish();
}

function addModules(cpio: CpioWriter, root: string): void {
  const releases = join(root, 'lib/modules');
  const folder = existsSync(releases) ? join(releases, readdirSync(releases)[0], 'kernel') : releases;
  for (const module of MODULES) {
    const file = join(folder, module);
    if (!existsSync(file)) throw new Error(`the kernel's package has no ${module}`);
    cpio.file(file.slice(file.lastIndexOf('/') + 1), readFileSync(file));
  }
}

/** The build of the command, and of its packages what it needs. */
function addCommand(cpio: CpioWriter): void {
  if (!existsSync(join(COMMAND, 'build/parts.cjs'))) throw new Error('there is no build of the command');
  for (const folder of ['bin', 'build']) addTree(cpio, join(COMMAND, folder), `visorkit/${folder}`);
  cpio.file('visorkit/package.json', readFileSync(join(COMMAND, 'package.json')));
  for (const [name, files] of PACKAGES)
    addTree(cpio, realpathSync(join(COMMAND, 'node_modules', name)), `visorkit/node_modules/${name}`, files);
  const koffi = realpathSync(join(COMMAND, 'node_modules/@visorkit/backend-kvm/node_modules/koffi'));
  addTree(cpio, koffi, 'visorkit/node_modules/koffi', /\.c?js$/);
  const native = '@koromix/koffi-linux-x64';
  addTree(cpio, join(koffi, '..', native), `visorkit/node_modules/${native}`, /\.(js|node)$/);
}

/** Files of a folder whose name is one of these, and each package.json. */
function addTree(cpio: CpioWriter, folder: string, to: string, files = /./): void {
  for (const name of readdirSync(folder)) {
    const from = join(folder, name);
    if (statSync(from).isDirectory()) {
      if (name !== 'node_modules') addTree(cpio, from, `${to}/${name}`, files);
    } else if (files.test(name) || name === 'package.json') cpio.file(`${to}/${name}`, readFileSync(from));
  }
}

/** Shared libraries of a program and its loader, where it looks for them. */
function libraries(file: string): string[] {
  return execFileSync('ldd', [file], { encoding: 'utf8' })
    .split('\n')
    .flatMap((line) => /(\/\S+) \(0x/.exec(line)?.[1] ?? []);
}

function program(): Uint8Array {
  const folder = mkdtempSync(join(tmpdir(), 'visorkit-inside-'));
  try {
    const file = join(folder, 'program');
    const { status } = spawnSync('gcc', ['-O1', '-static', '-s', '-x', 'c', '-o', file, '-'], { input: PROGRAM });
    if (status !== 0) throw new Error('no static program can be compiled; Debian: gcc, libc6-dev');
    return readFileSync(file);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

describe.skipIf(found.missing !== '')(titled('visorkit exec on KVM inside', found), () => {
  it(
    'runs a program, whose output and status come out of both machines',
    async () => {
      const { guest, files } = found.value;
      const { report, output } = await boot({
        image: readFileSync(guest.kernel),
        initramfs: guest.initramfs,
        files,
        memory: 1 << 30,
        append: `console=ttyS0 quiet ${QUICK} rdinit=/l1`,
        plugins: [nestedVmx()],
      });
      expect(output).toMatch(/^hello from the sandbox\r?\nstatus 3\r?$/m);
      expect(report).toMatchObject(POWERED_OFF);
      // each system call of the program is an exit of its machine
      expect(report.exits.vmresume).toBeGreaterThan(10);
    },
    BOOT_TIMEOUT,
  );
});
