/**
 * The instruction that a vCPU has exited in. The kernel has begun it and finishes it at its next entry (KVM API, KVM_RUN, on KVM_EXIT_IO,
 * _MMIO, _X86_RDMSR and the like); it tells nobody what it still has to do. So a vCPU that is saved then has the registers from before the
 * instruction, and the kernel begins it again when it goes on: with the values of the accesses that were carried out, up to the exit at
 * which it stood. The writes of an instruction come last, when its registers are written already: they are saved as they are.
 */
import { VisorkitError, VmExit } from '@visorkit/core';
import { Interruptibility } from '@visorkit/x86';
import { EventQueue } from './events.js';
import { Request, Run, RunExit, runExitName } from './kvm-api.js';
import { Errno, errno, libc } from './libc.js';
import { MmioPieces, sourceOf } from './mmio-pieces.js';
import type { MmioSource, SavedAccess } from './mmio-pieces.js';
import { KvmRegisters } from './registers.js';
import type { RegisterAccess } from './registers.js';
import type { RunPage } from './run-page.js';
import { kvmError } from './support.js';
import type { VmParts } from './vm-parts.js';

const EXIT_REASON = Run.EXIT_REASON / 4,
  MMIO_ADDRESS = Run.MMIO_ADDRESS / 4,
  MMIO_LENGTH = Run.MMIO_LENGTH / 4;
/** How long the kernel may need to begin an instruction again, ns; it needs microseconds. */
const BEGUN_AGAIN = 5_000_000_000;
/** Where the kernel has the data of port accesses, in the shared pages: KVM_PIO_PAGE_OFFSET. */
const IO_DATA = 4096;
/** Bytes of an access at most. */
const MMIO_DATA_SIZE = 8;

/** An instruction that the kernel is to begin again. */
export interface SavedInstruction {
  /** KVM's number of the exit at which it stood, and what makes it that exit. */
  readonly reason: number;
  readonly identity: readonly number[];
  /** Of an access to memory: the bytes that were carried out, and what was read. */
  readonly mmio?: { readonly done: number; readonly data: Uint8Array };
  /** Reads that were carried out before; earlier instructions may have made the first of them. */
  readonly reads: readonly SavedAccess[];
}

/** An OUT that the kernel has finished, and nobody has carried out. */
export interface SavedOutput {
  readonly port: number;
  /** Bytes of an element: 1, 2 or 4. */
  readonly size: number;
  readonly data: Uint8Array;
}

/** What of an instruction is not done, when it is saved. */
export interface Unfinished {
  readonly instruction?: SavedInstruction;
  readonly output?: SavedOutput;
  readonly writes?: readonly SavedAccess[];
}

export abstract class ExitedInstruction extends KvmRegisters {
  readonly exit = new VmExit();
  protected readonly events: EventQueue;
  protected readonly pieces = new MmioPieces();
  /** The data of a memory access in the shared page. */
  protected readonly fromRun: MmioSource;
  /** The kernel still has to finish the instruction of the last exit. */
  protected completing = false;
  /** An exit that came while the kernel finished an instruction. */
  protected early = false;
  /** The kernel waits for what the last exit asked, and nobody has carried it out. */
  protected open = false;
  /** The kernel is to begin this again. */
  protected saved: SavedInstruction | undefined;
  readonly #reads = new LastReads();
  readonly #ioctl = libc().ioctlSmall;
  readonly #vcpuFd: number;

  protected constructor(
    access: RegisterAccess,
    protected readonly runPage: RunPage,
    private readonly vm: Pick<VmParts, 'thread' | 'slots'>,
  ) {
    super(access);
    this.#vcpuFd = access.fd;
    this.events = new EventQueue(access.fd, this);
    this.fromRun = sourceOf(runPage.bytes.subarray(Run.MMIO_DATA));
  }

  /** The kernel is told what depends on controls, before it begins a saved instruction again. */
  protected abstract tellControls(): void;

  /** An instruction is half done, or its exit is. */
  protected get unfinished(): boolean {
    return this.early || this.open || this.pieces.pending || this.saved !== undefined;
  }

  /** The kernel finishes the instruction at the next entry, or when somebody wants to know the registers. */
  protected finishLater(read = false): void {
    if (read) this.#reads.add(this.runPage);
    else this.#reads.count = 0;
    if (this.registersDirty) this.flush();
    this.forget();
    this.completing = true;
  }

  /** The guest runs on: an exit that comes may be one of an instruction that the kernel is in the middle of, or not. */
  protected runsOn(): void {
    if (!this.completing) this.#reads.count = 0;
    this.completing = false;
  }

  /** KVM_RUN with immediate_exit finishes the instruction that an exit was about and runs nothing else. */
  protected override settle(): void {
    if (!this.completing) return;
    this.completing = false;
    const { bytes } = this.runPage;
    this.flush();
    bytes[Run.IMMEDIATE_EXIT] = 1;
    const result = this.#ioctl(this.#vcpuFd, Request.RUN, 0),
      error = result < 0 ? errno() : 0;
    bytes[Run.IMMEDIATE_EXIT] = 0;
    this.forget();
    if (result >= 0) this.early = true;
    else if (error !== Errno.EINTR) throw kvmError('to finish an instruction', error);
  }

  /**
   * The kernel finishes what it has begun, whatever the answer; what that does to registers and pending events is undone afterwards, but
   * memory that the instruction writes stays written. False: it had nothing to finish.
   */
  protected cancel(): boolean {
    const general = this.copyGeneral(),
      special = this.copySpecial(),
      events = this.events.save(),
      { queued } = this.events;
    this.runPage.bytes[Run.MSR_ERROR] = 0;
    do {
      this.early = false;
      this.completing = true;
      this.settle();
    } while (this.early); // an instruction that accesses a device several times exits at each access
    const moved = this.copyGeneral().some((byte, at) => byte !== general[at]);
    this.events.restore(events);
    this.events.queued = queued;
    this.putSpecial(special);
    this.putGeneral(general);
    this.open = false;
    return moved;
  }

  // ------------------------------------------------------------------------------------------------ saved and begun again
  /** What is to be done of the instruction, as plain data. The vCPU itself can go on. */
  protected saveUnfinished(): Unfinished {
    this.settle();
    if (this.saved !== undefined) return { instruction: this.saved };
    const writes = this.#takeWrites();
    if (writes.length > 0) this.pieces.startWrites(writes);
    const rest = writes.length > 0 ? { writes } : {};
    const waits = this.early || (this.pieces.pending ? !this.pieces.write : this.open);
    if (!waits) return rest;
    const instruction = this.#describe();
    const { bytes, words } = this.runPage;
    if (words[EXIT_REASON] === RunExit.IO && bytes[Run.IO_DIRECTION] !== 0) {
      // Some kernels have RIP behind an OUT already, or always behind OUTS: then the instruction is over, but for what it put out
      const output = outputOf(this.runPage);
      const { open } = this;
      if (!this.cancel()) {
        this.#putOutput(output);
        this.open = open;
        this.early = !open;
        return { ...rest, output };
      }
      this.saved = instruction;
    }
    return { ...rest, instruction };
  }

  protected restoreUnfinished({ instruction, output, writes = [] }: Unfinished): void {
    this.saved = instruction;
    if (output !== undefined) {
      this.#putOutput(output);
      this.early = true;
    }
    if (writes.length > 0) this.pieces.startWrites(writes);
  }

  /** Has the kernel begin the saved instruction again, up to the exit at which it stood. */
  protected bringBack(): void {
    const { saved, runPage, events } = this;
    if (saved === undefined) return;
    const { reason, identity, mmio, reads } = saved;
    this.saved = undefined;
    // Whatever handlers have changed since the exit is not for the instruction
    const changed = this.registersDirty ? { general: this.copyGeneral(), special: this.copySpecial() } : undefined;
    this.discard();
    const waiting = events.save(),
      { queued } = events;
    // Nothing may come before the instruction
    events.blocking |= Interruptibility.STI | Interruptibility.MOV_SS;
    this.tellControls();
    this.#reads.count = 0;
    const began = Number(process.hrtime.bigint());
    for (;;) {
      this.vm.thread.arm(began + BEGUN_AGAIN, began);
      const result = this.#ioctl(this.#vcpuFd, Request.RUN, 0),
        error = result < 0 ? errno() : 0;
      this.forget();
      if (error === Errno.EINTR) {
        this.vm.thread.drain();
        if (Number(process.hrtime.bigint()) >= began + BEGUN_AGAIN) this.#lost('an instruction that does not exit');
      } else if (error !== 0) throw kvmError('to begin an instruction again', error);
      else if (runPage.words[EXIT_REASON] === reason && same(identityOf(runPage), identity)) break;
      else {
        runPage.bytes.set(this.#readBefore(reads), Run.MMIO_DATA);
        this.#reads.add(runPage); // it may be saved once more
      }
    }
    events.restore(waiting);
    events.queued = queued;
    if (mmio === undefined) this.open = true;
    else {
      runPage.bytes.set(mmio.data, Run.MMIO_DATA);
      this.pieces.start(this.fromRun, identity[0], identity[1], false, mmio.done);
    }
    if (changed === undefined) return;
    this.putSpecial(changed.special);
    this.putGeneral(changed.general);
  }

  /** Makes the shared page that of the exit. */
  #putOutput({ port, size, data }: SavedOutput): void {
    const { bytes, halves, words } = this.runPage;
    words[EXIT_REASON] = RunExit.IO;
    bytes[Run.IO_DIRECTION] = 1;
    bytes[Run.IO_SIZE] = size;
    halves[Run.IO_PORT / 2] = port;
    words[Run.IO_COUNT / 4] = data.length / size;
    words[Run.IO_DATA_OFFSET / 4] = IO_DATA;
    bytes.set(data, IO_DATA);
  }

  /** What was read at the place that the kernel asks for again. */
  #readBefore(reads: readonly SavedAccess[]): Uint8Array {
    const { words, bytes } = this.runPage;
    const read =
      words[EXIT_REASON] === RunExit.MMIO && bytes[Run.MMIO_WRITE] === 0
        ? reads.findLast(({ gpa, data }) => gpa === addressOf(this.runPage) && data.length === words[MMIO_LENGTH])
        : undefined;
    return read?.data ?? this.#lost(runExitName(words[EXIT_REASON]));
  }

  #lost(what: string): never {
    throw new VisorkitError(
      'KVM_EXIT_LOST',
      `vCPU ${this.index} was saved in the middle of an instruction, and when the kernel began it again, it came to ${what}: its code, or memory that it uses, has been changed since.`,
      { vcpu: this.index, rip: `0x${this.rip.toString(16)}` },
    );
  }

  /** Takes the writes that are left of an instruction out of the kernel, which has finished it then. */
  #takeWrites(): SavedAccess[] {
    const { runPage, pieces } = this;
    const { bytes, words } = runPage;
    const writes = pieces.writes();
    if (writes.length > 0) {
      this.completing = true;
      this.settle();
    }
    while (this.early && words[EXIT_REASON] === RunExit.MMIO && bytes[Run.MMIO_WRITE] !== 0) {
      const gpa = addressOf(runPage);
      if (!this.vm.slots.isRom(gpa)) writes.push({ gpa, data: dataOf(runPage) });
      this.early = false;
      this.completing = true;
      this.settle();
    }
    return writes;
  }

  #describe(): SavedInstruction {
    const { runPage } = this;
    const { bytes, words } = runPage;
    const reason = words[EXIT_REASON];
    const mmio = reason === RunExit.MMIO;
    return {
      reason,
      identity: identityOf(runPage),
      ...(mmio && {
        mmio: {
          done: this.early ? 0 : this.pieces.done,
          data: bytes.slice(Run.MMIO_DATA, Run.MMIO_DATA + MMIO_DATA_SIZE),
        },
      }),
      reads: mmio ? this.#reads.before(addressOf(runPage)) : [],
    };
  }
}

/** The last reads that were carried out. An instruction makes few. */
class LastReads {
  static readonly KEPT = 8;
  count = 0;
  readonly #addresses = new Float64Array(LastReads.KEPT);
  readonly #sizes = new Uint8Array(LastReads.KEPT);
  readonly #data = new Uint8Array(LastReads.KEPT * MMIO_DATA_SIZE);

  /** The read in the shared page. */
  add(page: RunPage): void {
    const { bytes, words } = page;
    const at = this.count++ % LastReads.KEPT;
    this.#addresses[at] = addressOf(page);
    this.#sizes[at] = words[MMIO_LENGTH];
    for (let i = 0; i < MMIO_DATA_SIZE; i++) this.#data[at * MMIO_DATA_SIZE + i] = bytes[Run.MMIO_DATA + i];
  }

  /** Those that an instruction may have made before it reads at `gpa`: no instruction reads twice at one place. */
  before(gpa: number): SavedAccess[] {
    const reads: SavedAccess[] = [];
    for (let n = this.count - 1; n >= Math.max(0, this.count - LastReads.KEPT); n--) {
      const at = n % LastReads.KEPT,
        first = at * MMIO_DATA_SIZE;
      if (this.#addresses[at] === gpa) break;
      reads.unshift({ gpa: this.#addresses[at], data: this.#data.slice(first, first + this.#sizes[at]) });
    }
    return reads;
  }
}

/** What makes an exit the same one. Of memory: address, length, whether it writes. */
function identityOf(page: RunPage): number[] {
  const { bytes, halves, words } = page;
  switch (words[EXIT_REASON]) {
    case RunExit.MMIO:
      return [addressOf(page), words[MMIO_LENGTH], bytes[Run.MMIO_WRITE]];
    case RunExit.IO:
      return [bytes[Run.IO_DIRECTION], bytes[Run.IO_SIZE], halves[Run.IO_PORT / 2], words[Run.IO_COUNT / 4]];
    case RunExit.X86_RDMSR:
    case RunExit.X86_WRMSR:
      return [words[Run.MSR_INDEX / 4]];
    case RunExit.HYPERCALL:
      return [words[Run.HYPERCALL_NUMBER / 4]];
    default:
      return [];
  }
}

function outputOf({ bytes, halves, words }: RunPage): SavedOutput {
  const size = bytes[Run.IO_SIZE],
    at = words[Run.IO_DATA_OFFSET / 4];
  return { port: halves[Run.IO_PORT / 2], size, data: bytes.slice(at, at + size * words[Run.IO_COUNT / 4]) };
}

function addressOf({ words }: RunPage): number {
  return words[MMIO_ADDRESS] + words[MMIO_ADDRESS + 1] * 0x1_0000_0000;
}

function dataOf({ bytes, words }: RunPage): Uint8Array {
  return bytes.slice(Run.MMIO_DATA, Run.MMIO_DATA + words[MMIO_LENGTH]);
}

function same(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((value, at) => value === b[at]);
}
