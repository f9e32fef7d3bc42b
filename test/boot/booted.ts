/** Debian at the prompt of its shell, booted once and saved, for tests that are about what comes then. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { isVisorkitError } from '@visorkit/core';
import { CpioWriter } from '@visorkit/formats';
import type { DebianGuest } from '@visorkit/guests';
import { readSavedVm, writeSavedVm } from '@visorkit/project';
import { planted } from './planted.js';
import { QUICK, SHELL, machineOf } from './boots.js';
import type { BootOf } from './boots.js';

const ROOT = join(import.meta.dirname, '../..');
const CACHE = join(ROOT, '.cache/booted');

/** What boots to the prompt; the machine that goes on is made of the same. Kernels for i386 would look for ISA cards with long delays. */
export const bootedOf = (guest: DebianGuest): BootOf => ({
  image: readFileSync(guest.kernel),
  mode: 'shell',
  initramfs: guest.initramfs,
  files: Buffer.concat([
    planted(guest.kernelPackage.architecture),
    planted(guest.kernelPackage.architecture, 'sockets'),
    ownModule(guest),
  ]),
  append: `quiet ${QUICK}${guest.kernelPackage.architecture === 'i386' ? ' noisapnp' : ''}`,
});

/** An archive with `/tun.ko`, a module of the kernel's own that needs no other; empty where the kernel's package has none that can be unpacked here. */
function ownModule({ kernelPackage: { root } }: DebianGuest): Uint8Array {
  const modules = join(root, 'lib/modules');
  const [release] = existsSync(modules) ? readdirSync(modules) : [];
  const file = join(modules, release ?? '', 'kernel/drivers/net/tun.ko');
  if (existsSync(file)) return new CpioWriter().file('tun.ko', readFileSync(file)).finish();
  const packed = `${file}.xz`;
  const { status, stdout } = existsSync(packed) ? spawnSync('xz', ['-dc', packed]) : { status: 1, stdout: undefined };
  return status === 0 && stdout !== undefined ? new CpioWriter().file('tun.ko', stdout).finish() : new Uint8Array();
}

/** The file of the saved VM: 256 MiB, one processor, virtual time. It is made anew when the guest or a source of ours has changed. */
export async function bootedDebian(guest: DebianGuest): Promise<string> {
  const folder = join(CACHE, guest.kernelPackage.name);
  const { files } = bootedOf(guest);
  const file = join(folder, `${hashOf([guest.kernel, guest.initramfs, ...sources()], files ?? new Uint8Array())}.vm`);
  if (existsSync(file)) {
    try {
      await readSavedVm(file);
      return file;
    } catch (error) {
      if (!isVisorkitError(error)) throw error;
    }
  }
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  let machine: Awaited<ReturnType<typeof machineOf>> | undefined;
  await using booting = (machine = await machineOf({
    ...bootedOf(guest),
    typed: [''],
    onPrompt: () => void machine!.vmm.pause(),
  }));
  const report = await booting.vmm.run();
  if (report.reason !== 'paused' || !booting.console.text.endsWith(SHELL.prompt))
    throw new Error(`Debian did not come to its prompt: ${report.why}\n${booting.console.text.slice(-2000)}`);
  await writeSavedVm(file, booting.vmm.save());
  return file;
}

/** What the machine is made of. */
function sources(): string[] {
  const found = [join(ROOT, 'packages/engine/build/engine.wasm')];
  for (const room of ['packages', 'plugins', 'apps/visorkit']) {
    for (const name of readdirSync(join(ROOT, room), { recursive: true, encoding: 'utf8' }))
      if (/(^|\/)src\/.*\.ts$/.test(name) && !/node_modules|\.test\.ts$/.test(name)) found.push(join(ROOT, room, name));
  }
  return found.sort();
}

function hashOf(files: readonly string[], more: Uint8Array): string {
  const hash = createHash('sha256').update(more);
  for (const file of files) hash.update(readFileSync(file));
  return hash.digest('hex').slice(0, 16);
}
