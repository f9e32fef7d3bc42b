/** Memory-mapped devices: guest-physical ranges, each claimed by at most one device. */
import { fail } from '@visorkit/core';
import type { DeviceAccess, MmioExit } from '@visorkit/core';
import { NO_OBSERVERS } from './access-observers.js';
import type { AccessObservers } from './access-observers.js';
import { deviceFailure } from './device-failure.js';
import { MovableClaims } from './movable-claims.js';
import type { MovableClaim } from './movable-claims.js';
import type { AccessSize } from './port-bus.js';

/**
 * A device behind memory addresses. Offsets count from the start of its range, values are unsigned; `vcpu` is the index of the processor
 * that makes the access.
 */
export interface MmioDevice {
  readMmio(offset: number, size: AccessSize, vcpu: number): number;
  writeMmio(offset: number, size: AccessSize, value: number, vcpu: number): void;
}

export interface MmioRange {
  readonly gpa: number;
  readonly length: number;
  readonly owner: string;
}

/** RAM, and what makes room in it for a device: takes whole pages out of the guest's reach and returns what gives them back. */
export interface RamBelow {
  readonly regions: readonly { readonly gpa: number; readonly size: number }[];
  readonly cover?: ((gpa: number, size: number) => () => void) | undefined;
}

const PAGE = 4096;

interface MmioClaim extends MmioRange {
  readonly end: number;
  readonly device: MmioDevice;
}

const ALL_ONES = [0, 0xff, 0xffff, 0, 0xffffffff];

/**
 * Sends accesses to the device that claims the address. One that goes beyond the device's range is split into bytes. Addresses
 * nobody claims read as all ones.
 */
export class MmioBus {
  /** Sorted by address. */
  #claims: MmioClaim[] = [];
  #last: MmioClaim | undefined;
  readonly #observers: AccessObservers;
  readonly #access: DeviceAccess = { kind: 'mmio', address: 0, size: 1, write: false, value: 0, owner: undefined };
  readonly #waiting = new MovableClaims();
  readonly #ram: RamBelow | undefined;
  /** Accesses to addresses that nobody claims. */
  unclaimedAccesses = 0;

  /**
   * Each access is shown to those who tap `observers`, now or later; the object shown is reused.
   * @param ram the machine's RAM, which no access reaches the bus for unless a device covers it
   */
  constructor(observers: AccessObservers = NO_OBSERVERS, ram?: RamBelow) {
    this.#observers = observers;
    this.#ram = ram;
  }

  /**
   * Claims a range. A device that claims whole pages of RAM gets them, where the backend can do that. Returns the function that gives the range back.
   * Throws `MMIO_CONFLICT`, naming both owners, also where RAM cannot be covered.
   */
  register(gpa: number, length: number, device: MmioDevice, owner: string): () => void {
    if (
      !Number.isSafeInteger(gpa) ||
      !Number.isSafeInteger(length) ||
      gpa < 0 ||
      length < 1 ||
      gpa + length > 2 ** 52
    ) {
      fail(
        'MMIO_RANGE',
        `${owner} claims ${length} bytes from ${gpa}; guest-physical addresses have at most 52 bits.`,
        { gpa, length, owner },
      );
    }
    const end = gpa + length;
    for (const other of this.#claims) {
      if (gpa < other.end && other.gpa < end) {
        fail(
          'MMIO_CONFLICT',
          `${owner} claims guest-physical ${range(gpa, end)}, but ${other.owner} already has ${range(other.gpa, other.end)}. Give one of them another place, or leave one out.`,
          { gpa, length, owner, other: other.owner },
        );
      }
    }
    const uncover = this.#cover(gpa, length, owner);
    const claim: MmioClaim = { gpa, length, end, device, owner };
    this.#claims = [...this.#claims, claim].sort((a, b) => a.gpa - b.gpa);
    return () => {
      this.#claims = this.#claims.filter((other) => other !== claim);
      if (this.#last === claim) this.#last = undefined;
      uncover();
      this.#waiting.retry();
    };
  }

  /**
   * A range whose place the guest chooses, such as a PCI function's memory; it has no place at first. If the chosen place is taken,
   * `refused` is called, and the range answers there as soon as the place is free. RAM is a place that is taken: a chipset sends accesses to RAM to no bus.
   */
  movable(length: number, device: MmioDevice, owner: string, refused: (why: string) => void): MovableClaim {
    return this.#waiting.claim((gpa) => {
      if (this.#ramIn(gpa, length) !== undefined)
        fail(
          'MMIO_CONFLICT',
          `${owner} claims guest-physical ${range(gpa, gpa + length)}, but the machine's RAM is there, which answers.`,
          { gpa, length, owner, other: 'RAM' },
        );
      return this.register(gpa, length, device, owner);
    }, refused);
  }

  #ramIn(gpa: number, length: number): { readonly gpa: number; readonly size: number } | undefined {
    const region = this.#ram?.regions.find((one) => gpa < one.gpa + one.size && one.gpa < gpa + length);
    if (region === undefined) return undefined;
    const first = Math.max(gpa, region.gpa);
    return { gpa: first, size: Math.min(gpa + length, region.gpa + region.size) - first };
  }

  /** Takes the RAM there out of the guest's reach. */
  #cover(gpa: number, length: number, owner: string): () => void {
    const part = this.#ramIn(gpa, length);
    if (part === undefined) return () => {};
    const cover = this.#ram?.cover;
    const whole = part.gpa % PAGE === 0 && part.size % PAGE === 0;
    if (cover !== undefined && whole) return cover(part.gpa, part.size);
    return fail(
      'MMIO_CONFLICT',
      `${owner} claims guest-physical ${range(gpa, gpa + length)}, but the machine's RAM already has ${range(part.gpa, part.gpa + part.size)}, and ${whole ? 'the backend cannot put a device over it' : 'a device gets only whole pages of 4096 bytes of it'}. Give the device another place.`,
      { gpa, length, owner, other: 'RAM' },
    );
  }

  /**
   * Carries out the access of a vCPU's exit; a read fills `value` and `valueHigh` of `mmio`. An access of 8 bytes is made as two of 4, low half first.
   * False when no device claims the address. Takes the record, not its numbers, because passing a number above 2³¹ makes a new one on the heap.
   */
  answer(mmio: MmioExit, vcpu = 0): boolean {
    let claim = this.#last;
    if (claim === undefined || mmio.gpa < claim.gpa || mmio.gpa >= claim.end) claim = this.#find(mmio.gpa);
    if (claim === undefined || this.#observers.isUsed() || mmio.size === 8 || mmio.gpa + mmio.size > claim.end)
      this.#answerByParts(mmio, vcpu);
    else {
      const { device } = claim,
        { size } = mmio,
        offset = mmio.gpa - claim.gpa;
      try {
        if (mmio.write) device.writeMmio(offset, size, mmio.value, vcpu);
        else mmio.value = (device.readMmio(offset, size, vcpu) & ALL_ONES[size]) >>> 0;
      } catch (error) {
        throw deviceFailure(claim.owner, describe(mmio.write, size, mmio.gpa), error);
      }
    }
    return claim !== undefined;
  }

  #answerByParts(mmio: MmioExit, vcpu: number): void {
    const { gpa, size } = mmio;
    const part = size === 8 ? 4 : size;
    if (mmio.write) {
      this.write(gpa, part, mmio.value, vcpu);
      if (size === 8) this.write(gpa + 4, 4, mmio.valueHigh, vcpu);
    } else {
      mmio.value = this.read(gpa, part, vcpu);
      if (size === 8) mmio.valueHigh = this.read(gpa + 4, 4, vcpu);
    }
  }

  read(gpa: number, size: AccessSize, vcpu = 0): number {
    let value: number;
    try {
      value = this.#read(gpa, size, vcpu);
    } catch (error) {
      throw deviceFailure(this.#find(gpa)?.owner, describe(false, size, gpa), error);
    }
    if (this.#observers.isUsed()) this.#observe(gpa, size, false, value);
    return value;
  }

  write(gpa: number, size: AccessSize, value: number, vcpu = 0): void {
    if (this.#observers.isUsed()) this.#observe(gpa, size, true, value);
    try {
      this.#write(gpa, size, value, vcpu);
    } catch (error) {
      throw deviceFailure(this.#find(gpa)?.owner, describe(true, size, gpa), error);
    }
  }

  /** True when a device claims the address. */
  covers(gpa: number): boolean {
    return this.#find(gpa) !== undefined;
  }

  ranges(): readonly MmioRange[] {
    return this.#claims.map(({ gpa, length, owner }) => ({ gpa, length, owner }));
  }

  #read(gpa: number, size: AccessSize, vcpu: number): number {
    const claim = this.#find(gpa);
    if (claim !== undefined && gpa + size <= claim.end)
      return (claim.device.readMmio(gpa - claim.gpa, size, vcpu) & ALL_ONES[size]) >>> 0;
    if (size === 1) {
      this.unclaimedAccesses++;
      return 0xff;
    }
    let value = 0;
    for (let i = 0; i < size; i++) value |= this.#read(gpa + i, 1, vcpu) << (8 * i);
    return value >>> 0;
  }

  #write(gpa: number, size: AccessSize, value: number, vcpu: number): void {
    const claim = this.#find(gpa);
    if (claim !== undefined && gpa + size <= claim.end) {
      claim.device.writeMmio(gpa - claim.gpa, size, (value & ALL_ONES[size]) >>> 0, vcpu);
    } else if (size === 1) {
      this.unclaimedAccesses++;
    } else {
      for (let i = 0; i < size; i++) this.#write(gpa + i, 1, (value >>> (8 * i)) & 0xff, vcpu);
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
    this.#observers.call(access);
  }
}

function describe(write: boolean, size: number, gpa: number): string {
  return `${write ? 'write' : 'read'} of ${size} bytes at guest-physical 0x${gpa.toString(16)}`;
}

function range(from: number, end: number): string {
  return `0x${from.toString(16)}-0x${(end - 1).toString(16)}`;
}
