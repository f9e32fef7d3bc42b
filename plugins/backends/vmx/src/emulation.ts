/** What a handler of an EPT violation may have done with the one access, or the one instruction, on the software processor. */
import { fail } from '@visorkit/core';
import type { Emulation, Vcpu } from '@visorkit/core';
import type { Engine, MmioLog, ProcessorBanks } from '@visorkit/engine';
import { Efer } from '@visorkit/x86';
import type { VmxMemoryViews } from './memory-views.js';

const PAGE = 4096;
const INSTRUCTION_BYTES = 15;
const CS = 1;
/** Exit qualification of an EPT violation (SDM 3C, table 28-7). */
const FETCH = 4;

const hex = (value: number): string => `0x${value.toString(16)}`;

export class VmxEmulation implements Emulation {
  private readonly code = new Uint8Array(INSTRUCTION_BYTES);

  constructor(
    private readonly vcpu: Vcpu,
    private readonly banks: ProcessorBanks,
    private readonly views: VmxMemoryViews,
  ) {}

  private get engine(): Engine {
    return this.banks.select(this.vcpu.index);
  }
  private get log(): MmioLog {
    return this.engine.mmio;
  }

  get kind(): 'data' | 'fetch' | 'walk' {
    if (this.log.requested) return 'data';
    return (this.vcpu.exit.qualification & FETCH) !== 0 ? 'fetch' : 'walk';
  }
  get size(): number {
    return this.log.requested ? this.log.size : 0;
  }
  get valueLow(): number {
    return this.#written(0);
  }
  get valueHigh(): number {
    return this.#written(4);
  }
  bytes(): Uint8Array {
    const { log, size } = this;
    return Uint8Array.from({ length: log.write ? size : 0 }, (_unused, at) => log.data(at, 1));
  }

  allow(page: 'shown' | 'own' = 'shown'): void {
    const { kind, vcpu, log } = this,
      { gpa } = vcpu.exit;
    if (kind === 'fetch') return this.#execute(page);
    const address = this.views.addressOf(vcpu, gpa, page) ?? this.#nothingThere(gpa);
    this.engine.memory.bring(address - (address % PAGE), PAGE);
    if (kind === 'walk') {
      log.permitWalk(gpa, address);
      this.views.noteWrite(vcpu, gpa);
      return;
    }
    if (log.write) this.views.noteWrite(vcpu, gpa);
    log.letThrough(address);
  }

  supply(bytes: Uint8Array): void {
    const { log, size } = this;
    if (this.kind !== 'data' || log.write)
      fail('EMULATION_ACCESS', `Only a data read can be given bytes; this exit is ${this.#what()}.`);
    if (bytes.length < size)
      fail('EMULATION_ACCESS', `The read is of ${size} bytes; it was given ${bytes.length}.`, { size });
    for (let at = 0; at < size; at++) log.setData(at, 1, bytes[at]);
    log.complete();
  }

  discard(): void {
    const { log } = this;
    if (this.kind !== 'data' || !log.write)
      fail('EMULATION_ACCESS', `Only a data write can be left out; this exit is ${this.#what()}.`);
    log.complete();
  }

  execute(bytes: Uint8Array): void {
    if (bytes.length === 0 || bytes.length > INSTRUCTION_BYTES)
      fail('EMULATION_INSTRUCTION', `An instruction has 1 to ${INSTRUCTION_BYTES} bytes; got ${bytes.length}.`);
    const { engine } = this;
    engine.mmio.forget();
    engine.supplied.give(bytes);
  }

  executeOwn(): void {
    this.#execute('own');
  }

  /** Gives the processor the instruction at RIP, of which it may not fetch all. */
  #execute(page: 'shown' | 'own'): void {
    const { vcpu, engine, code } = this;
    const linear = vcpu.codeBits === 64 ? vcpu.rip : (vcpu.getSegment(CS).base + vcpu.rip) & 0xffff_ffffn;
    const inPage = PAGE - Number(linear & 0xfffn);
    code.fill(0);
    this.#fetch(linear, 0, inPage, page);
    if (inPage < INSTRUCTION_BYTES) {
      const next = linear + BigInt(inPage);
      const long = (vcpu.efer & Efer.LMA) !== 0n;
      this.#fetch(long ? BigInt.asUintN(64, next) : next & 0xffff_ffffn, inPage, INSTRUCTION_BYTES, page);
    }
    engine.mmio.forget();
    engine.supplied.give(code);
  }

  /** Fills the code from `first` to `end`; leaves it where there is none, because the instruction may end before. */
  #fetch(linear: bigint, first: number, end: number, page: 'shown' | 'own'): void {
    const gpa = this.vcpu.translate(linear, 'probe'),
      address = gpa < 0 ? undefined : this.views.addressOf(this.vcpu, gpa, page);
    if (address === undefined) return;
    const { code } = this,
      { memory, bytes } = this.engine;
    memory.bring(address - (address % PAGE), PAGE);
    for (let at = first; at < end && at < INSTRUCTION_BYTES; at++) code[at] = bytes[address + at - first];
  }

  #written(offset: number): number {
    const { log } = this,
      left = log.requested && log.write ? log.size - offset : 0;
    return left >= 4 ? log.data(offset, 4) : left > 0 ? log.data(offset, left) : 0;
  }

  #what(): string {
    const { kind, log } = this;
    return kind === 'fetch'
      ? 'of a fetch'
      : kind === 'walk'
        ? 'of a page walk'
        : `of a ${log.write ? 'write' : 'read'}`;
  }

  #nothingThere(gpa: number): never {
    fail('EMULATION_ACCESS', `There is no memory at guest-physical ${hex(gpa)}; devices answer there.`, { gpa });
  }
}
