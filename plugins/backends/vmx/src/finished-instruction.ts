/** The end of an instruction that the framework has carried out: what the processor does there besides, when it carries one out itself. */
import type { BackendVcpu, VmExit } from '@visorkit/core';
import * as layout from '@visorkit/engine/layout';
import type { Engine, ProcessorBanks } from '@visorkit/engine';
import { EventType, ExitReason } from '@visorkit/x86';

const RIP = layout.RIP >>> 2;
const RETIRED = layout.RETIRED >>> 2;
const HOST_DEADLINE = layout.HOST_DEADLINE >>> 2;
const INTERRUPTIBILITY = layout.INTERRUPTIBILITY >>> 2;
const PENDING_DEBUG = layout.PENDING_DEBUG >>> 2;
const EFLAGS = layout.EFLAGS >>> 2;
const DEBUGCTL = layout.MSR_DEBUGCTL >>> 2;
const DR7 = (layout.DR + 56) >>> 2;
const BREAKPOINTS_ENABLED = 0xff;
const TF = 1 << 8;
const RF = 1 << 16;
const BTF = 2;
const SINGLE_STEP = 1 << 14;
const BREAKPOINT_MET = 1 << 12;
/** Blocking by STI and by MOV SS. */
const BLOCKED_FOR_ONE = 3;

/** Exits after which RESUME does not move RIP: those between instructions, and those of a finished instruction. */
const BETWEEN: readonly boolean[] = flagged([
  ExitReason.EXTERNAL_INTERRUPT,
  ExitReason.TRIPLE_FAULT,
  ExitReason.INIT,
  ExitReason.SIPI,
  ExitReason.INTERRUPT_WINDOW,
  ExitReason.NMI_WINDOW,
  ExitReason.TASK_SWITCH,
  ExitReason.ENTRY_FAILURE_GUEST_STATE,
  ExitReason.ENTRY_FAILURE_MSR_LOAD,
  ExitReason.MONITOR_TRAP_FLAG,
  ExitReason.TPR_BELOW_THRESHOLD,
  ExitReason.VIRTUALIZED_EOI,
  ExitReason.EPT_VIOLATION,
  ExitReason.EPT_MISCONFIGURATION,
  ExitReason.PREEMPTION_TIMER,
  ExitReason.APIC_WRITE,
  ExitReason.PAGE_MODIFICATION_LOG_FULL,
  ExitReason.BUS_LOCK,
]);

type Registers = Pick<BackendVcpu, 'index' | 'codeBits' | 'setRegister8' | 'setRegister16' | 'setRegister32'>;

export class FinishedInstruction {
  constructor(
    private readonly vcpu: Registers,
    private readonly banks: ProcessorBanks,
    private readonly exit: VmExit,
  ) {}

  /** The exit's instruction is done: what a port gave is in the register, RIP is behind it. Not for accesses to memory. */
  complete(): void {
    const { exit, vcpu } = this,
      { reason, io } = exit;
    if (BETWEEN[reason]) return;
    if (reason === ExitReason.EXCEPTION && !isSoftwareEvent(exit.interruptionInfo)) return;
    if (reason === ExitReason.IO && !io.string) {
      if (io.input) {
        if (io.size === 4) vcpu.setRegister32(0, io.value);
        else if (io.size === 2) vcpu.setRegister16(0, io.value);
        else vcpu.setRegister8(0, io.value);
      }
      this.#meet(0);
    }
    this.advance(exit.instructionLength);
  }

  /** See BackendVcpu.iterationDone. */
  iterationDone(linear: bigint, more: boolean): boolean {
    const { words, exports } = this.engine,
      { io } = this.exit;
    if ((words[DR7] & BREAKPOINTS_ENABLED) !== 0)
      this.#meet(exports.dataBreakpoints(linear, io.size, io.input ? 1 : 0));
    if (!more) return false; // `complete` does the rest
    this.retire(); // or else a count that is high enough would never meet a limit or a timer
    words[INTERRUPTIBILITY] &= ~BLOCKED_FOR_ONE;
    words[EFLAGS] |= RF; // what comes between two iterations saves it (SDM 3B 18.3.1.1)
    this.#step();
    return this.trapPending() || this.#isDeadline();
  }

  /** As many instructions have been retired as the processor was entered for. */
  #isDeadline(): boolean {
    const { words } = this.engine,
      retired = words[RETIRED + 1],
      deadline = words[HOST_DEADLINE + 1];
    return retired > deadline || (retired === deadline && words[RETIRED] >= words[HOST_DEADLINE]);
  }

  /** A single step, or a breakpoint that was met, is due. */
  trapPending(): boolean {
    return (this.banks.state(this.vcpu.index).words[PENDING_DEBUG] & (SINGLE_STEP | BREAKPOINT_MET)) !== 0;
  }

  /** RIP goes behind the instruction. */
  advance(length: number): void {
    const { words, supplied } = this.engine;
    supplied.drop();
    const low = words[RIP] + length;
    words[RIP] = low;
    if (this.vcpu.codeBits !== 64) words[RIP + 1] = 0;
    else if (low > 0xffff_ffff) words[RIP + 1]++;
    words[INTERRUPTIBILITY] &= ~BLOCKED_FOR_ONE;
    words[EFLAGS] &= ~RF;
    this.#step();
    this.retire();
  }

  /** Counts the instruction: virtual time goes on by it. */
  retire(): void {
    const { words } = this.engine;
    words[RETIRED]++;
    if (words[RETIRED] === 0) words[RETIRED + 1]++;
  }

  /** The processor, with this vCPU's state in it. */
  private get engine(): Engine {
    return this.banks.select(this.vcpu.index);
  }

  /** The trap flag makes a debug exception of an instruction that the framework has carried out, too. */
  #step(): void {
    const { words } = this.engine;
    if ((words[EFLAGS] & TF) !== 0 && (words[DEBUGCTL] & BTF) === 0) words[PENDING_DEBUG] |= SINGLE_STEP;
  }

  /** Breakpoints that the instruction has met: `data` in memory, and those at the port of the exit. */
  #meet(data: number): void {
    const { words, exports } = this.engine,
      { io } = this.exit;
    if ((words[DR7] & BREAKPOINTS_ENABLED) === 0) return;
    const hits = data | exports.ioBreakpoints(io.port, io.size);
    if (hits !== 0) words[PENDING_DEBUG] |= hits | BREAKPOINT_MET;
  }
}

/** True at each of these numbers. A set would be asked at every exit, which takes longer. */
function flagged(numbers: readonly number[]): boolean[] {
  const flags = Array.from({ length: Math.max(...numbers) + 1 }, () => false);
  for (const number of numbers) flags[number] = true;
  return flags;
}

/** INT1, INT3 or INTO that exited: RESUME moves over them. */
function isSoftwareEvent(info: number): boolean {
  const type = (info >>> 8) & 7;
  return type === EventType.PRIVILEGED_SOFTWARE_EXCEPTION || type === EventType.SOFTWARE_EXCEPTION;
}
