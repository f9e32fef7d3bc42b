/** The kernel's log, dmesg: its ring buffer (since 5.10; kernel/printk/printk_ringbuffer.h), and the one before. VMCOREINFO alone says where all of it is. */
import { Bound } from '@visorkit/vmi';
import type { KernelBase } from './kernel.js';

export interface LogRecord {
  /** Microseconds since the boot, as dmesg prints them. */
  readonly microseconds: number;
  /** 0 emergency to 7 debug. */
  readonly level: number;
  readonly facility: number;
  readonly text: string;
}

/** Records that a log has at most. */
const MOST_RECORDS = 1 << 20;
/** A record's text, at most. */
const LONGEST = 64 << 10;
/** States of a descriptor, in the highest two bits of its number: these have a text. */
const COMMITTED = 1,
  FINALIZED = 2;

/** Throws `LINUX_TYPES` or `LINUX_SYMBOLS` where the kernel does not say how its log is made. */
export function logRecords(kernel: KernelBase): Generator<LogRecord, void, undefined> {
  return kernel.info.symbol('prb') === undefined ? oldLog(kernel) : ringBuffer(kernel);
}

function* ringBuffer(kernel: KernelBase): Generator<LogRecord, void, undefined> {
  const { space, info } = kernel;
  const at = (path: string): bigint => BigInt(info.offsetOf(path) ?? kernel.field(...split(path)).offset);
  const sizeOf = (type: string): bigint => BigInt(info.sizeOf(type) ?? kernel.type(type).size);
  const idBits = BigInt(8 * kernel.pointerSize - 2);
  const idMask = (1n << idBits) - 1n;

  const ring = kernel.pointerAt(info.symbol('prb')!);
  const descriptors = ring + at('printk_ringbuffer.desc_ring');
  const text = ring + at('printk_ringbuffer.text_data_ring');
  const countBits = space.u32(descriptors + at('prb_desc_ring.count_bits')) & 31;
  const table = kernel.pointerAt(descriptors + at('prb_desc_ring.descs'));
  const infos = kernel.pointerAt(descriptors + at('prb_desc_ring.infos'));
  const counter = at('atomic_long_t.counter');
  const head = kernel.pointerAt(descriptors + at('prb_desc_ring.head_id') + counter);
  const tail = kernel.pointerAt(descriptors + at('prb_desc_ring.tail_id') + counter);
  const sizeBits = BigInt(space.u32(text + at('prb_data_ring.size_bits')) & 31);
  const data = kernel.pointerAt(text + at('prb_data_ring.data'));
  const dataMask = (1n << sizeBits) - 1n;
  const block = at('prb_desc.text_blk_lpos');
  const [begin, next] = [block + at('prb_data_blk_lpos.begin'), block + at('prb_data_blk_lpos.next')];
  const state = at('prb_desc.state_var') + counter;
  const [descriptorSize, infoSize] = [sizeOf('prb_desc'), sizeOf('printk_info')];

  const bound = new Bound(kernel.memory, 'records of the log', MOST_RECORDS);
  for (let id = tail; bound.take(); id = (id + 1n) & idMask) {
    const index = id & ((1n << BigInt(countBits)) - 1n);
    const descriptor = table + index * descriptorSize;
    const stamp = kernel.pointerAt(descriptor + state);
    const kind = Number(stamp >> idBits);
    if ((stamp & idMask) === id && (kind === COMMITTED || kind === FINALIZED)) {
      const record = infos + index * infoSize;
      const length = Math.min(space.u16(record + at('printk_info.text_len')), LONGEST);
      const from = kernel.pointerAt(descriptor + begin),
        to = kernel.pointerAt(descriptor + next);
      // A text that would not fit before the end of the buffer is at its start. One that is empty has odd places.
      const wraps = from >> sizeBits !== to >> sizeBits && (to & dataMask) !== 0n;
      const place = data + (wraps ? 0n : from & dataMask) + BigInt(kernel.pointerSize);
      // VMCOREINFO leaves out what has always stood behind the length: facility, then `flags:5, level:3`
      const facility = record + at('printk_info.text_len') + 2n;
      const levels = space.u8(facility + 1n);
      yield {
        microseconds: Number(space.u64(record + at('printk_info.ts_nsec')) / 1000n),
        level: levels >> 5,
        facility: space.u8(facility),
        text: (from & 1n) === 1n ? '' : new TextDecoder().decode(space.bytes(place, length)),
      };
    }
    if (id === head) return;
  }
}

const split = (path: string): [string, string] => path.split(/\.(.*)/, 2) as [string, string];

/** Before 5.10: records one behind the other, a length of 0 means that the next one is at the start. */
function* oldLog(kernel: KernelBase): Generator<LogRecord, void, undefined> {
  const { space, info } = kernel;
  const at = (field: string): bigint =>
    BigInt(info.offsetOf(`printk_log.${field}`) ?? kernel.field('printk_log', field).offset);
  const place = (name: string): bigint => info.symbol(name) ?? kernel.symbol(name);
  const buffer = kernel.pointerAt(place('log_buf'));
  const size = space.u32(place('log_buf_len'));
  const head = BigInt(info.sizeOf('printk_log') ?? kernel.type('printk_log').size);
  const end = space.u32(place('log_next_idx'));
  let offset = space.u32(place('log_first_idx'));
  const bound = new Bound(kernel.memory, 'records of the log', MOST_RECORDS);
  while (offset !== end && bound.take()) {
    const record = buffer + BigInt(offset);
    const length = space.u16(record + at('len'));
    if (length === 0) {
      if (offset === 0) return;
      offset = 0;
      continue;
    }
    const text = space.bytes(record + head, Math.min(space.u16(record + at('text_len')), LONGEST));
    yield {
      microseconds: Number(space.u64(record + at('ts_nsec')) / 1000n),
      // Behind the length of a dictionary: facility, then `flags:5, level:3`
      level: space.u8(record + at('dict_len') + 3n) >> 5,
      facility: space.u8(record + at('dict_len') + 2n),
      text: new TextDecoder().decode(text),
    };
    offset += length;
    if (offset >= size) return;
  }
}
