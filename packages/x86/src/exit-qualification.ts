/**
 * Exit qualifications taken apart (Intel SDM volume 3C, 28.2.1). Each function takes the low 32 bits as an unsigned number and
 * allocates nothing; the ones for hot paths come one question a function.
 */

// ---------------------------------------------------------------- I/O instructions (table 28-5)
/** Bytes of one access: 1, 2 or 4. */
export function ioSize(q: number): 1 | 2 | 4 {
  return ((q & 7) + 1) as 1 | 2 | 4;
}
export function ioInput(q: number): boolean {
  return (q & 8) !== 0;
}
export function ioString(q: number): boolean {
  return (q & 16) !== 0;
}
export function ioRep(q: number): boolean {
  return (q & 32) !== 0;
}
export function ioPort(q: number): number {
  return q >>> 16;
}

// ---------------------------------------------------------------- control registers (table 28-3)
export const CrAccess = { MOV_TO: 0, MOV_FROM: 1, CLTS: 2, LMSW: 3 } as const;
export function crNumber(q: number): number {
  return q & 15;
}
/** One of {@link CrAccess}. */
export function crAccess(q: number): number {
  return (q >>> 4) & 3;
}
export function crLmswMemory(q: number): boolean {
  return (q & 64) !== 0;
}
/** General register of MOV, 0-15. */
export function crRegister(q: number): number {
  return (q >>> 8) & 15;
}
export function crLmswSource(q: number): number {
  return q >>> 16;
}

// ---------------------------------------------------------------- MOV DR (table 28-4)
export function drNumber(q: number): number {
  return q & 7;
}
/** True for MOV from DR. */
export function drRead(q: number): boolean {
  return (q & 16) !== 0;
}
export function drRegister(q: number): number {
  return (q >>> 8) & 15;
}

// ---------------------------------------------------------------- task switch (table 28-2)
export const TaskSwitchSource = { CALL: 0, IRET: 1, JMP: 2, GATE: 3 } as const;
export function taskSelector(q: number): number {
  return q & 0xffff;
}
export function taskSource(q: number): number {
  return q >>> 30;
}

// ---------------------------------------------------------------- interruption information (25.9.2, 25.9.3)
export function infoValid(info: number): boolean {
  return info >>> 31 === 1;
}
export function infoHasError(info: number): boolean {
  return (info & 0x800) !== 0;
}
/** Bit 12: an IRET that ended blocking by NMI was in flight. */
export function infoNmiUnblocking(info: number): boolean {
  return (info & 0x1000) !== 0;
}

// ---------------------------------------------------------------- VM-exit instruction information (tables 28-8 to 28-15)
/** Bits 9:7, address size in bytes: 2, 4 or 8. */
export function infoAddressSize(info: number): 2 | 4 | 8 {
  return (2 << ((info >>> 7) & 7)) as 2 | 4 | 8;
}
/** Bits 17:15, segment register. */
export function infoSegment(info: number): number {
  return (info >>> 15) & 7;
}
