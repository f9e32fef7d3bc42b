/** Memory-mapped devices: guest-physical ranges, each claimed by at most one device. */
import { fail } from '@visorkit/core';
import type { DeviceAccess } from '@visorkit/core';
import { deviceFailure } from './device-failure.js';
import type { AccessSize } from './port-bus.js';

/** A device behind memory addresses. Offsets count from the start of its range, values are unsigned. */
export interface MmioDevice {
  readMmio(offset: number, size: AccessSize): number;
  writeMmio(offset: number, size: AccessSize, value: number): void;
}

export interface MmioRange {
  readonly gpa: number;
  readonly length: number;
  readonly owner: string;
}

interface MmioClaim extends MmioRange {
  readonly end: number;
  readonly device: MmioDevice;
}

const ALL_ONES = [0, 0xff, 0xffff, 0, 0xffffffff];

/**
 * Sends accesses to the device that claims the address. An access of 8 bytes is made as two of 4, low first, by the
 * caller. One that goes beyond the device's range is split into bytes. Addresses nobody claims read as all ones.
 */
export class MmioBus {
  /** Sorted by address. */
  #claims: MmioClaim[] = [];
  #last: MmioClaim | undefined;
  #observer: ((access: DeviceAccess) => void) | undefined;
  readonly #access: DeviceAccess = { kind: 'mmio', address: 0, size: 1, write: false, value: 0, owner: undefined };
  /** Accesses to addresses that nobody claims. */
  unclaimedAccesses = 0;

  /** Claims a range. Returns the function that gives it back. Throws `MMIO_CONFLICT`, naming both owners. */
  register(gpa: number, length: number, device: MmioDevice, owner: string): () => void {
    if (!Number.isSafeInteger(gpa) || !Number.isSafeInteger(length) || gpa < 0 || length < 1 || gpa + length > 2 ** 52) {
      fail('MMIO_RANGE', `${owner} claims ${length} bytes from ${gpa}; guest-physical addresses have at most 52 bits.`, { gpa, length, owner });
    }
    const end = gpa + length;
    for (const other of this.#claims) {
      if (gpa < other.end && other.gpa < end) {
        fail('MMIO_CONFLICT',
          `${owner} claims guest-physical ${range(gpa, end)}, but ${other.owner} already has ${range(other.gpa, other.end)}. Give one of them another place, or leave one out.`,
          { gpa, length, owner, other: other.owner });
      }
    }
    const claim: MmioClaim = { gpa, length, end, device, owner };
    this.#claims = [...this.#claims, claim].sort((a, b) => a.gpa - b.gpa);
    return () => {
      this.#claims = this.#claims.filter((other) => other !== claim);
      if (this.#last === claim) this.#last = undefined;
    };
  }

  read(gpa: number, size: AccessSize): number {
    let value: number;
    try {
      value = this.#read(gpa, size);
    } catch (error) {
      throw deviceFailure(this.#find(gpa)?.owner, `read of ${size} bytes at guest-physical 0x${gpa.toString(16)}`, error);
    }
    if (this.#observer !== undefined) this.#observe(gpa, size, false, value);
    return value;
  }

  write(gpa: number, size: AccessSize, value: number): void {
    if (this.#observer !== undefined) this.#observe(gpa, size, true, value);
    try {
      this.#write(gpa, size, value);
    } catch (error) {
      throw deviceFailure(this.#find(gpa)?.owner, `write of ${size} bytes at guest-physical 0x${gpa.toString(16)}`, error);
    }
  }

  /** True when a device claims the address. */
  covers(gpa: number): boolean {
    return this.#find(gpa) !== undefined;
  }

  ranges(): readonly MmioRange[] {
    return this.#claims.map(({ gpa, length, owner }) => ({ gpa, length, owner }));
  }

  /** Shows every access to `observer`; `undefined` ends it. The argument is reused. */
  observe(observer: ((access: DeviceAccess) => void) | undefined): void {
    this.#observer = observer;
  }

  #read(gpa: number, size: AccessSize): number {
    const claim = this.#find(gpa);
    if (claim !== undefined && gpa + size <= claim.end) return (claim.device.readMmio(gpa - claim.gpa, size) & ALL_ONES[size]) >>> 0;
    if (size === 1) {
      this.unclaimedAccesses++;
      return 0xff;
    }
    let value = 0;
    for (let i = 0; i < size; i++) value |= this.#read(gpa + i, 1) << (8 * i);
    return value >>> 0;
  }

  #write(gpa: number, size: AccessSize, value: number): void {
    const claim = this.#find(gpa);
    if (claim !== undefined && gpa + size <= claim.end) {
      claim.device.writeMmio(gpa - claim.gpa, size, (value & ALL_ONES[size]) >>> 0);
    } else if (size === 1) {
      this.unclaimedAccesses++;
    } else {
      for (let i = 0; i < size; i++) this.#write(gpa + i, 1, (value >>> (8 * i)) & 0xff);
    }
  }

  #find(gpa: number): MmioClaim | undefined {
    const last = this.#last;
    if (last !== undefined && gpa >= last.gpa && gpa < last.end) return last;
    const claims = this.#claims;
    let low = 0;
    let high = claims.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const claim = claims[middle];
      if (gpa < claim.gpa) high = middle - 1;
      else if (gpa >= claim.end) low = middle + 1;
      else return (this.#last = claim);
    }
    return undefined;
  }

  #observe(gpa: number, size: number, write: boolean, value: number): void {
    const access = this.#access;
    access.address = gpa;
    access.size = size;
    access.write = write;
    access.value = value;
    access.owner = this.#find(gpa)?.owner;
    this.#observer!(access);
  }
}

function range(from: number, end: number): string {
  return `0x${from.toString(16)}-0x${(end - 1).toString(16)}`;
}
