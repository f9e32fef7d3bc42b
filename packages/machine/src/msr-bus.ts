/** Model-specific registers that belong to devices, such as the local APIC or the machine-check banks of a platform. */
import { fail } from '@visorkit/core';

/** A device behind MSRs. `vcpu` is the index of the CPU that executes RDMSR or WRMSR. */
export interface MsrDevice {
  /** The value, or undefined for #GP(0). */
  readMsr(index: number, vcpu: number): bigint | undefined;
  /** False for #GP(0). `value` has 64 bits, unsigned. */
  writeMsr(index: number, value: bigint, vcpu: number): boolean;
}

interface MsrClaim {
  readonly first: number;
  /** One past the last register. */
  readonly end: number;
  readonly device: MsrDevice;
  readonly owner: string;
}

/** Sends RDMSR and WRMSR to the device that claims the register. */
export class MsrBus {
  #claims: MsrClaim[] = [];

  /**
   * Claims `count` registers from `first` on. Returns the function that gives them back.
   * Throws `MSR_CONFLICT`, naming both owners, when one of them is claimed already.
   */
  register(first: number, count: number, device: MsrDevice, owner: string): () => void {
    const end = first + count;
    const other = this.#claims.find((claim) => first < claim.end && claim.first < end);
    if (other !== undefined) {
      fail(
        'MSR_CONFLICT',
        `${owner} claims MSR 0x${first.toString(16)}-0x${(end - 1).toString(16)}, but ${other.owner} already has 0x${other.first.toString(16)}-0x${(other.end - 1).toString(16)}. Leave one of them out.`,
        { first, count, owner, other: other.owner },
      );
    }
    const claim: MsrClaim = { first, end, device, owner };
    this.#claims = [...this.#claims, claim];
    return () => {
      this.#claims = this.#claims.filter((kept) => kept !== claim);
    };
  }

  /** The device that answers for a register, undefined when none does. */
  find(index: number): MsrDevice | undefined {
    const claims = this.#claims;
    for (let i = 0; i < claims.length; i++)
      if (index >= claims[i].first && index < claims[i].end) return claims[i].device;
    return undefined;
  }

  ownerOf(index: number): string | undefined {
    return this.#claims.find((claim) => index >= claim.first && index < claim.end)?.owner;
  }
}
