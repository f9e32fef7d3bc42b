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
export function ioImmediate(q: number): boolean {
  return (q & 64) !== 0;
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

// ---------------------------------------------------------------- EPT violations (table 28-7)
export const EptViolationBit = {
  READ: 1,
  WRITE: 2,
  EXECUTE: 4,
  READABLE: 8,
  WRITABLE: 16,
  EXECUTABLE: 32,
  EXECUTABLE_USER: 64,
  LINEAR_VALID: 128,
  TRANSLATION: 256,
  USER: 512,
  GUEST_WRITABLE: 1024,
  GUEST_NX: 2048,
  NMI_UNBLOCKING: 4096,
} as const;
export function eptRead(q: number): boolean {
  return (q & 1) !== 0;
}
export function eptWrite(q: number): boolean {
  return (q & 2) !== 0;
}
export function eptExecute(q: number): boolean {
  return (q & 4) !== 0;
}
/** Rights the tables gave, as EptRights. */
export function eptRightsFound(q: number): number {
  return (q >>> 3) & 7;
}
export function eptLinearValid(q: number): boolean {
  return (q & 128) !== 0;
}
/** True for an access to the translated address, false for one to a guest paging structure. */
export function eptFinalAccess(q: number): boolean {
  return (q & 384) === 384;
}

// ---------------------------------------------------------------- APIC access (table 28-6)
export const ApicAccess = {
  READ: 0,
  WRITE: 1,
  FETCH: 2,
  EVENT: 3,
  MONITOR: 4,
  PHYSICAL_EVENT: 10,
  PHYSICAL: 15,
} as const;
export function apicOffset(q: number): number {
  return q & 0xfff;
}
export function apicAccess(q: number): number {
  return (q >>> 12) & 15;
}

// ---------------------------------------------------------------- debug exceptions (table 28-1)
/** Breakpoints met, bits 3:0. */
export function debugBreakpoints(q: number): number {
  return q & 15;
}
export function debugRegisterAccess(q: number): boolean {
  return (q & 0x2000) !== 0;
}
export function debugSingleStep(q: number): boolean {
  return (q & 0x4000) !== 0;
}

// ---------------------------------------------------------------- interruption information (25.9.2, 25.9.3)
export function infoValid(info: number): boolean {
  return info >>> 31 === 1;
}
export function infoVector(info: number): number {
  return info & 0xff;
}
/** One of EventType. */
export function infoType(info: number): number {
  return (info >>> 8) & 7;
}
export function infoHasError(info: number): boolean {
  return (info & 0x800) !== 0;
}
/** Bit 12: an IRET that ended blocking by NMI was in flight. */
export function infoNmiUnblocking(info: number): boolean {
  return (info & 0x1000) !== 0;
}

// ---------------------------------------------------------------- VM-exit instruction information (tables 28-8 to 28-15)
/** Bits 1:0, scaling of the index as a shift. */
export function infoScale(info: number): number {
  return info & 3;
}
/** Bits 6:3, first register operand of VMREAD, VMWRITE, LLDT, RDRAND, … */
export function infoRegister1(info: number): number {
  return (info >>> 3) & 15;
}
/** Bits 9:7, address size in bytes: 2, 4 or 8. */
export function infoAddressSize(info: number): 2 | 4 | 8 {
  return (2 << ((info >>> 7) & 7)) as 2 | 4 | 8;
}
/** Bit 10: the operand is a register, not memory. */
export function infoRegisterForm(info: number): boolean {
  return (info & 0x400) !== 0;
}
/** Bits 12:11, operand size of LGDT and the like, RDRAND, RDSEED: 2, 4 or 8 bytes. */
export function infoOperandSize(info: number): 2 | 4 | 8 {
  return (2 << ((info >>> 11) & 3)) as 2 | 4 | 8;
}
/** Bits 17:15, segment register. */
export function infoSegment(info: number): number {
  return (info >>> 15) & 7;
}
/** Bits 21:18, index register; undefined when bit 22 says there is none. */
export function infoIndex(info: number): number | undefined {
  return info & 0x400000 ? undefined : (info >>> 18) & 15;
}
/** Bits 26:23, base register; undefined when bit 27 says there is none. */
export function infoBase(info: number): number | undefined {
  return info & 0x8000000 ? undefined : (info >>> 23) & 15;
}
/** Bits 31:28, second register operand (VMREAD, VMWRITE, INVEPT, INVVPID, INVPCID). */
export function infoRegister2(info: number): number {
  return info >>> 28;
}
