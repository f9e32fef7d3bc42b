/** The I/O port space: 65536 ports, each claimed by at most one device. */
import { fail } from '@visorkit/core';
import type { DeviceAccess } from '@visorkit/core';
import { NO_OBSERVERS } from './access-observers.js';
import type { AccessObservers } from './access-observers.js';
import { deviceFailure } from './device-failure.js';
import { MovableClaims } from './movable-claims.js';
import type { MovableClaim } from './movable-claims.js';

export type AccessSize = 1 | 2 | 4;

/** A device behind ports. Ports are absolute, values unsigned; `vcpu` is the index of the processor that executes IN or OUT. */
export interface PortDevice {
  readPort(port: number, size: AccessSize, vcpu: number): number;
  writePort(port: number, size: AccessSize, value: number, vcpu: number): void;
}

interface PortClaim {
  readonly first: number;
  /** One past the last port. */
  readonly end: number;
  readonly device: PortDevice;
  readonly owner: string;
}

/** The mask of an access of `size` bytes, by size. */
const MASK = [0, 0xff, 0xffff, 0, 0xffffffff];

/**
 * Sends accesses to the device that claims the port. An access that goes beyond the device's last port is split into
 * bytes, and each byte goes to the device of its port. Unclaimed ports read as all ones and ignore writes.
 */
export class PortBus {
  /** By port, the number of its claim; 0: nobody's. A machine that uses few ports touches little of it. */
  readonly #numbers = new Uint32Array(0x10000);
  readonly #claims: (PortClaim | undefined)[] = [undefined];
  readonly #observers: AccessObservers;
  readonly #access: DeviceAccess = { kind: 'port', address: 0, size: 1, write: false, value: 0, owner: undefined };
  readonly #waiting = new MovableClaims();
  /** Accesses to ports that nobody claims. */
  unclaimedAccesses = 0;

  /** Each access is shown to those who tap `observers`, now or later; the object shown is reused. */
  constructor(observers: AccessObservers = NO_OBSERVERS) {
    this.#observers = observers;
  }

  /**
   * Claims `count` ports from `first` on. Returns the function that gives them back.
   * Throws `PORT_CONFLICT`, naming both owners, when one of the ports is claimed already.
   */
  register(first: number, count: number, device: PortDevice, owner: string): () => void {
    if (!Number.isInteger(first) || !Number.isInteger(count) || first < 0 || count < 1 || first + count > 0x10000) {
      fail('PORT_RANGE', `${owner} claims ${count} ports from ${first}; ports are 0 to 0xffff.`, {
        first,
        count,
        owner,
      });
    }
    for (let port = first; port < first + count; port++) {
      const other = this.#at(port);
      if (other !== undefined) {
        fail(
          'PORT_CONFLICT',
          `${owner} claims ports ${range(first, first + count)}, but ${other.owner} already has ${range(other.first, other.end)}. Give one of them other ports, or leave one out.`,
          { first, count, owner, other: other.owner },
        );
      }
    }
    const claim: PortClaim = { first, end: first + count, device, owner };
    const free = this.#claims.indexOf(undefined, 1),
      number = free < 0 ? this.#claims.length : free;
    this.#claims[number] = claim;
    this.#numbers.fill(number, first, first + count);
    let isGiven = true;
    return () => {
      if (!isGiven) return;
      isGiven = false;
      this.#numbers.fill(0, first, first + count);
      this.#claims[number] = undefined;
      this.#waiting.retry();
    };
  }

  /**
   * `count` ports whose place the guest chooses, such as those of a PCI function; they have no place at first. The device sees them as ports
   * from 0 on. If the chosen place is taken, `refused` is called, and the ports answer there as soon as the place is free.
   */
  movable(count: number, device: PortDevice, owner: string, refused: (why: string) => void): MovableClaim {
    return this.#waiting.claim(
      (base) =>
        this.register(
          base,
          count,
          {
            readPort: (port, size, vcpu) => device.readPort(port - base, size, vcpu),
            writePort: (port, size, value, vcpu) => device.writePort(port - base, size, value, vcpu),
          },
          owner,
        ),
      refused,
    );
  }

  /** Unsigned value of an access of 1, 2 or 4 bytes by a vCPU, the first unless given. */
  read(port: number, size: AccessSize, vcpu = 0): number {
    let value: number;
    try {
      value = this.#read(port, size, vcpu);
    } catch (error) {
      throw deviceFailure(this.#at(port)?.owner, `read of ${size} bytes at port 0x${port.toString(16)}`, error);
    }
    if (this.#observers.isUsed()) this.#observe(port, size, false, value);
    return value;
  }

  write(port: number, size: AccessSize, value: number, vcpu = 0): void {
    if (this.#observers.isUsed()) this.#observe(port, size, true, value);
    try {
      this.#write(port, size, value, vcpu);
    } catch (error) {
      throw deviceFailure(this.#at(port)?.owner, `write of ${size} bytes at port 0x${port.toString(16)}`, error);
    }
  }

  /** Who claims a port. */
  ownerOf(port: number): string | undefined {
    return this.#at(port)?.owner;
  }

  /** Every claim, by first port. */
  claims(): readonly { first: number; count: number; owner: string }[] {
    return this.#claims
      .filter((claim) => claim !== undefined)
      .sort((a, b) => a.first - b.first)
      .map(({ first, end, owner }) => ({ first, count: end - first, owner }));
  }

  #at(port: number): PortClaim | undefined {
    return this.#claims[this.#numbers[port]];
  }

  #read(port: number, size: AccessSize, vcpu: number): number {
    const claim = this.#at(port);
    if (claim !== undefined && port + size <= claim.end)
      return (claim.device.readPort(port, size, vcpu) & MASK[size]) >>> 0;
    if (size === 1) {
      this.unclaimedAccesses++;
      return 0xff;
    }
    let value = 0;
    for (let i = 0; i < size; i++) value |= this.#read((port + i) & 0xffff, 1, vcpu) << (8 * i);
    return value >>> 0;
  }

  #write(port: number, size: AccessSize, value: number, vcpu: number): void {
    const claim = this.#at(port);
    if (claim !== undefined && port + size <= claim.end) {
      claim.device.writePort(port, size, (value & MASK[size]) >>> 0, vcpu);
    } else if (size === 1) {
      this.unclaimedAccesses++;
    } else {
      for (let i = 0; i < size; i++) this.#write((port + i) & 0xffff, 1, (value >>> (8 * i)) & 0xff, vcpu);
    }
  }

  #observe(port: number, size: number, write: boolean, value: number): void {
    const access = this.#access;
    access.address = port;
    access.size = size;
    access.write = write;
    access.value = value;
    access.owner = this.#at(port)?.owner;
    this.#observers.call(access);
  }
}

function range(first: number, end: number): string {
  return end - first === 1 ? `0x${first.toString(16)}` : `0x${first.toString(16)}-0x${(end - 1).toString(16)}`;
}
