/** The stack of the guest's kernel by symbol. */
import { isVisorkitError } from '@visorkit/core';
import type { Clock, Vcpu } from '@visorkit/core';
import { CodeNames } from '@visorkit/vmi';
import type { GuestKernel, Vmi } from '@visorkit/vmi';

/** Guest time between two searches for a kernel that has not been found, ns: a search reads much of the memory. */
const BETWEEN_SEARCHES = 100_000_000;

export class StackReader {
  #kernel: GuestKernel | undefined;
  #searched = -Infinity;
  #names: CodeNames | undefined;

  /** `isKernels` is false while what runs is not the guest that introspection knows, but a guest of that. */
  constructor(
    private readonly vmi: Vmi,
    private readonly clock: Clock,
    private readonly isKernels: (vcpu: Vcpu) => boolean = () => true,
  ) {}

  /**
   * Where the vCPU is and who has called, innermost first, as `symbol+0x12`: the address alone where no kernel is known yet, and in a guest of the
   * guest. `user` where the kernel does not run.
   */
  read(vcpu: Vcpu): readonly string[] {
    if (vcpu.cpl !== 0) return ['user'];
    const { rip, rsp, rbp } = vcpu;
    const kernel = this.isKernels(vcpu) ? this.#find() : undefined;
    if (kernel === undefined) return [`0x${rip.toString(16)}`];
    const code = (this.#names ??= new CodeNames(kernel));
    const names = [code.nameOf(rip)];
    try {
      for (const address of kernel.callers?.({ rip, rsp, rbp }) ?? []) names.push(code.nameOf(address));
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
    if (kernel !== this.#kernel) this.#names = undefined;
    this.#kernel = kernel;
    this.#searched = now;
    return kernel;
  }
}
