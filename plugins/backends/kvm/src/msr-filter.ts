/** Which accesses of the guest to MSRs that KVM keeps come to the framework: those to registers of devices, and those that plugins ask for. */
import type { MergedControls, Range } from '@visorkit/core';
import { MSR_FILTER_READ, MSR_FILTER_WRITE, Request, Size } from './kvm-api.js';
import { addressOf, libc } from './libc.js';
import { kvmError } from './support.js';

/** Stretches of MSR numbers in which a filter can be set; [first, count], whole bytes of bitmap. */
const FILTERABLE = [
  [0, 0x2000],
  [0xc000_0000, 0x2000],
  [0xc001_0000, 0x2000],
] as const;

/** The part of the MSR bus that is used here. */
interface Devices {
  find(index: number): unknown;
}

/**
 * The filter of a VM. KVM has one for all vCPUs: a register that is wanted for one vCPU exits on all of them, and for the others the
 * access is carried out as the kernel would have done. Registers that KVM does not know exit anyway. x2APIC registers cannot be
 * filtered, but KVM does not know them without an APIC of its own.
 */
export class MsrFilter {
  /** The filter that the kernel has is not the one that is wanted now. */
  stale = true;
  readonly #vmFd: number;
  readonly #reads: (readonly Range[])[] = [];
  readonly #writes: (readonly Range[])[] = [];
  #devices: Devices | undefined;
  #told = false;

  constructor(vmFd: number) {
    this.#vmFd = vmFd;
  }

  /** What plugins want of a vCPU from now on. */
  want(vcpu: number, { msrRead, msrWrite }: Pick<MergedControls, 'msrRead' | 'msrWrite'>): void {
    if (this.#reads[vcpu] === msrRead && this.#writes[vcpu] === msrWrite) return;
    this.#reads[vcpu] = msrRead;
    this.#writes[vcpu] = msrWrite;
    this.stale = true;
  }

  /** Registers that devices claim exit on every vCPU. */
  claim(devices: Devices | undefined): void {
    this.#devices = devices;
    this.stale = true;
  }

  wantsRead(vcpu: number, index: number): boolean {
    return this.#devices?.find(index) !== undefined || within(this.#reads[vcpu], index);
  }

  wantsWrite(vcpu: number, index: number): boolean {
    return this.#devices?.find(index) !== undefined || within(this.#writes[vcpu], index);
  }

  /** Before an entry, when `stale`. */
  tell(): void {
    this.stale = false;
    const filter = new Uint8Array(Size.MSR_FILTER);
    const view = new DataView(filter.buffer);
    const bitmaps: Uint8Array[] = [];
    const someVcpu = (wants: (vcpu: number, index: number) => boolean) => (index: number) =>
      this.#reads.some((_ranges, vcpu) => wants(vcpu, index));
    const wanted = [
      [MSR_FILTER_READ, someVcpu((vcpu, index) => this.wantsRead(vcpu, index))],
      [MSR_FILTER_WRITE, someVcpu((vcpu, index) => this.wantsWrite(vcpu, index))],
    ] as const;
    for (const [first, count] of FILTERABLE) {
      for (const [flag, exits] of wanted) {
        // A bit that is set lets KVM handle the access
        const bitmap = new Uint8Array(count / 8).fill(0xff);
        let any = false;
        for (let offset = 0; offset < count; offset++) {
          if (!exits(first + offset)) continue;
          bitmap[offset >>> 3] &= ~(1 << (offset & 7));
          any = true;
        }
        if (!any) continue;
        const at = 8 + bitmaps.length * Size.MSR_RANGE;
        view.setUint32(at, flag, true);
        view.setUint32(at + 4, count, true);
        view.setUint32(at + 8, first, true);
        view.setBigUint64(at + 16, addressOf(bitmap), true);
        bitmaps.push(bitmap);
      }
    }
    // Without a range it lets everything through, and a kernel without filters need not be asked
    if (bitmaps.length === 0 && !this.#told) return;
    if (libc().ioctlPointer(this.#vmFd, Request.X86_SET_MSR_FILTER, filter) < 0) throw kvmError('a filter of MSRs');
    this.#told = true;
  }
}

function within(ranges: readonly Range[] | undefined, index: number): boolean {
  if (ranges === undefined) return false;
  for (let i = 0; i < ranges.length; i++) if (index >= ranges[i][0] && index <= ranges[i][1]) return true;
  return false;
}
