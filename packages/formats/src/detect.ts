import { fail } from '@visorkit/core';
import { describeImage } from './describe.js';

/** What `detectLoader` chooses from: any boot loader. */
export interface Recogniser {
  readonly name: string;
  recognises(image: Uint8Array): boolean;
}

/**
 * The first loader that recognises the image. Order matters where a file is several things at once: a kernel may be an
 * ELF file with both a multiboot header and a PVH note.
 * @param imageName the file's name, for the error
 * @throws VisorkitError BOOT_IMAGE_EMPTY, BOOT_IMAGE_UNKNOWN, which says what the file looks like
 */
export function detectLoader<Loader extends Recogniser>(image: Uint8Array, loaders: readonly Loader[], imageName = 'the kernel'): Loader {
  if (image.length === 0) {
    return fail('BOOT_IMAGE_EMPTY', `"${imageName}" is empty; a kernel image has at least a few bytes of code.`);
  }
  const loader = loaders.find((candidate) => candidate.recognises(image));
  if (loader) return loader;
  const names = loaders.map((candidate) => candidate.name).join(', ') || 'none';
  const looks = describeImage(image);
  return fail(
    'BOOT_IMAGE_UNKNOWN',
    `"${imageName}" looks like ${looks ?? `nothing that is known (${image.length} bytes)`}; no boot loader takes it. Loaders here: ${names}. ` +
      'Right would be an x86 bzImage, an ELF kernel for i386 or x86-64, a multiboot 1 image, a firmware image, or a flat binary with its address and mode given.',
    { imageName, looks },
  );
}
