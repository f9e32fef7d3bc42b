/** MSRs: which ones KVM keeps, reading and writing them, and which accesses of the guest come to the framework. */
import { VisorkitError, fail } from '@visorkit/core';
import { msrName } from '@visorkit/x86';
import { Request } from './kvm-api.js';
import { libc } from './libc.js';
import { kvmError } from './support.js';

/** Saved besides those that KVM lists: memory types and machine checks, which it keeps without saying so. */
const UNLISTED: readonly number[] = [
  0xfe,
  0x2ff,
  0x250,
  0x258,
  0x259,
  0x268,
  0x269,
  0x26a,
  0x26b,
  0x26c,
  0x26d,
  0x26e,
  0x26f,
  ...Array.from({ length: 16 }, (_, index) => 0x200 + index),
  0x179,
  0x17a,
  0xda0,
];

/** What KVM_GET_MSR_INDEX_LIST says, of /dev/kvm. */
export function listedMsrs(kvmFd: number): number[] {
  const list = new Uint32Array(1 + 2048);
  list[0] = 2048;
  if (libc().ioctlPointer(kvmFd, Request.GET_MSR_INDEX_LIST, list) < 0) throw kvmError('to list its MSRs');
  return [...new Set([...list.subarray(1, 1 + list[0]), ...UNLISTED])];
}

/** The MSRs of one vCPU. */
export class Msrs {
  /** Whether KVM has it, by index. */
  readonly #known = new Map<number, boolean>();
  /** struct kvm_msrs with one entry. */
  readonly #one = new BigUint64Array(3);

  constructor(
    private readonly vcpuFd: number,
    private readonly listed: readonly number[],
  ) {}

  has(index: number): boolean {
    let known = this.#known.get(index);
    if (known === undefined) {
      known = this.#get(index);
      this.#known.set(index, known);
    }
    return known;
  }

  read(index: number): bigint {
    if (!this.#get(index)) fail('MSR_UNKNOWN', `KVM does not keep ${msrName(index)}.`, { index });
    return this.#one[2];
  }

  write(index: number, value: bigint): void {
    if (!this.has(index)) fail('MSR_UNKNOWN', `KVM does not keep ${msrName(index)}.`, { index });
    if (!this.#set(index, value))
      fail('MSR_VALUE', `${msrName(index)} does not take the value 0x${value.toString(16)}.`, {
        index,
        value: value.toString(),
      });
  }

  /** Every MSR that KVM keeps, with its value. */
  save(): [index: number, value: bigint][] {
    return this.listed.filter((index) => this.#get(index)).map((index) => [index, this.read(index)]);
  }

  /** MSRs that hold their value already are not written, because some are read-only. */
  restore(values: readonly (readonly [index: number, value: bigint])[]): void {
    for (const [index, value] of values) {
      if ((this.#get(index) && this.#one[2] === value) || this.#set(index, value)) continue;
      throw new VisorkitError(
        'KVM_STATE_REFUSED',
        `KVM does not take 0x${value.toString(16)} for ${msrName(index)}: the state was saved on a processor that has more than this one.`,
        { index },
      );
    }
  }

  #get(index: number): boolean {
    this.#one[0] = 1n;
    this.#one[1] = BigInt(index);
    this.#one[2] = 0n;
    return libc().ioctlPointer(this.vcpuFd, Request.GET_MSRS, this.#one) === 1;
  }

  #set(index: number, value: bigint): boolean {
    this.#one[0] = 1n;
    this.#one[1] = BigInt(index);
    this.#one[2] = BigInt.asUintN(64, value);
    return libc().ioctlPointer(this.vcpuFd, Request.SET_MSRS, this.#one) === 1;
  }
}
