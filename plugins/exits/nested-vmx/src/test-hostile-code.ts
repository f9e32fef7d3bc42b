/** What the guest of a hostile hypervisor executes, and where it has things in its memory. */
import { AT } from './test-hypervisor.js';

/** Where the random choices come from. */
export interface Chance {
  random(): number;
  pick<T>(list: readonly T[]): T;
  /** True once in so many times. */
  one(of: number): boolean;
}

const SIZE = 0x20_0000;
/** In the guest's memory. */
export const INSIDE = {
  code: AT.guest,
  /** VMCALL, IRETQ. */
  handler: 0x6000,
  stack: AT.guestStack,
  paging: 0x1_0000,
  pdptes: 0x1_3000,
  idt: 0x1_4000,
  gdt: 0x1_5000,
  data: 0x2_0000,
} as const;
export const APIC = 0xfee0_0000;
/** Version, task priority, end of interrupt, in service, requests, both halves of the interrupt command, timer. */
const APIC_REGISTERS = [0x30, 0x80, 0xb0, 0x100, 0x200, 0x300, 0x310, 0x380] as const;

/** One of the guest's instructions that exit, or might, with what prepares its operands. */
export function guestInstruction(maker: Chance): readonly number[] {
  const { random } = maker;
  const le = (value: number, bytes = 4): number[] =>
    Array.from({ length: bytes }, (_, at) => Math.floor(value / 2 ** (8 * at)) % 256);
  /** Of the guest: its own data, stack, code and tables, its APIC, none, and not canonical (in 64-bit code). */
  const place = (): number[] => {
    if (maker.one(3)) return [...le(APIC + maker.pick(APIC_REGISTERS)), 0, 0, 0, 0];
    const at = maker.pick([INSIDE.data, INSIDE.data, INSIDE.code, INSIDE.paging, APIC, SIZE, 2 ** 31]);
    return [...le(at + maker.pick([0xffd, 0x7e, (random() % 0x400) * 4])), 0, 0, 0, maker.one(32) ? 0x80 : 0];
  };
  const msr = (): number =>
    maker.pick([0x10, 0x1b, 0x174, 0x277, 0x3a, 0x480, 0x800 + (random() % 0x40), 0xc000_0080, 0xc000_0082, random()]);
  switch (random() % 14) {
    case 7:
    case 8:
    case 0: // MOV RBX, place; then a read, a write, one with LOCK, or an operand of an instruction in memory
      return [
        ...[0x48, 0xbb, ...place()],
        ...maker.pick([
          [0x8b, 0x03],
          [0x89, 0x03],
          [0x89, 0x03],
          [0xf0, 0xff, 0x03],
          [0x0f, 0x01, 0x03],
          [0x0f, 0x01, 0x1b],
          [0x0f, 0xc7, 0x33],
          [0x66, 0x0f, 0xc7, 0x33],
          [0x0f, 0xae, 0x03],
          [0x0f, 0xc7, 0x23],
          [0x0f, 0x78, 0x03],
          [0x66, 0x0f, 0x38, 0x82, 0x03],
          [0x66, 0x0f, 0x38, 0x80, 0x03],
          [0x66, 0x0f, 0x38, 0x81, 0x03],
          [0xf3, 0x0f, 0xc7, 0x33],
          [0x0f, 0xc7, 0x3b],
          [0x0f, 0xc7, 0x2b],
          [0x0f, 0xc7, 0x1b],
          [0xff, 0xe3],
        ]),
      ];
    case 1: // MOV ECX, MSR; RDMSR, WRMSR
      return [0xb9, ...le(msr()), 0x0f, maker.one(2) ? 0x32 : 0x30];
    case 2: // MOV ECX, count; MOV DX, port; IN, OUT, INSB, OUTSB with REP
      return [
        ...[0xb9, ...le(random() % 32), 0x66, 0xba, ...le(random() % 0x10000, 2)],
        ...maker.pick([[0xec], [0xef], [0xf3, 0x6c], [0xf3, 0x6e], [0xe4, 0x60]]),
      ];
    case 3: // control and debug registers
      return [
        ...[0x48, 0xb8, ...le(maker.pick([0x8000_0031, 0x2020, INSIDE.pdptes, INSIDE.paging, random()])), 0, 0, 0, 0],
        ...[0x0f, maker.pick([0x20, 0x22, 0x22, 0x21, 0x23]), 0xc0 | (maker.pick([0, 2, 3, 4, 7]) << 3)],
      ];
    case 4: // MOV EAX, function; MOV ECX, index; VMFUNC
      return [0xb8, ...le(maker.one(8) ? 1 : 0), 0xb9, ...le(random() % 4), 0x0f, 0x01, 0xd4];
    case 5: // POPF with TF, IF or AC, and what follows
      return [0x68, ...le(maker.pick([0x102, 0x202, 0x4_0202])), 0x9d];
    case 6:
      // none with REP, which may go on for very long
      return Array.from({ length: 1 + (random() % 8) }, () => random() & 0xff).map((byte) =>
        byte >= 0xf2 && byte <= 0xf3 ? 0x90 : byte,
      );
    default:
      return maker.pick(INSTRUCTIONS);
  }
}

/** Instructions without operands that matter. */
const INSTRUCTIONS: readonly (readonly number[])[] = [
  [0x0f, 0xa2], // CPUID
  [0xf4], // HLT
  [0x0f, 0x31], // RDTSC
  [0x0f, 0x01, 0xf9], // RDTSCP
  [0x0f, 0x33], // RDPMC
  [0xf3, 0x90], // PAUSE
  [0x0f, 0x01, 0xc8], // MONITOR
  [0x0f, 0x01, 0xc9], // MWAIT
  [0x0f, 0x09], // WBINVD
  [0x0f, 0x08], // INVD
  [0x0f, 0x06], // CLTS
  [0x0f, 0x01, 0xf0], // LMSW AX
  [0x0f, 0x01, 0x38], // INVLPG [RAX]
  [0x0f, 0x01, 0xd1], // XSETBV
  [0x0f, 0xc7, 0xf0], // RDRAND EAX
  [0x0f, 0xc7, 0xf8], // RDSEED EAX
  [0x66, 0x0f, 0xae, 0xf1], // TPAUSE ECX
  [0x0f, 0x00, 0xc8], // STR
  [0x0f, 0x00, 0xd0], // LLDT AX
  [0x44, 0x0f, 0x22, 0xc0], // MOV CR8, RAX
  [0x44, 0x0f, 0x20, 0xc0], // MOV RAX, CR8
  [0x0f, 0x78, 0xc1], // VMREAD
  [0x0f, 0x79, 0xc1], // VMWRITE
  [0x0f, 0x01, 0xc2], // VMLAUNCH
  [0x0f, 0x01, 0xc4], // VMXOFF
  [0xcc], // INT3
  [0xcd, 0x80], // INT
  [0x0f, 0x0b], // UD2
  [0x0f, 0xaa], // RSM
  [0x0f, 0x37], // GETSEC
  [0x48, 0xcf], // IRETQ
  [0xfb], // STI
  [0xeb, 0xfe], // a loop without end
  [0xff, 0x2c, 0x24], // JMP FAR [RSP]
  [0x66, 0x8c, 0xd0, 0x8e, 0xd0], // MOV SS, AX: blocks events
];
