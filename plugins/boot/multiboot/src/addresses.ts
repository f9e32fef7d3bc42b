/** Where a multiboot loader may put things; all are guest-physical addresses. */

/** The first page stays free: interrupt vectors and the BIOS data area are there. */
export const LOW_START = 0x1000;
/** RAM above the first megabyte. */
export const HIGH_START = 0x100000;
/** Kernels of 32 bits see nothing from here on. */
export const ADDRESS_END = 0x100000000;
