/** Debian's kernel with its KVM as the hypervisor, in a guest of visorkit's: an archive for it with this machine's Node and visorkit's packages. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { CpioWriter } from '@visorkit/formats';
import type { DebianGuest } from '@visorkit/guests';
import { nestedVmx } from '@visorkit/nested-vmx';
import { QUICK, boot } from './boots.js';
import type { Boot } from './boots.js';

const COMMAND = join(import.meta.dirname, '../../apps/visorkit');
const MODULES = ['virt/lib/irqbypass.ko', 'arch/x86/kvm/kvm.ko', 'arch/x86/kvm/kvm-intel.ko'];
const PREPARE = `#!/bin/sh
mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys
insmod /irqbypass.ko; insmod /kvm.ko; insmod /kvm-intel.ko
`;
const NATIVE = '@koromix/koffi-linux-x64';

export class InsideArchive {
  readonly #cpio = new CpioWriter();

  /** Throws where the kernel's package lacks a module of KVM. */
  constructor(private readonly guest: DebianGuest) {
    this.#addModules(guest.kernelPackage.root);
    const node = realpathSync(process.execPath);
    this.file('node', readFileSync(node), 0o755);
    for (const library of librariesOf(node)) this.file(library.slice(1), readFileSync(realpathSync(library)), 0o755);
  }

  file(name: string, content: Uint8Array | string, mode?: number): this {
    this.#cpio.file(name, content, mode);
    return this;
  }

  /** Files of a folder whose name is one of these, and each package.json. */
  tree(folder: string, to: string, files = /./): this {
    for (const name of readdirSync(folder)) {
      const from = join(folder, name);
      if (statSync(from).isDirectory()) {
        if (name !== 'node_modules') this.tree(from, `${to}/${name}`, files);
      } else if (files.test(name) || name === 'package.json') this.file(`${to}/${name}`, readFileSync(from));
    }
    return this;
  }

  /** Of a package of the command's, what it reads besides its bundle, as `node_modules` of `/visorkit`. */
  package(name: string, files: RegExp): this {
    return this.tree(realpathSync(join(COMMAND, 'node_modules', name)), `visorkit/node_modules/${name}`, files);
  }

  /** By which the backend calls the kernel. */
  koffi(): this {
    const koffi = realpathSync(join(COMMAND, 'node_modules/@visorkit/backend-kvm/node_modules/koffi'));
    this.tree(koffi, 'visorkit/node_modules/koffi', /\.c?js$/);
    return this.tree(join(koffi, '..', NATIVE), `visorkit/node_modules/${NATIVE}`, /\.(js|node)$/);
  }

  /** The build of the command. */
  command(): this {
    if (!existsSync(join(COMMAND, 'build/parts.cjs'))) throw new Error('there is no build of the command');
    for (const folder of ['bin', 'build']) this.tree(join(COMMAND, folder), `visorkit/${folder}`);
    return this.file('visorkit/package.json', readFileSync(join(COMMAND, 'package.json')));
  }

  /** Boots, runs these lines of a shell with /dev/kvm there, and switches off. */
  boot(lines: string): Promise<Boot> {
    const { guest } = this;
    return boot({
      image: readFileSync(guest.kernel),
      initramfs: guest.initramfs,
      files: this.file('l1', `${PREPARE}${lines}\npoweroff -f\n`, 0o755).#cpio.finish(),
      memory: 1 << 30,
      append: `console=ttyS0 quiet ${QUICK} rdinit=/l1`,
      plugins: [nestedVmx()],
    });
  }

  #addModules(root: string): void {
    const releases = join(root, 'lib/modules');
    const folder = existsSync(releases) ? join(releases, readdirSync(releases)[0], 'kernel') : releases;
    for (const module of MODULES) {
      const file = join(folder, module);
      if (!existsSync(file)) throw new Error(`the kernel's package has no ${module}`);
      this.file(file.slice(file.lastIndexOf('/') + 1), readFileSync(file));
    }
  }
}

/** Shared libraries of a program and its loader, where it looks for them. */
function librariesOf(file: string): string[] {
  return execFileSync('ldd', [file], { encoding: 'utf8' })
    .split('\n')
    .flatMap((line) => /(\/\S+) \(0x/.exec(line)?.[1] ?? []);
}
