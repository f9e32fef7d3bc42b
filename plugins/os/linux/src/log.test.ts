/** The log of kernels before 5.10, of which none is booted here, as kernel/printk/printk.c writes it; that of later ones is compared with dmesg of real kernels. */
import { AddressSpace, FileMemory } from '@visorkit/vmi';
import { describe, expect, it } from 'vitest';
import type { KernelBase } from './kernel.js';
import { logRecords } from './log.js';
import { VmCoreInfo } from './vmcoreinfo.js';

const POINTER = 0x100,
  LENGTH = 0x108,
  FIRST = 0x10c,
  NEXT = 0x110,
  BUFFER = 0x1000,
  SIZE = 0x200;
/** struct printk_log: time, length of all, of the text, of the dictionary; facility; flags and level. */
const HEADER = 16;

/** What these kernels put into VMCOREINFO about it. */
const INFO = [
  `SYMBOL(log_buf)=${POINTER.toString(16)}`,
  `SYMBOL(log_buf_len)=${LENGTH.toString(16)}`,
  `SYMBOL(log_first_idx)=${FIRST.toString(16)}`,
  `SYMBOL(log_next_idx)=${NEXT.toString(16)}`,
  `SIZE(printk_log)=${HEADER}`,
  'OFFSET(printk_log.ts_nsec)=0',
  'OFFSET(printk_log.len)=8',
  'OFFSET(printk_log.text_len)=10',
  'OFFSET(printk_log.dict_len)=12',
].join('\n');

class OldLog {
  readonly bytes = new DataView(new ArrayBuffer(0x2000));
  #at: number;

  constructor(first: number) {
    this.#at = first;
    this.bytes.setBigUint64(POINTER, BigInt(BUFFER), true);
    this.bytes.setUint32(LENGTH, SIZE, true);
    this.bytes.setUint32(FIRST, first, true);
  }

  /** A record whose dictionary has so many bytes. */
  add(microseconds: number, facility: number, level: number, text: string, dictionary = 0): this {
    const length = Math.ceil((HEADER + text.length + dictionary) / 8) * 8;
    // One that would not leave room for a header behind it is at the start of the buffer
    if (this.#at + length + HEADER > SIZE) this.#at = 0;
    const record = BUFFER + this.#at;
    this.bytes.setBigUint64(record, BigInt(microseconds) * 1000n + 999n, true);
    this.bytes.setUint16(record + 8, length, true);
    this.bytes.setUint16(record + 10, text.length, true);
    this.bytes.setUint16(record + 12, dictionary, true);
    this.bytes.setUint8(record + 14, facility);
    this.bytes.setUint8(record + 15, (level << 5) | 6);
    for (const [index, byte] of Buffer.from(text).entries()) this.bytes.setUint8(record + HEADER + index, byte);
    this.#at += length;
    return this;
  }

  records(): unknown[] {
    this.bytes.setUint32(NEXT, this.#at, true);
    const content = new Uint8Array(this.bytes.buffer);
    const memory = new FileMemory(
      { length: content.length, read: (at, target) => void target.set(content.subarray(at, at + target.length)) },
      [{ start: 0, length: content.length, offset: 0 }],
    );
    const space = new AddressSpace(memory, 'none');
    const kernel = { memory, space, info: new VmCoreInfo(INFO), pointerAt: (at: bigint) => space.u64(at) };
    return [...logRecords(kernel as unknown as KernelBase)];
  }
}

describe('the log before 5.10', () => {
  it('has its records in order, with what they say of themselves', () => {
    const log = new OldLog(0).add(0, 0, 5, 'Linux version 4.19').add(1_234_567, 3, 6, 'two\nlines', 20);
    expect(log.records()).toEqual([
      { microseconds: 0, level: 5, facility: 0, text: 'Linux version 4.19' },
      { microseconds: 1_234_567, level: 6, facility: 3, text: 'two\nlines' },
    ]);
    expect(new OldLog(0).records()).toEqual([]);
  });

  it('goes on at the start of the buffer, where the rest of it is too small', () => {
    const log = new OldLog(0x180).add(1, 0, 6, 'x'.repeat(40)).add(2, 0, 6, 'y'.repeat(50)).add(3, 0, 6, 'z');
    expect(log.records()).toMatchObject([{ microseconds: 1 }, { text: 'y'.repeat(50) }, { text: 'z' }]);
  });

  it('that leads anywhere ends', () => {
    // Each record is a step to the next, none of them the last
    const log = new OldLog(8).add(1, 0, 6, 'a').add(2, 0, 6, 'b');
    log.bytes.setUint16(BUFFER + 8 + 8, 0xfff0, true);
    expect(log.records()).toHaveLength(1);
    const empty = new OldLog(0x100);
    empty.bytes.setUint32(FIRST, 0x80, true);
    expect(empty.records()).toEqual([]);
  });
});
