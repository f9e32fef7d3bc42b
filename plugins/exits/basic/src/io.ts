/**
 * Exit 30: IN, OUT, INS and OUTS, sent to the port bus. The processor has checked IOPL and the I/O permission bitmap
 * before the exit (SDM 3C, 26.1.1).
 */
import { Gpr, InterruptSourceToken, RESUME, RETRY, Segment, Stage, definePlugin, optional } from '@visorkit/core';
import type { GuestMemory, InterruptSource, IoExit, Outcome, Plugin, Vcpu } from '@visorkit/core';
import { GuestMemoryToken, MmioBusToken, PortBusToken } from '@visorkit/machine';
import type { MmioBus, PortBus } from '@visorkit/machine';

/** Elements of a repeated string instruction between two looks at everything else. */
const ELEMENTS_PER_EXIT = 1024;
const DIRECTION = 1n << 10n;
const STACK_FAULT = 12;
const GENERAL_PROTECTION = 13;
const PAGE_FAULT = 14;

export function io(): Plugin {
  return definePlugin({
    name: 'exits/io',
    handles: ['io'],
    capabilities: ['exit.io'],
    uses: {
      ports: PortBusToken,
      mmio: MmioBusToken,
      memory: GuestMemoryToken,
      interrupts: optional(InterruptSourceToken),
    },
    apply({ hooks, vcpus }, { ports, mmio, memory, interrupts }) {
      const sources = vcpus.map(({ index }) => interrupts?.forVcpu?.(index) ?? (index === 0 ? interrupts : undefined));
      const strings = new StringIo(ports, memory, mmio, sources);
      hooks.exit.for('io').tap({ stage: Stage.Machine }, (exit, vcpu) => {
        const { io } = exit;
        if (io.string) return strings.run(io, vcpu);
        if (io.input) io.value = ports.read(io.port, io.size, vcpu.index);
        else ports.write(io.port, io.size, io.value, vcpu.index);
        return RESUME;
      });
    },
  });
}

/**
 * INS and OUTS: moves elements between guest memory and the port, restartable at each (SDM 1, 7.3.9.2). Several of them are done in one exit, as
 * long as nothing is due between two: a single step, a breakpoint, an interrupt.
 */
class StringIo {
  constructor(
    private readonly ports: PortBus,
    private readonly memory: GuestMemory,
    private readonly mmio: MmioBus,
    /** Of interrupts, by vCPU. */
    private readonly sources: readonly (InterruptSource | undefined)[],
  ) {}

  run(io: IoExit, vcpu: Vcpu): Outcome {
    if (io.data !== null) return this.#carried(io, io.data, vcpu.index);
    const mask = (1n << BigInt(8 * io.addressSize)) - 1n;
    const index = io.input ? Gpr.RDI : Gpr.RSI;
    const step = BigInt((vcpu.rflags & DIRECTION) !== 0n ? -io.size : io.size);
    const segment = io.input ? Segment.ES : io.segment;
    let left = io.rep ? vcpu.getRegister(Gpr.RCX) & mask : 1n;
    let offset = vcpu.getRegister(index) & mask;
    let outcome: Outcome = RESUME;
    for (let elements = 1; left > 0n; elements++) {
      const linear = this.#element(io, vcpu, segment, offset);
      if (linear < 0n) {
        outcome = RETRY;
        break;
      }
      offset = (offset + step) & mask;
      left--;
      const due = vcpu.iterationDone?.(linear, left > 0n) === true;
      if (left > 0n && (due || elements === ELEMENTS_PER_EXIT || this.#interrupted(vcpu))) {
        outcome = RETRY;
        break;
      }
    }
    setPart(vcpu, index, offset, io.addressSize);
    if (io.rep) setPart(vcpu, Gpr.RCX, left, io.addressSize);
    return outcome;
  }

  /** The backend moves the data itself. */
  #carried(io: IoExit, data: Uint8Array, vcpu: number): Outcome {
    for (let i = 0; i < io.count; i++) {
      const at = i * io.size;
      if (io.input) {
        const value = this.ports.read(io.port, io.size, vcpu);
        for (let byte = 0; byte < io.size; byte++) data[at + byte] = value >>> (8 * byte);
      } else {
        let value = 0;
        for (let byte = 0; byte < io.size; byte++) value |= data[at + byte] << (8 * byte);
        this.ports.write(io.port, io.size, value >>> 0, vcpu);
      }
    }
    return RESUME;
  }

  /** A device has raised an interrupt that is taken before the next iteration. */
  #interrupted(vcpu: Vcpu): boolean {
    return this.sources[vcpu.index]?.pending() === true && vcpu.interruptsEnabled();
  }

  /** One element; its linear address. Negative: a fault has been injected, and nothing was read or written. */
  #element(io: IoExit, vcpu: Vcpu, segment: number, offset: bigint): bigint {
    const linear = linearAddress(vcpu, segment, offset, io.size, io.input);
    if (linear < 0n) {
      vcpu.injectException(segment === Segment.SS ? STACK_FAULT : GENERAL_PROTECTION, 0);
      return -1n;
    }
    // Both ends first: an element may lie on two pages, and a port must not be read for nothing.
    const access = io.input ? 'write' : 'read';
    const first = vcpu.translate(linear, access);
    const last = first < 0 || io.size === 1 ? first : vcpu.translate(linear + BigInt(io.size - 1), access);
    if (first < 0 || last < 0) {
      const { vector, errorCode, linear: at } = vcpu.translationFault;
      // of the second page the first byte faults
      if (vector === PAGE_FAULT) vcpu.setControlRegister(2, first < 0 ? at : at & ~0xfffn);
      vcpu.injectException(vector || GENERAL_PROTECTION, errorCode);
      return -1n;
    }
    const onFirst = last - first === io.size - 1 ? io.size : 4096 - (first & 0xfff);
    if (io.input) {
      const value = this.ports.read(io.port, io.size, vcpu.index);
      for (let i = 0; i < io.size; i++)
        this.#storeByte(addressOf(i, first, last, onFirst, io.size), (value >>> (8 * i)) & 0xff, vcpu.index);
    } else {
      let value = 0;
      for (let i = 0; i < io.size; i++)
        value |= this.#loadByte(addressOf(i, first, last, onFirst, io.size), vcpu.index) << (8 * i);
      this.ports.write(io.port, io.size, value >>> 0, vcpu.index);
    }
    return linear;
  }

  #loadByte(gpa: number, vcpu: number): number {
    return this.memory.contains(gpa, 1) ? this.memory.readU8(gpa) : this.mmio.read(gpa, 1, vcpu);
  }

  #storeByte(gpa: number, value: number, vcpu: number): void {
    if (this.memory.contains(gpa, 1)) this.memory.writeU8(gpa, value);
    else this.mmio.write(gpa, 1, value, vcpu);
  }
}

/** Where byte `i` of an element is, which may continue on another page. */
function addressOf(i: number, first: number, last: number, onFirst: number, size: number): number {
  return i < onFirst ? first + i : last - (size - 1 - i);
}

/** Linear address of an operand, or -1 when it violates the segment's limit or type (SDM 3A, 5.3 and 5.4). */
function linearAddress(vcpu: Vcpu, segment: number, offset: bigint, size: number, write: boolean): bigint {
  if (vcpu.codeBits === 64) {
    const base = segment === Segment.FS || segment === Segment.GS ? vcpu.getSegment(segment).base : 0n;
    return BigInt.asUintN(64, base + offset);
  }
  const { base, limit, accessRights } = vcpu.getSegment(segment);
  const last = Number(offset) + size - 1;
  const expandDown = (accessRights & 0x1c) === 0x14;
  const outside = expandDown
    ? Number(offset) <= limit || last > ((accessRights & 0x4000) !== 0 ? 0xffff_ffff : 0xffff)
    : last > limit;
  const code = (accessRights & 8) !== 0,
    special = (accessRights & 2) !== 0; // readable code, writable data
  const allowed = code ? !write && special : !write || special;
  if (outside || !allowed || (accessRights & 0x10000) !== 0) return -1n;
  return (base + offset) & 0xffff_ffffn;
}

function setPart(vcpu: Vcpu, register: number, value: bigint, size: number): void {
  if (size === 8) vcpu.setRegister(register, value);
  else if (size === 4) vcpu.setRegister32(register, Number(value));
  else vcpu.setRegister16(register, Number(value));
}
