/** struct kvm_run of one vCPU, shared with the kernel. */
import { mapMemory, unmapMemory } from './libc.js';

export class RunPage {
  readonly bytes: Uint8Array;
  readonly halves: Uint16Array;
  readonly words: Uint32Array;
  readonly longs: BigUint64Array;
  readonly #address: bigint;

  constructor(
    vcpuFd: number,
    private readonly size: number,
  ) {
    const { address, buffer } = mapMemory(vcpuFd, size);
    this.#address = address;
    this.bytes = new Uint8Array(buffer);
    this.halves = new Uint16Array(buffer);
    this.words = new Uint32Array(buffer);
    this.longs = new BigUint64Array(buffer);
  }

  /** Nobody may look at the views afterwards. */
  unmap(): void {
    unmapMemory(this.#address, this.size);
  }
}
