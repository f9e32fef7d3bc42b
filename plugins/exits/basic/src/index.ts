/** Handlers of exits, one file per reason. `exits()` is the set that a PC needs. */
import type { Plugin } from '@visorkit/core';
import { cacheControl } from './cache-control.js';
import { controlRegister } from './control-register.js';
import { cpuid } from './cpuid.js';
import { debugRegister } from './debug-register.js';
import { eptViolation } from './ept-violation.js';
import { exception } from './exception.js';
import { hlt } from './hlt.js';
import { io } from './io.js';
import { monitorMwait } from './monitor-mwait.js';
import { msr } from './msr.js';
import { platformMsrs } from './platform-msrs.js';
import { rdtsc } from './rdtsc.js';
import { tripleFault } from './triple-fault.js';
import type { TripleFaultOptions } from './triple-fault.js';
import { undefinedInstructions } from './undefined-instructions.js';
import { userWait } from './user-wait.js';
import { vmcall } from './vmcall.js';
import { xsetbv } from './xsetbv.js';

export interface ExitsOptions {
  readonly tripleFault?: TripleFaultOptions;
}

/** All handlers. A plugin that taps the same exit without a stage is asked before them. */
export function exits(options: ExitsOptions = {}): Plugin[] {
  return [
    cpuid(),
    msr(),
    platformMsrs(),
    controlRegister(),
    debugRegister(),
    io(),
    hlt(),
    monitorMwait(),
    eptViolation(),
    tripleFault(options.tripleFault),
    exception(),
    xsetbv(),
    cacheControl(),
    vmcall(),
    undefinedInstructions(),
    rdtsc(),
    userWait(),
  ];
}

export {
  cacheControl,
  controlRegister,
  cpuid,
  debugRegister,
  eptViolation,
  exception,
  hlt,
  io,
  monitorMwait,
  msr,
  platformMsrs,
  rdtsc,
  tripleFault,
  undefinedInstructions,
  userWait,
  vmcall,
  xsetbv,
};
export type { TripleFaultOptions };
export { writeControlRegister } from './control-register.js';
export { isValidXcr0 } from './xsetbv.js';
