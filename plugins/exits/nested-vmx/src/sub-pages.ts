/** Walks of the table of sub-page permissions of the guest's hypervisor (SDM 3C 29.3.4.2): four levels, an entry of 64 bits for each page of 4 KiB. */
import type { Vcpu } from '@visorkit/core';
import type { RegionFields } from '@visorkit/machine';
import { VmcsField as F } from '@visorkit/x86';
import { PAGE, TWO_32 } from './bits.js';
import { SPAN } from './ept12.js';
import type { HypervisorMemory } from './memory.js';

const LEVELS = 4;
const VALID = 1;
/** Of an entry that is no page's: bits 11:1 and the address. */
const RESERVED = 0xffe;
/** Odd bits of a page's entry. */
const RESERVED_OF_PAGE = 0xaaaa_aaaa;
/** Bytes of a part. */
const PART = 128;

/** What the table says of a write. */
export type PartStatus = 'allowed' | 'denied' | 'missing' | 'misconfigured';

export class SubPages {
  /** The entry of the page of the last walk, by halves: bit 2n lets writes to part n through. */
  low = 0;
  high = 0;

  constructor(
    private readonly memory: HypervisorMemory,
    private readonly words: Uint32Array,
    private readonly physicalBits: number,
  ) {}

  /** Of a write of so many bytes at `address`, all of them in its page. */
  walk(vcpu: Vcpu, vmcs12: RegionFields, address: number, bytes: number): PartStatus {
    let table = vmcs12.address(F.SUB_PAGE_PERMISSION_TABLE_POINTER);
    for (let level = LEVELS; ; level--) {
      const at = this.memory.word(vcpu, table + (Math.floor(address / SPAN[level]) % 512) * 8);
      if (at < 0) return 'misconfigured';
      const low = this.words[at >>> 2],
        high = this.words[(at >>> 2) + 1];
      if (level === 1) return this.#page(low, high, address, bytes);
      if ((low & VALID) === 0) return 'missing';
      if ((low & RESERVED) !== 0 || high >= 2 ** (this.physicalBits - 32)) return 'misconfigured';
      table = high * TWO_32 + ((low & ~0xfff) >>> 0);
    }
  }

  #page(low: number, high: number, address: number, bytes: number): PartStatus {
    if (((low | high) & RESERVED_OF_PAGE) !== 0) return 'misconfigured';
    this.low = low;
    this.high = high;
    const offset = address % PAGE,
      last = Math.floor((offset + bytes - 1) / PART);
    for (let part = Math.floor(offset / PART); part <= last; part++)
      if ((((part < 16 ? low : high) >>> ((part % 16) * 2)) & 1) === 0) return 'denied';
    return 'allowed';
  }
}
