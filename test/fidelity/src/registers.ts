/** General registers by their numbers in encodings. */
export const RAX = 0,
  RCX = 1,
  RDX = 2,
  RBX = 3,
  RSP = 4,
  RBP = 5,
  RSI = 6,
  RDI = 7;

const BASES_64 = [RBX, RSI, 13, 14];
const BASES_32 = [RBX, RSI];

/** Registers that hold addresses in cases of several instructions; nothing else writes them there. */
export const baseRegisters = (is32: boolean): readonly number[] => (is32 ? BASES_32 : BASES_64);
