/** Operands of VMX instructions, from the instruction information of their exits (SDM 3C tables 28-8 to 28-15). */
import type { Vcpu, VmExit } from '@visorkit/core';
import { Segment } from '@visorkit/core';
import { Cr4, Vector, isCanonical } from '@visorkit/x86';
import { PAGE } from './bits.js';
import type { HypervisorMemory } from './memory.js';

const UNUSABLE = 0x10000;

/** Register operand, or -1 for memory. */
export function registerOperand({ instructionInfo }: VmExit): number {
  return (instructionInfo & (1 << 10)) !== 0 ? (instructionInfo >>> 3) & 15 : -1;
}
/** The operand that is always a register. */
export function secondRegister({ instructionInfo }: VmExit): number {
  return instructionInfo >>> 28;
}
/** A general register as wide as the mode has them. */
export function readRegister(vcpu: Vcpu, index: number): bigint {
  return vcpu.codeBits === 64 ? vcpu.getRegister(index) : BigInt(vcpu.getRegister32(index));
}

const PAGE_BIG = 4096n;

/** Memory operands. A method that cannot reach the operand has injected the fault and returns undefined or false. */
export class Operands {
  constructor(private readonly memory: HypervisorMemory) {}

  /** The 64-bit or 128-bit operand in memory, as one or two words. */
  read(exit: VmExit, vcpu: Vcpu, bytes: 4 | 8 | 16): bigint | undefined {
    const linear = this.#linear(exit, vcpu, bytes, 'read');
    return linear === undefined ? undefined : this.#bytes(vcpu, linear, bytes);
  }

  write(exit: VmExit, vcpu: Vcpu, value: bigint, bytes: 4 | 8): boolean {
    const linear = this.#linear(exit, vcpu, bytes, 'write');
    if (linear === undefined) return false;
    const first = this.#translate(vcpu, linear, 'write');
    const last = first < 0 ? -1 : this.#translate(vcpu, linear + BigInt(bytes - 1), 'write');
    if (last < 0) return false;
    const inPage = PAGE - (first % PAGE);
    for (let i = 0; i < bytes; i++) {
      const at = i < inPage ? first + i : last - (bytes - 1 - i);
      this.memory.writeByte(vcpu, at, Number((value >> BigInt(8 * i)) & 0xffn));
    }
    return true;
  }

  #bytes(vcpu: Vcpu, linear: bigint, bytes: number): bigint | undefined {
    const first = this.#translate(vcpu, linear, 'read');
    const crosses = (linear % PAGE_BIG) + BigInt(bytes) > PAGE_BIG;
    const last = first < 0 || !crosses ? first : this.#translate(vcpu, linear + BigInt(bytes - 1), 'read');
    if (last < 0) return undefined;
    let value = 0n;
    const inPage = crosses ? PAGE - (first % PAGE) : bytes;
    for (let i = 0; i < bytes; i++) {
      const at = i < inPage ? first + i : last - (bytes - 1 - i);
      value |= BigInt(this.memory.readByte(vcpu, at)) << BigInt(8 * i);
    }
    return value;
  }

  #translate(vcpu: Vcpu, linear: bigint, access: 'read' | 'write'): number {
    const gpa = vcpu.translate(BigInt.asUintN(64, linear), access);
    if (gpa >= 0) return gpa;
    const { vector, errorCode } = vcpu.translationFault;
    if (vector === Vector.PF) vcpu.setControlRegister(2, BigInt.asUintN(64, linear));
    vcpu.injectException(vector || Vector.GP, errorCode);
    return -1;
  }

  #linear(exit: VmExit, vcpu: Vcpu, bytes: number, access: 'read' | 'write'): bigint | undefined {
    const info = exit.instructionInfo;
    const displacement = exit.qualification64;
    const base = (info & (1 << 27)) === 0 ? vcpu.getRegister((info >>> 23) & 15) : 0n;
    const index = (info & (1 << 22)) === 0 ? vcpu.getRegister((info >>> 18) & 15) : 0n;
    const addressBits = (info >>> 7) & 7;
    const mask = addressBits === 0 ? 0xffffn : addressBits === 1 ? 0xffff_ffffn : 0xffff_ffff_ffff_ffffn;
    const offset = (base + (index << BigInt(info & 3)) + displacement) & mask;
    const segment = (info >>> 15) & 7;
    const fault = (): undefined => vcpu.injectException(segment === Segment.SS ? Vector.SS : Vector.GP, 0) as undefined;
    if (vcpu.codeBits === 64) {
      const segmentBase = segment === Segment.FS || segment === Segment.GS ? vcpu.getSegment(segment).base : 0n;
      const linear = BigInt.asUintN(64, segmentBase + offset);
      const width = (vcpu.getControlRegister(4) & Cr4.LA57) !== 0n ? 57 : 48;
      return isCanonical(linear, width) && isCanonical(linear + BigInt(bytes - 1), width) ? linear : fault();
    }
    const { base: segmentBase, limit, accessRights } = vcpu.getSegment(segment);
    const code = (accessRights & 8) !== 0;
    const writable = !code && (accessRights & 2) !== 0,
      readable = !code || (accessRights & 2) !== 0;
    if ((accessRights & UNUSABLE) !== 0 || !(access === 'write' ? writable : readable)) return fault();
    const first = Number(offset),
      last = first + bytes - 1;
    const expandDown = !code && (accessRights & 4) !== 0;
    const top = (accessRights & 0x4000) !== 0 ? 0xffff_ffff : 0xffff;
    if (expandDown ? first <= limit || last > top : last > limit) return fault();
    return (segmentBase + offset) & 0xffff_ffffn;
  }
}
