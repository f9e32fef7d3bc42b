/** What tests of the sandbox need: a program without a compiler, `@visorkit/sandbox-kernel/testing`. */

/** exit_group(7). */
const EXIT_7 = [0xb8, 231, 0, 0, 0, 0xbf, 7, 0, 0, 0, 0x0f, 0x05];

/** The smallest static program: one segment with code at 0x400000, one of zeros at 0x600000. It ends with status 7 by default. */
export function tinyProgram(code: readonly number[] = EXIT_7): Uint8Array {
  const image = new Uint8Array(64 + 2 * 56 + code.length),
    view = new DataView(image.buffer);
  image.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 2, true);
  view.setUint16(18, 62, true);
  view.setUint32(20, 1, true);
  view.setBigUint64(24, 0x400000n + 176n, true); // entry
  view.setBigUint64(32, 64n, true); // program headers
  view.setUint16(52, 64, true);
  view.setUint16(54, 56, true);
  view.setUint16(56, 2, true);
  const segment = (at: number, flags: number, address: bigint, fileSize: number, memorySize: number): void => {
    view.setUint32(at, 1, true);
    view.setUint32(at + 4, flags, true);
    view.setBigUint64(at + 16, address, true);
    view.setBigUint64(at + 24, address, true);
    view.setBigUint64(at + 32, BigInt(fileSize), true);
    view.setBigUint64(at + 40, BigInt(memorySize), true);
    view.setBigUint64(at + 48, 4096n, true);
  };
  segment(64, 5, 0x400000n, image.length, image.length);
  segment(120, 6, 0x600000n, 0, 4096);
  image.set(code, 176);
  return image;
}
