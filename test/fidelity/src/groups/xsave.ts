/** FXSAVE, FXRSTOR, XSAVE, XSAVEC, XSAVEOPT, XRSTOR (SDM volume 1 chapters 10.5 and 13). */
import { RAX, RDX } from '../registers.js';
import type { Builder } from '../builder.js';
import { DATA_BYTES } from '../format.js';
import type { Group } from './group.js';
import { randomMxcsr } from './simd.js';
import { randomX87 } from './x87.js';

const SAVES = ['0F AE /0 m512 mem u', '0F AE /4 m512 mem u', '0F AE /6 m512 mem u', '0F C7 /4 m512 mem u'];
const RESTORES = ['0F AE /1 m512 mem u', '0F AE /5 m512 mem u', '0F AE /5 m512 mem u'];

export const xsaveGroup: Group = {
  name: 'xsave',
  modes: 'both',
  style: 'x87',
  build(b) {
    const { rng } = b;
    randomX87(b, true);
    randomMxcsr(b);
    const save = rng.oneIn(2);
    const text = rng.pick(save ? SAVES : RESTORES);
    const fx = text.includes('/0') || text.includes('/1');
    let target = rng.below((DATA_BYTES - 1024) / 64) * 64;
    if (rng.oneIn(20)) target += rng.pick([8, 16, 1, 32]); // misaligned: #GP
    // components: EDX:EAX; bits that XCR0 may have on one machine and not another stay out (AVX-512 is 5 to 7)
    b.setGpr(RAX, BigInt(rng.below(8)) | (rng.u64() & 0xffff_ffff_0000_0000n));
    b.setGpr(RDX, rng.u64() & 0xffff_ffff_0000_0000n);
    if (!save) image(b, target, fx);
    const wide = !b.is32 && rng.oneIn(2) ? ' W' : '';
    b.emit(text + wide, { target, noAddressOverride: true });
  },
};

/** The parts of an image in memory that restoring checks; the rest is the random fill. */
function image(b: Builder, target: number, fx: boolean): void {
  const { rng } = b;
  const head = new Uint8Array(32);
  const view = new DataView(head.buffer);
  const fcw = 0x37f & ~(rng.oneIn(3) ? rng.below(64) : 0);
  view.setUint16(0, fcw | (rng.below(16) << 8), true);
  view.setUint16(2, (rng.below(8) << 11) | (rng.u32() & 0x4700) | (rng.below(64) & fcw), true);
  head[4] = rng.below(256);
  for (let i = 6; i < 24; i++) head[i] = 0;
  view.setUint32(24, rng.oneIn(10) ? rng.u32() & ~0x20000 : rng.u32() & 0xffff, true);
  view.setUint32(28, 0, true);
  b.patch(target, head);
  if (fx) return;
  const header = new Uint8Array(64);
  header[0] = rng.oneIn(16) ? rng.below(256) & 0x1f : rng.below(8);
  if (rng.oneIn(12)) header[rng.below(64)]! |= 1 << rng.below(8);
  if (header[0]! > 7 || header[7]) header[0]! &= 0x0f;
  // bits of components that only one machine has
  header[0]! &= 0x1f;
  header[1] = 0;
  for (let i = 2; i < 7; i++) header[i] = 0;
  b.patch(target + 512, header);
}
