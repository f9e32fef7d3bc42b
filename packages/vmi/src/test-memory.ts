/** For the tests of this package: files of bytes, and a comparison with a model. */
import { expect } from 'vitest';
import type { ByteSource, PhysicalMemory } from './index.js';

export const source = (bytes: Uint8Array): ByteSource => ({
  length: bytes.length,
  read: (at, target) => {
    if (at + target.length > bytes.length) throw new Error(`read of ${target.length} bytes at ${at}`);
    target.set(bytes.subarray(at, at + target.length));
  },
});
export const noise = (length: number, seed: number): Uint8Array => {
  let state = seed;
  return Uint8Array.from({ length }, () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 24);
};

/** Every read agrees with a model that has -1 in holes. */
export function agrees(memory: PhysicalMemory, model: readonly number[], address: number): void {
  const bytes = (count: number): number[] => model.slice(address, address + count);
  const number = (count: number): number => {
    const part = bytes(count);
    return part.length < count || part.includes(-1)
      ? -1
      : part.reduce((sum, byte, index) => sum + byte * 2 ** (8 * index), 0);
  };
  expect(memory.u8(address)).toBe(number(1));
  expect(memory.u16(address)).toBe(number(2));
  expect(memory.u32(address)).toBe(number(4));
  const big =
    bytes(8).length < 8 || bytes(8).includes(-1)
      ? undefined
      : new DataView(Uint8Array.from(bytes(8)).buffer).getBigUint64(0, true);
  expect(memory.big(address)).toBe(big);
  expect(memory.u64(address)).toBe(big === undefined ? -1 : Number(big));
  const target = new Uint8Array(300);
  const there = model.slice(address, address + 300).findIndex((byte) => byte < 0);
  const count = there < 0 ? Math.max(0, Math.min(300, model.length - address)) : there;
  expect(memory.read(address, target)).toBe(count);
  expect([...target.subarray(0, count)]).toEqual(model.slice(address, address + count));
}
