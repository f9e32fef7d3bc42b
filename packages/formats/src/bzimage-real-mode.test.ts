/** The real-mode part of a bzImage, as a boot loader fills it in. */
import { expect, test } from 'vitest';
import { realModePlaces, realModeSetup } from './bzimage-real-mode.js';
import { parseBzImage } from './bzimage.js';
import { buildBzImage } from './testing.js';

const file = buildBzImage({ kernel: new Uint8Array(64) });
const initrd = { address: 0x0fed_5000, size: 1440 * 1024 };
const setupOf = (image: Uint8Array): Uint8Array => {
  const parsed = parseBzImage(image);
  return realModeSetup(image, parsed, realModePlaces(parsed, 0), initrd);
};

test('says where the RAM disk is', () => {
  const view = new DataView(setupOf(file).buffer);
  expect([view.getUint32(0x218, true), view.getUint32(0x21c, true)]).toEqual([initrd.address, initrd.size]);
});

test('is the same of a Buffer within a larger one, which stays as it is', () => {
  const buffer = Buffer.concat([Buffer.alloc(100, 0xcc), file]).subarray(100);
  expect(setupOf(buffer)).toEqual(setupOf(file));
  expect(new Uint8Array(buffer)).toEqual(file);
});
