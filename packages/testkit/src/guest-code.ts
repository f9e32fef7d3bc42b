/** Tiny guests: a few instructions as bytes, written so that a test can be read. Works in 16-bit and 32-bit code alike. */

/** Collects machine code. Every method appends one instruction and returns the builder. */
export class GuestCode {
  #bytes: number[] = [];
  #labels = new Map<string, number>();
  #jumps: { at: number; label: string }[] = [];

  /** Appends bytes as they are. */
  raw(...bytes: readonly number[]): this {
    this.#bytes.push(...bytes.map((byte) => byte & 0xff));
    return this;
  }

  label(name: string): this {
    this.#labels.set(name, this.#bytes.length);
    return this;
  }

  /** MOV AL, imm8 */
  movAl(value: number): this {
    return this.raw(0xb0, value);
  }
  /** MOV DX, imm16 in 16-bit code. */
  movDx(value: number): this {
    return this.raw(0xba, value, value >> 8);
  }
  /** ADD AL, BL */
  addAlBl(): this {
    return this.raw(0x00, 0xd8);
  }
  /** ADD AL, imm8 */
  addAl(value: number): this {
    return this.raw(0x04, value);
  }
  /** OUT DX, AL */
  outDxAl(): this {
    return this.raw(0xee);
  }
  /** OUT imm8, AL */
  outAl(port: number): this {
    return this.raw(0xe6, port);
  }
  /** IN AL, DX */
  inAlDx(): this {
    return this.raw(0xec);
  }
  cpuid(): this {
    return this.raw(0x0f, 0xa2);
  }
  rdmsr(): this {
    return this.raw(0x0f, 0x32);
  }
  wrmsr(): this {
    return this.raw(0x0f, 0x30);
  }
  nop(count = 1): this {
    return this.raw(...new Array<number>(count).fill(0x90));
  }
  sti(): this {
    return this.raw(0xfb);
  }
  cli(): this {
    return this.raw(0xfa);
  }
  hlt(): this {
    return this.raw(0xf4);
  }
  ud2(): this {
    return this.raw(0x0f, 0x0b);
  }

  /** JMP rel8 to a label, forwards or backwards. */
  jmp(label: string): this {
    this.raw(0xeb, 0);
    this.#jumps.push({ at: this.#bytes.length - 1, label });
    return this;
  }

  /** JNZ rel8 to a label. */
  jnz(label: string): this {
    this.raw(0x75, 0);
    this.#jumps.push({ at: this.#bytes.length - 1, label });
    return this;
  }

  /** OUTs each character of a text, as Latin-1, to a port, in 16-bit code. */
  print(text: string, port = 0x3f8): this {
    this.movDx(port);
    for (let i = 0; i < text.length; i++) this.movAl(text.charCodeAt(i) & 0xff).outDxAl();
    return this;
  }

  build(): Uint8Array {
    const bytes = Uint8Array.from(this.#bytes);
    for (const { at, label } of this.#jumps) {
      const target = this.#labels.get(label);
      if (target === undefined)
        throw new RangeError(`The guest jumps to the label "${label}", which it does not have.`);
      const distance = target - (at + 1);
      if (distance < -128 || distance > 127)
        throw new RangeError(`The label "${label}" is ${distance} bytes away; a short jump reaches 127.`);
      bytes[at] = distance;
    }
    return bytes;
  }
}

/** The guest of the KVM API example: adds AL and BL, prints the digit and a newline to port 0x3f8, halts. 12 bytes. */
export function additionGuest(): Uint8Array {
  return new GuestCode().movDx(0x3f8).addAlBl().addAl(0x30).outDxAl().movAl(0x0a).outDxAl().hlt().build();
}

/** Loops for ever. */
export function endlessGuest(): Uint8Array {
  return new GuestCode().label('again').jmp('again').build();
}
