/** A Debian kernel with busybox, ready to boot. */
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { defaultCacheFolder, exists, fillOnce } from './cache.js';
import { fetchDebianPackage, kernelImage } from './debian-package.js';
import type { DebianPackage, FetchOptions } from './debian-package.js';
import { busyboxApplets, makeBusyboxInitramfs } from './initramfs.js';

/** A Debian kernel with a busybox user space, ready to boot. */
export interface DebianGuest {
  /** Path of the bzImage. */
  readonly kernel: string;
  readonly kernelPackage: DebianPackage;
  /** Path of the initramfs; {@link guestParameters} on the command line tells it what to do. */
  readonly initramfs: string;
  readonly busyboxPackage: DebianPackage;
}

export interface DebianGuestOptions extends FetchOptions {
  /** Name of the kernel's package, which may be a metapackage: `linux-image-rt-amd64`. The smallest of the architecture unless given. */
  readonly kernel?: string;
}

/** The kernels' metapackages: for amd64 the one without drivers of hardware, which is the smallest. */
const KERNELS = { amd64: 'linux-image-cloud-amd64', i386: 'linux-image-686' } as const;

/**
 * Fetches Debian's kernel and busybox for an architecture and makes an initramfs of it. All of it is kept in the cache; a
 * second call does nothing but look. A suite that is named is that of the kernel; busybox comes from the system's own sources.
 * @throws what {@link fetchDebianPackage} throws
 */
export async function prepareDebianGuest(options: DebianGuestOptions = {}): Promise<DebianGuest> {
  const { arch = 'amd64', cache = defaultCacheFolder(), suite: _ofTheKernel, ...common } = options;
  const kernelPackage = await fetchDebianPackage(options.kernel ?? KERNELS[arch], options);
  const busyboxPackage = await fetchDebianPackage('busybox-static', { ...common, arch, cache });
  const program = join(busyboxPackage.root, 'bin', 'busybox');
  const busybox = new Uint8Array(await readFile(program));
  const image = makeBusyboxInitramfs({ busybox, applets: await busyboxApplets(program) });
  // Named by its content: another version of busybox or of our scripts makes another image.
  const folder = join(cache, 'initramfs', createHash('sha256').update(image).digest('hex').slice(0, 16));
  if (!(await exists(folder))) {
    options.onProgress?.({ step: 'initramfs', message: `making an initramfs of busybox for ${arch}` });
    await fillOnce(cache, folder, (work) => writeFile(join(work, 'initramfs.cpio'), image));
  }
  return {
    kernel: await kernelImage(kernelPackage),
    kernelPackage,
    initramfs: join(folder, 'initramfs.cpio'),
    busyboxPackage,
  };
}
