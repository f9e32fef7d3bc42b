/** Fills the vCPU's VmExit record from the exit-information fields of the VMCS. Runs at every exit: no allocation, no bigint. */
import type { VmExit } from '@visorkit/core';
import * as layout from '@visorkit/engine/layout';
import * as vmcsLayout from '@visorkit/engine/vmcs-layout';
import type { Engine } from '@visorkit/engine';
import { ExitReason, infoAddressSize, infoSegment, ioInput, ioPort, ioRep, ioSize, ioString } from '@visorkit/x86';

const word = (address: number): number => address >>> 2;
const QUALIFICATION = word(vmcsLayout.V_EXIT_QUALIFICATION);
const LENGTH = word(vmcsLayout.V_INSTRUCTION_LENGTH);
const INFO = word(vmcsLayout.V_INSTRUCTION_INFO);
const INTERRUPTION = word(vmcsLayout.V_EXIT_INTERRUPTION_INFO);
const INTERRUPTION_ERROR = word(vmcsLayout.V_EXIT_ERROR_CODE);
const VECTORING = word(vmcsLayout.V_IDT_VECTORING_INFO);
const VECTORING_ERROR = word(vmcsLayout.V_IDT_VECTORING_ERROR_CODE);
const PHYSICAL = word(vmcsLayout.V_GUEST_PHYSICAL);
const LINEAR = word(vmcsLayout.V_GUEST_LINEAR);
const RAX = word(layout.REGS);

export function fillExit(exit: VmExit, engine: Engine, result: number): void {
  const { words } = engine,
    reason = result & 0xffff;
  exit.reason = reason;
  exit.entryFailure = result >= 0x8000_0000;
  const qualification = words[QUALIFICATION];
  exit.qualification = qualification;
  exit.qualificationHigh = words[QUALIFICATION + 1];
  exit.instructionLength = words[LENGTH];
  exit.instructionInfo = words[INFO];
  exit.interruptionInfo = words[INTERRUPTION];
  exit.interruptionErrorCode = words[INTERRUPTION_ERROR];
  exit.idtVectoringInfo = exit.entryFailure ? 0 : words[VECTORING];
  exit.idtVectoringErrorCode = words[VECTORING_ERROR];
  exit.mmio.valid = false;
  if (reason === ExitReason.IO) fillIo(exit, words, qualification);
  else if (reason === ExitReason.EPT_VIOLATION || reason === ExitReason.EPT_MISCONFIGURATION) {
    exit.gpa = words[PHYSICAL] + words[PHYSICAL + 1] * 0x1_0000_0000;
    exit.guestLinearLow = words[LINEAR];
    exit.guestLinearHigh = words[LINEAR + 1];
  }
}

function fillIo(exit: VmExit, words: Uint32Array, qualification: number): void {
  const { io } = exit,
    size = ioSize(qualification);
  io.port = ioPort(qualification);
  io.size = size;
  io.input = ioInput(qualification);
  io.string = ioString(qualification);
  io.rep = ioRep(qualification);
  const a = words[RAX];
  io.value = io.input ? 0 : size === 1 ? a & 0xff : size === 2 ? a & 0xffff : a;
  if (io.string) {
    const info = exit.instructionInfo;
    io.addressSize = infoAddressSize(info);
    io.segment = io.input ? 0 : infoSegment(info);
    exit.guestLinearLow = words[LINEAR];
    exit.guestLinearHigh = words[LINEAR + 1];
  }
}

/** The record of a deadline: exit 52, between instructions. */
export function fillDeadline(exit: VmExit): void {
  exit.reason = ExitReason.PREEMPTION_TIMER;
  exit.entryFailure = false;
  exit.qualification = exit.qualificationHigh = exit.instructionLength = exit.instructionInfo = 0;
  exit.interruptionInfo = exit.idtVectoringInfo = 0;
  exit.mmio.valid = false;
}
