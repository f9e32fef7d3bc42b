/**
 * What Windows means by entries of page tables that are not present (MMPTE_TRANSITION and MMPTE_PROTOTYPE in its symbol files): a page that was taken away is still
 * where it was until somebody needs the room, and a shared page has its entry elsewhere.
 */
import type { AbsentEntry, AddressSpace } from '@visorkit/vmi';

const PRESENT = 1;
const PROTOTYPE = 0x400;
const TRANSITION = 0x800;
/** Address bits 47:32 of an entry, in the high half. */
const HIGH_ADDRESS = 0xffff;

/** `kernel`: where prototype entries are read, the kernel's own address space. */
export function absentEntryOf(kernel: AddressSpace): AbsentEntry {
  const { memory, mode } = kernel;
  return (low, high) => {
    if ((low & PROTOTYPE) === 0) return (low & TRANSITION) === 0 ? -1 : pageOf(low, high);
    // Without PAE the address of a prototype entry is in pieces, other ones in each version
    if (mode === '32-bit') return -1;
    const place =
      mode === 'pae'
        ? kernel.translateHalves(0, high)
        : kernel.translateHalves((high >> 16) >>> 0, ((high << 16) | (low >>> 16)) >>> 0);
    if (place < 0 || !memory.pair(place)) return -1;
    const kind = memory.low & (PRESENT | PROTOTYPE | TRANSITION);
    return (kind & PRESENT) !== 0 || kind === TRANSITION ? pageOf(memory.low, memory.high) : -1;
  };
}

const pageOf = (low: number, high: number): number => (high & HIGH_ADDRESS) * 2 ** 32 + ((low & ~0xfff) >>> 0);
