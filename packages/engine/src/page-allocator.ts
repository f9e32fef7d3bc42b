/** Zeroed 4 KiB pages of the hypervisor's memory, for VMX structures. */
import { fail } from '@visorkit/core';

const PAGE = 4096;

export class PageAllocator {
  private next: number;
  private readonly free: number[] = [];

  /** Pages come from `size` bytes at `start` of `bytes`. */
  constructor(
    private readonly bytes: Uint8Array,
    private readonly start: number,
    private readonly size: number,
  ) {
    this.next = start;
  }

  /** HPA of a zeroed page. Throws HYPERVISOR_MEMORY_FULL. */
  allocatePage(): number {
    return this.allocate(1);
  }

  /** HPA of `count` zeroed pages in sequence. Runs of more than one are not reused. */
  allocate(count: number): number {
    const again = count === 1 ? this.free.pop() : undefined;
    const page = again ?? this.next;
    if (again === undefined) {
      if (page + count * PAGE > this.start + this.size) {
        fail(
          'HYPERVISOR_MEMORY_FULL',
          `The ${this.size / 2 ** 20} MiB for VMX structures (EPT tables, bitmaps, VMCS regions) are used up.`,
          { size: this.size },
        );
      }
      this.next = page + count * PAGE;
    }
    this.bytes.fill(0, page, page + count * PAGE);
    return page;
  }

  freePage(page: number): void {
    this.free.push(page);
  }

  /** Bytes from the start that were ever handed out. */
  get used(): number {
    return this.next - this.start;
  }

  /** What `restore` needs; the pages' contents are saved apart. */
  save(): { next: number; free: number[] } {
    return { next: this.next, free: [...this.free] };
  }
  restore(state: { next: number; free: readonly number[] }): void {
    this.next = state.next;
    this.free.splice(0, this.free.length, ...state.free);
  }
}
