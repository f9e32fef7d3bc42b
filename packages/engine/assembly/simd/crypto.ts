import { VECTOR_SCRATCH, YMM } from "../../src/layout";
import { recImm8 } from "../record";
import { FAULT, OK } from "../status";
import { aesKeyAssist, aesRound } from "./aes";
import { Crypto } from "./ops";
import { firstSource, regVector, source, writeLow } from "./operands";
import { sha1Rounds, sha256Rounds, shaSchedule } from "./sha";
import { execString } from "./string";
/** AES-NI, PCLMULQDQ, SHA and (in string.ts) the string comparisons of SSE4.2. */

const MULTIPLES: usize = VECTOR_SCRATCH; // 16 pairs of u64: 0-15 times one operand
/** 64 x 64 -> 128 bits without carries, four bits at a time. */
export function carrylessMultiply(a: u64, b: u64): v128 {
  store<u64>(MULTIPLES, 0);
  store<u64>(MULTIPLES, 0, 8);
  for (let i: usize = 1; i < 16; i++) {
    const p = MULTIPLES + (i << 4);
    if (i & 1) { // the even one before, plus a
      store<u64>(p, load<u64>(p - 16) ^ a);
      store<u64>(p, load<u64>(p - 16, 8), 8);
    } else {
      const q = MULTIPLES + ((i >>> 1) << 4);
      store<u64>(p, load<u64>(q) << 1);
      store<u64>(p, (load<u64>(q, 8) << 1) | (load<u64>(q) >> 63), 8);
    }
  }
  let low: u64 = 0, high: u64 = 0;
  for (let shift: i64 = 60; shift >= 0; shift -= 4) {
    high = (high << 4) | (low >> 60);
    low <<= 4;
    const p = MULTIPLES + (<usize>((b >> shift) & 15) << 4);
    low ^= load<u64>(p);
    high ^= load<u64>(p, 8);
  }
  return i64x2.replace_lane(i64x2.splat(low), 1, high);
}

export function execCrypto(pc: usize, op: i32, variant: u32): i32 {
  if (op >= Crypto.PCMPESTRM) return execString(pc, op, variant);
  const s = source(pc, variant);
  if (!s) return FAULT;
  const f = firstSource(pc, variant), d = regVector(pc);
  switch (op) {
    case Crypto.AESENC: case Crypto.AESENCLAST: case Crypto.AESDEC: case Crypto.AESDECLAST:
      writeLow(d, variant, v128.xor(aesRound(op, f), v128.load(s)));
      return OK;
    case Crypto.AESIMC:
      writeLow(d, variant, aesRound(op, s));
      return OK;
    case Crypto.AESKEYGENASSIST:
      writeLow(d, variant, aesKeyAssist(s, recImm8(pc)));
      return OK;
    case Crypto.PCLMULQDQ: {
      const imm = recImm8(pc);
      writeLow(d, variant, carrylessMultiply(load<u64>(f + ((imm & 1) << 3)), load<u64>(s + ((imm & 16) >>> 1))));
      return OK;
    }
    case Crypto.SHA1RNDS4:
      v128.store(d, sha1Rounds(d, s, recImm8(pc)));
      return OK;
    case Crypto.SHA256RNDS2:
      v128.store(d, sha256Rounds(d, s, YMM));
      return OK;
    default:
      v128.store(d, shaSchedule(op, d, s));
      return OK;
  }
}
