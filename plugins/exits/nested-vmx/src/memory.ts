/** Memory of the guest's hypervisor, which is guest-physical memory of the machine, as the plugin reads and writes it for it. */
import type { Vcpu } from '@visorkit/core';
import type { VmcsRegions } from '@visorkit/machine';
import { PAGE, TWO_32 } from './bits.js';

const READ = 1;

/** Pages that are kept in mind; more empty the list. */
const MOST = 4096;

export class HypervisorMemory {
  /** Host-physical pages by guest-physical page number, of views that have not changed since; by vCPU. */
  readonly #pages: Map<number, number>[];
  #changes = 0;

  constructor(
    private readonly regions: VmcsRegions,
    cpus: number,
  ) {
    this.#pages = Array.from({ length: cpus }, () => new Map<number, number>());
  }

  /** Host-physical address of the page at `gpa`, -1 where there is no memory that can be read. */
  page(vcpu: Vcpu, gpa: number): number {
    if (this.#changes !== this.regions.changes) this.forget();
    const pages = this.#pages[vcpu.index],
      number = Math.floor(gpa / PAGE);
    const known = pages.get(number);
    if (known !== undefined) return known;
    const frame = this.regions.frame(vcpu, gpa);
    const hpa = frame === undefined || (frame.rights & READ) === 0 ? -1 : frame.hpa;
    if (pages.size > MOST) pages.clear();
    pages.set(number, hpa);
    return hpa;
  }

  /** Views have changed, or a VM has been restored. */
  forget(): void {
    this.#changes = this.regions.changes;
    for (const pages of this.#pages) pages.clear();
  }

  /** Host-physical address of the 32-bit word at `gpa`, aligned; -1. */
  word(vcpu: Vcpu, gpa: number): number {
    const page = this.page(vcpu, gpa);
    return page < 0 ? -1 : page + (gpa % PAGE);
  }

  /** Something has been written at `gpa` past the tables of the machine, if there is memory. */
  noteWrite(vcpu: Vcpu, gpa: number): void {
    if (this.page(vcpu, gpa) >= 0) this.regions.noteWrite(vcpu, gpa);
  }

  /** 32 bits at an aligned address; all ones where there is no memory. */
  read32(vcpu: Vcpu, gpa: number): number {
    const at = this.word(vcpu, gpa);
    return at < 0 ? 0xffff_ffff : this.regions.words[at >>> 2];
  }
  read64(vcpu: Vcpu, gpa: number): bigint {
    return BigInt(this.read32(vcpu, gpa)) | (BigInt(this.read32(vcpu, gpa + 4)) << 32n);
  }
  /** An aligned address below 2^53. */
  readAddress(vcpu: Vcpu, gpa: number): number {
    return this.read32(vcpu, gpa) + this.read32(vcpu, gpa + 4) * TWO_32;
  }
  /** Where there is no memory nothing happens. */
  write32(vcpu: Vcpu, gpa: number, value: number): void {
    const at = this.word(vcpu, gpa);
    if (at < 0) return;
    this.regions.words[at >>> 2] = value;
    this.regions.noteWrite(vcpu, gpa);
  }
  write64(vcpu: Vcpu, gpa: number, value: bigint): void {
    this.write32(vcpu, gpa, Number(value & 0xffff_ffffn));
    this.write32(vcpu, gpa + 4, Number((value >> 32n) & 0xffff_ffffn));
  }
  readByte(vcpu: Vcpu, gpa: number): number {
    const at = this.word(vcpu, gpa);
    return at < 0 ? 0xff : this.regions.bytes[at];
  }
  writeByte(vcpu: Vcpu, gpa: number, value: number): void {
    const at = this.word(vcpu, gpa);
    if (at < 0) return;
    this.regions.bytes[at] = value;
    this.regions.noteWrite(vcpu, gpa);
  }
}
