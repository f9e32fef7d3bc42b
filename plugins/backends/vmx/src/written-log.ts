/**
 * Page-modification logging (SDM 3C 29.3.6): each vCPU has a page of 512 addresses, which the processor fills from the end, and leaves the guest
 * with exit 62 when there is no room.
 */
import type { VmcsFields } from '@visorkit/core';
import type { ProcessorBanks } from '@visorkit/engine';
import { VmcsField, controlBits } from '@visorkit/x86';
import type { OwnVmcs } from './own-vmcs.js';

const LAST = 511;
const ENABLE_PML = controlBits('secondary', ['enable-pml']);

export class WrittenLog {
  /** HPA of each vCPU's page, once there has been a log. */
  #pages: number[] = [];

  constructor(
    private readonly banks: ProcessorBanks,
    private readonly own: OwnVmcs,
  ) {}

  /** A vCPU logs already, for a plugin and not for the views. */
  get taken(): boolean {
    return this.#pages.length === 0 && (this.#secondary(this.own.of(0)) & ENABLE_PML) !== 0;
  }

  /** Logging on, with empty logs, or off. The EPT pointers must have dirty flags on, and be written after this. */
  enable(on: boolean): void {
    const { banks } = this;
    for (let index = 0; index < banks.count; index++) {
      const vmcs = this.own.of(index),
        secondary = this.#secondary(vmcs);
      if (on) {
        this.#pages[index] ??= banks.engine.pages.allocatePage();
        vmcs.write64(VmcsField.PML_ADDRESS, BigInt(this.#pages[index]));
        vmcs.write32(VmcsField.PML_INDEX, LAST);
      }
      vmcs.write32(VmcsField.SECONDARY_CONTROLS, (on ? secondary | ENABLE_PML : secondary & ~ENABLE_PML) >>> 0);
    }
  }

  /** Calls back with the number (gpa / 4096) of each page that a vCPU has logged, and empties its log. */
  drain(index: number, written: (page: number) => void): void {
    const vmcs = this.own.of(index),
      { words } = this.banks.engine,
      next = vmcs.read32(VmcsField.PML_INDEX);
    for (let entry = next > LAST ? 0 : next + 1; entry <= LAST; entry++) {
      const at = (this.#pages[index] >>> 2) + entry * 2;
      written(words[at + 1] * 0x10_0000 + (words[at] >>> 12));
    }
    vmcs.write32(VmcsField.PML_INDEX, LAST);
  }

  save(): number[] {
    return [...this.#pages];
  }
  restore(pages: readonly number[]): void {
    this.#pages = [...pages];
  }

  #secondary(vmcs: VmcsFields): number {
    return vmcs.read32(VmcsField.SECONDARY_CONTROLS);
  }
}
