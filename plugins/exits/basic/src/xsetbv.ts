/** Exit 55: XSETBV, which always exits. The checks are those of the instruction (SDM 2D, XSETBV; SDM 1, 13.3). */
import { Gpr, RESUME, RETRY, Stage, definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { CpuidTableToken } from '@visorkit/machine';

const X87 = 1n;
const SSE = 2n;
const AVX = 4n;
const BOUNDS = 0x18n;
const AVX512 = 0xe0n;

export function xsetbv(): Plugin {
  return definePlugin({
    name: 'exits/xsetbv',
    handles: ['xsetbv'],
    appliesTo: ['exit.xsetbv'],
    uses: { table: CpuidTableToken },
    apply({ hooks }, { table }) {
      hooks.exit.for('xsetbv').tap({ stage: Stage.Architecture }, (_exit, vcpu) => {
        const value = (BigInt(vcpu.getRegister32(Gpr.RDX)) << 32n) | BigInt(vcpu.getRegister32(Gpr.RAX));
        const entry = table.get(0x0d, 0);
        const supported = entry === undefined ? X87 | SSE : (BigInt(entry.edx >>> 0) << 32n) | BigInt(entry.eax >>> 0);
        if (vcpu.getRegister32(Gpr.RCX) !== 0 || vcpu.cpl !== 0 || !isValidXcr0(value, supported)) {
          vcpu.injectException(13, 0);
          return RETRY;
        }
        vcpu.xcr0 = value;
        return RESUME;
      });
    },
  });
}

/** Whether XCR0 may hold a value on a processor that supports the given components. */
export function isValidXcr0(value: bigint, supported: bigint): boolean {
  if ((value & X87) === 0n || (value & ~supported) !== 0n) return false;
  if ((value & AVX) !== 0n && (value & SSE) === 0n) return false;
  if ((value & BOUNDS) !== 0n && (value & BOUNDS) !== BOUNDS) return false;
  return (value & AVX512) === 0n || ((value & AVX512) === AVX512 && (value & AVX) !== 0n);
}
