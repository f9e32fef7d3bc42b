/** The stack of the guest's kernel by symbol. */
import { isVisorkitError } from '@visorkit/core';
import type { Clock, Vcpu } from '@visorkit/core';
import type { GuestKernel, Vmi } from '@visorkit/vmi';

/** Guest time between two searches for a kernel that has not been found, ns: a search reads much of the memory. */
const BETWEEN_SEARCHES = 100_000_000;
const MOST_NAMES = 1 << 16;

export class StackReader {
  #kernel: GuestKernel | undefined;
  #searched = -Infinity;
  readonly #names = new Map<bigint, string>();

  constructor(
    private readonly vmi: Vmi,
    private readonly clock: Clock,
  ) {}

  /**
   * Where the vCPU is and who has called, innermost first, as `symbol+0x12`: addresses where no kernel is known yet. `user` where the kernel
   * does not run.
   */
  read(vcpu: Vcpu): readonly string[] {
    if (vcpu.cpl !== 0) return ['user'];
    const { rip, rsp, rbp } = vcpu;
    const kernel = this.#find();
    if (kernel === undefined) return [`0x${rip.toString(16)}`];
    const names = [this.#name(kernel, rip)];
    try {
      for (const address of kernel.callers?.({ rip, rsp, rbp }) ?? []) names.push(this.#name(kernel, address));
    } catch (error) {
      if (!isVisorkitError(error)) throw error; // memory that is not there ends the stack
    }
    return names;
  }

  #find(): GuestKernel | undefined {
    const now = this.clock.now();
    if (this.#kernel === undefined && now - this.#searched < BETWEEN_SEARCHES) return undefined;
    let kernel: GuestKernel | undefined;
    try {
      kernel = this.vmi.find();
      if (kernel?.symbols === undefined) kernel = undefined;
    } catch (error) {
      if (!isVisorkitError(error)) throw error;
      kernel = undefined; // one that cannot be read yet
    }
    if (kernel !== this.#kernel) this.#names.clear();
    this.#kernel = kernel;
    this.#searched = now;
    return kernel;
  }

  #name({ symbols }: GuestKernel, address: bigint): string {
    let name = this.#names.get(address);
    if (name === undefined) {
      const near = symbols.nearest(address);
      name =
        near === undefined
          ? `0x${address.toString(16)}`
          : `${near.symbol.name}${near.offset === 0n ? '' : `+0x${near.offset.toString(16)}`}`;
      if (this.#names.size >= MOST_NAMES) this.#names.clear();
      this.#names.set(address, name);
    }
    return name;
  }
}
