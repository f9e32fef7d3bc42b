/** For the tests of system instructions: a guest without a kernel, in 64-bit mode. */
import { VmcsField as F } from '@visorkit/x86';
import { BareGuest, le32 } from '../assembly/system/test/bare-guest.js';

export let g: BareGuest;
/** Once for a file of tests. */
export async function makeBareGuest(): Promise<void> {
  g = await BareGuest.create();
}
/** Before each test: 64-bit mode, with the controls that the exits of this file's instructions need. */
export function resetBareGuest(): void {
  g.longMode();
  g.engine.vmcs.write32(F.PRIMARY_CONTROLS, 0x94006172 | (1 << 7));
  g.engine.vmcs.write32(F.SECONDARY_CONTROLS, 0x108a);
}

export const le64 = (v: bigint): number[] => [...le32(Number(v & 0xffffffffn)), ...le32(Number(v >> 32n))];
export const rax = (v: bigint): number[] => [0x48, 0xb8, ...le64(v)];
export const toCr = (n: number): number[] => [0x0f, 0x22, 0xc0 | (n << 3)];
export const fromCr = (n: number): number[] => [0x0f, 0x20, 0xc0 | (n << 3)];
export const wrmsr = (index: number, value: bigint): number[] => [
  0xb9,
  ...le32(index),
  0xb8,
  ...le32(Number(value & 0xffffffffn)),
  0xba,
  ...le32(Number(value >> 32n)),
  0x0f,
  0x30,
];
export const primary = (bit: number): void => {
  g.engine.vmcs.write32(F.PRIMARY_CONTROLS, (0x94006172 | (1 << 7) | (1 << bit)) >>> 0);
};
export const HLT = 0xf4;
