/** Steps of a fake vCPU's script: one function per kind of exit. `after`: instructions retired before it. */
import { ExitReason, Gpr } from '@visorkit/core';
import type { VmExit } from '@visorkit/core';
import type { ScriptedExit } from './fake-vcpu.js';

/** An exit by reason, with whatever else `fill` sets. */
export function anExit(reason: number, fill: (exit: VmExit) => void = () => {}, after = 0): ScriptedExit {
  return {
    after,
    fill: (exit) => {
      exit.reason = reason;
      fill(exit);
    },
  };
}

/** CPUID of a leaf and subleaf. */
export function cpuidExit(leaf: number, subleaf = 0, after = 0): ScriptedExit {
  return {
    after,
    fill: (exit, vcpu) => {
      exit.reason = ExitReason.CPUID;
      exit.instructionLength = 2;
      vcpu.setRegister32(Gpr.RAX, leaf);
      vcpu.setRegister32(Gpr.RCX, subleaf);
    },
  };
}

/** OUT of a value. */
export function outExit(port: number, value: number, size: 1 | 2 | 4 = 1, after = 0): ScriptedExit {
  return anExit(
    ExitReason.IO,
    (exit) => Object.assign(exit.io, { port, value, size, input: false, string: false, rep: false }),
    after,
  );
}

/** IN: the result lands in RAX when the exit is completed. */
export function inExit(port: number, size: 1 | 2 | 4 = 1, after = 0): ScriptedExit {
  return anExit(
    ExitReason.IO,
    (exit) => Object.assign(exit.io, { port, value: 0, size, input: true, string: false, rep: false }),
    after,
  );
}

/** INS or OUTS, with REP; the caller sets RCX, RSI or RDI. */
export function stringIoExit(port: number, size: 1 | 2 | 4, input: boolean, rep = true, after = 0): ScriptedExit {
  return anExit(
    ExitReason.IO,
    (exit) =>
      Object.assign(exit.io, {
        port,
        value: 0,
        size,
        input,
        string: true,
        rep,
        addressSize: 8,
        segment: input ? 0 : 3,
      }),
    after,
  );
}

/** A read of memory that no RAM backs. */
export function mmioReadExit(gpa: number, size: 1 | 2 | 4 | 8 = 4, after = 0): ScriptedExit {
  return anExit(
    ExitReason.EPT_VIOLATION,
    (exit) => {
      exit.gpa = gpa;
      exit.qualification = 1;
      Object.assign(exit.mmio, { valid: true, gpa, size, write: false, value: 0, valueHigh: 0 });
    },
    after,
  );
}

/** A write to memory that no RAM backs. */
export function mmioWriteExit(
  gpa: number,
  value: number,
  size: 1 | 2 | 4 | 8 = 4,
  valueHigh = 0,
  after = 0,
): ScriptedExit {
  return anExit(
    ExitReason.EPT_VIOLATION,
    (exit) => {
      exit.gpa = gpa;
      exit.qualification = 2;
      Object.assign(exit.mmio, { valid: true, gpa, size, write: true, value, valueHigh });
    },
    after,
  );
}

/** HLT; `interrupts` sets IF first, as `sti; hlt` does. */
export function hltExit(interrupts = true, after = 0): ScriptedExit {
  return {
    after,
    fill: (exit, vcpu) => {
      exit.reason = ExitReason.HLT;
      vcpu.rflags = interrupts ? vcpu.rflags | 0x200n : vcpu.rflags & ~0x200n;
    },
  };
}

/** RDMSR of an index. */
export function rdmsrExit(index: number, after = 0): ScriptedExit {
  return {
    after,
    fill: (exit, vcpu) => {
      exit.reason = ExitReason.RDMSR;
      exit.instructionLength = 2;
      vcpu.setRegister32(Gpr.RCX, index);
    },
  };
}

/** WRMSR of a 64-bit value. */
export function wrmsrExit(index: number, value: bigint, after = 0): ScriptedExit {
  return {
    after,
    fill: (exit, vcpu) => {
      exit.reason = ExitReason.WRMSR;
      exit.instructionLength = 2;
      vcpu.setRegister32(Gpr.RCX, index);
      vcpu.setRegister32(Gpr.RAX, Number(value & 0xffff_ffffn));
      vcpu.setRegister32(Gpr.RDX, Number(value >> 32n));
    },
  };
}

/** Guest code that runs for a while without exiting. Give it last: the run then ends by a limit. */
export function busyFor(instructions: number): ScriptedExit {
  return anExit(ExitReason.PREEMPTION_TIMER, () => {}, instructions);
}
