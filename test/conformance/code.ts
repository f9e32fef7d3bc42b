/** Machine code for the guests of this suite: what GuestCode has, and the instructions it lacks. Registers by their numbers. */
import { GuestCode } from '@visorkit/testkit';

const bytes = (value: number, count: number): number[] =>
  Array.from({ length: count }, (_, index) => Math.floor(value / 2 ** (8 * index)) & 0xff);

export const AX = 0,
  CX = 1,
  DX = 2,
  BX = 3,
  SP = 4,
  BP = 5,
  SI = 6,
  DI = 7;

export class Code extends GuestCode {
  /** MOV r32, imm32 in 32- and 64-bit code; MOV r16, imm16 is {@link mov16}. */
  mov(register: number, value: number): this {
    return this.raw(0xb8 + register, ...bytes(value >>> 0, 4));
  }
  /** In 16-bit code. */
  mov16(register: number, value: number): this {
    return this.raw(0xb8 + register, ...bytes(value, 2));
  }
  /** MOV r64, imm64 */
  mov64(register: number, value: bigint): this {
    return this.raw(
      0x48,
      0xb8 + register,
      ...bytes(Number(value & 0xffff_ffffn), 4),
      ...bytes(Number((value >> 32n) & 0xffff_ffffn), 4),
    );
  }
  /** OUT imm8 with AL, or with EAX (AX in 16-bit code). */
  out(port: number): this {
    return this.raw(0xe6, port);
  }
  outWide(port: number): this {
    return this.raw(0xe7, port);
  }
  in(port: number): this {
    return this.raw(0xe4, port);
  }
  inWide(port: number): this {
    return this.raw(0xe5, port);
  }
  /** INC r32 (r16) in 16- and 32-bit code. */
  inc(register: number): this {
    return this.raw(0x40 + register);
  }
  /** DEC r/m32 in every mode. */
  dec(register: number): this {
    return this.raw(0xff, 0xc8 + register);
  }
  /** MOV [EDI + displacement], EAX and back, in 32- and 64-bit code. */
  store(displacement: number): this {
    return this.raw(0x89, 0x87, ...bytes(displacement >>> 0, 4));
  }
  load(displacement: number): this {
    return this.raw(0x8b, 0x87, ...bytes(displacement >>> 0, 4));
  }
  iret(): this {
    return this.raw(0xcf);
  }
  iretq(): this {
    return this.raw(0x48, 0xcf);
  }
  jz(label: string): this {
    return this.jump(0x74, label);
  }
  jc(label: string): this {
    return this.jump(0x72, label);
  }
  loop(label: string): this {
    return this.jump(0xe2, label);
  }
  /** Like `print`, in 32- and 64-bit code. */
  print32(text: string, port = 0x3f8): this {
    this.mov(DX, port);
    for (const character of Buffer.from(text, 'latin1')) this.movAl(character).outDxAl();
    return this;
  }
  /** HLT for good. */
  end(): this {
    return this.cli().label('the end').hlt().jmp('the end');
  }

  /** A jump of two bytes: the target is filled in by `build`, which knows JMP and JNZ only by their labels. */
  private jump(opcode: number, label: string): this {
    this.jmp(label);
    return this.replaceOpcode(opcode);
  }

  #patches: [at: number, opcode: number][] = [];
  #length = 0;

  override raw(...values: readonly number[]): this {
    this.#length += values.length;
    return super.raw(...values);
  }

  private replaceOpcode(opcode: number): this {
    this.#patches.push([this.#length - 2, opcode]);
    return this;
  }

  override build(): Uint8Array {
    const code = super.build();
    for (const [at, opcode] of this.#patches) code[at] = opcode;
    return code;
  }
}

export const code = (): Code => new Code();
