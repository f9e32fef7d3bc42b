import { REGS } from "../../src/layout";
import { rotateFlags } from "../alu";
import { F_ADX, F_SSE4_2, hasFeature } from "../features";
import { AF, CF, OF, PF, SF, ZF, arithmeticFlags, getCF, getOF, setArithmeticFlags, setLogicFlags } from "../flags";
import { mulHigh } from "../int128";
import { commit, operandRead, operandWrite } from "../mmu";
import { recVvvv, regPtr } from "../record";
import { FAULT, OK } from "../status";
import { raise } from "../system/raise";
import { testCondition } from "./condition";
import { imm32, loadSized, setCarry, setCarryOnly, signed, source, storeRegister, storeSized } from "./operands";
import * as I from "./ops";
/** Bit counting and searching, BMI1, BMI2, ADX, MOVBE, CRC32 and the memory forms of CMOVcc and SETcc. */

export function execBits(pc: usize, op: u32, size: u32): i32 {
  switch (op) {
    case I.INT_BSF: case I.INT_BSR: {
      const p = source(pc, size);
      if (p == 0) return FAULT;
      const v = loadSized(p, size);
      if (v == 0) { // the destination is left alone; a 32-bit one too, upper half included
        setArithmeticFlags((arithmeticFlags() & ~(CF | OF | SF | AF | PF)) | ZF | PF);
        return OK;
      }
      const r = op == I.INT_BSF ? ctz(v) : 63 - clz(v);
      storeRegister(regPtr(pc), size, r);
      setLogicFlags(<i64>r);
      if (r == 0) setArithmeticFlags(arithmeticFlags() & ~ZF);
      return OK;
    }
    case I.INT_TZCNT: case I.INT_LZCNT: {
      const p = source(pc, size);
      if (p == 0) return FAULT;
      const v = loadSized(p, size), bits = <u64>size << 3;
      const r = v == 0 ? bits : op == I.INT_TZCNT ? ctz(v) : clz(v) - (64 - bits);
      storeRegister(regPtr(pc), size, r);
      setArithmeticFlags((v == 0 ? CF : 0) | (r == 0 ? ZF : 0));
      return OK;
    }
    case I.INT_POPCNT: {
      const p = source(pc, size);
      if (p == 0) return FAULT;
      const r = popcnt(loadSized(p, size));
      storeRegister(regPtr(pc), size, r);
      setArithmeticFlags(r == 0 ? ZF : 0);
      return OK;
    }
    case I.INT_BSWAP: {
      const r = regPtr(pc);
      if (size == 8) store<u64>(r, bswap<u64>(load<u64>(r)));
      else if (size == 4) store<u64>(r, <u64>bswap<u32>(load<u32>(r)));
      else store<u16>(r, 0); // undefined by the manual; processors give 0
      return OK;
    }
    case I.INT_CMOV: {
      const p = source(pc, size); // the load is made whatever the condition
      if (p == 0) return FAULT;
      const v = testCondition(<u32>imm32(pc)) ? loadSized(p, size) : loadSized(regPtr(pc), size);
      storeRegister(regPtr(pc), size, v);
      return OK;
    }
    case I.INT_SETCC_M: {
      const p = operandWrite(pc, 1);
      if (p == 0) return FAULT;
      store<u8>(p, <u8>testCondition(<u32>imm32(pc)));
      return commit(p) ? OK : FAULT;
    }
    case I.INT_CRC32_8: case I.INT_CRC32: {
      if (!hasFeature(F_SSE4_2)) return raise(6);
      const n = op == I.INT_CRC32_8 ? 1 : size;
      const p = source(pc, n);
      if (p == 0) return FAULT;
      store<u64>(regPtr(pc), <u64>crc32c(load<u32>(regPtr(pc)), loadSized(p, n), n));
      return OK;
    }
    case I.INT_MOVBE_LOAD: {
      const p = operandRead(pc, size);
      if (p == 0) return FAULT;
      storeRegister(regPtr(pc), size, swapBytes(loadSized(p, size), size));
      return OK;
    }
    case I.INT_MOVBE_STORE: {
      const p = operandWrite(pc, size);
      if (p == 0) return FAULT;
      storeSized(p, size, swapBytes(load<u64>(regPtr(pc)), size));
      return commit(p) ? OK : FAULT;
    }
    case I.INT_ADCX: case I.INT_ADOX: {
      if (!hasFeature(F_ADX)) return raise(6);
      const p = source(pc, size);
      if (p == 0) return FAULT;
      const a = loadSized(regPtr(pc), size), b = loadSized(p, size), c = op == I.INT_ADCX ? getCF() : getOF();
      const r = a + b + <u64>c;
      const carry = size == 4 ? u32(r >> 32) : u32(((a & b) | ((a | b) & ~r)) >> 63);
      storeRegister(regPtr(pc), size, r);
      if (op == I.INT_ADCX) setCarry(carry); else rotateFlags(getCF(), carry);
      return OK;
    }
    case I.INT_ANDN: {
      const p = source(pc, size);
      if (p == 0) return FAULT;
      const r = ~load<u64>(REGS + (recVvvv(pc) << 3)) & loadSized(p, size);
      storeRegister(regPtr(pc), size, r);
      setLogicFlags(signed(r, size));
      return OK;
    }
    case I.INT_BLSR: case I.INT_BLSMSK: case I.INT_BLSI: {
      const p = source(pc, size);
      if (p == 0) return FAULT;
      const v = loadSized(p, size);
      const r = op == I.INT_BLSR ? v & (v - 1) : op == I.INT_BLSMSK ? v ^ (v - 1) : v & (0 - v);
      storeRegister(REGS + (recVvvv(pc) << 3), size, r);
      setLogicFlags(signed(r, size));
      setCarryOnly(op == I.INT_BLSI ? u32(v != 0) : u32(v == 0));
      return OK;
    }
    case I.INT_BEXTR: {
      const p = source(pc, size);
      if (p == 0) return FAULT;
      const control = load<u32>(REGS + (recVvvv(pc) << 3)), start = control & 0xff, length = (control >>> 8) & 0xff;
      let r: u64 = start < 64 ? loadSized(p, size) >> <u64>start : 0;
      if (length < 64) r &= (<u64>1 << <u64>length) - 1;
      storeRegister(regPtr(pc), size, r);
      setLogicFlags(signed(r, size));
      return OK;
    }
    case I.INT_BZHI: {
      const p = source(pc, size);
      if (p == 0) return FAULT;
      const n = load<u8>(REGS + (recVvvv(pc) << 3)) as u32, bits = size << 3;
      let r = loadSized(p, size);
      if (n < bits) r &= (<u64>1 << <u64>n) - 1;
      storeRegister(regPtr(pc), size, r);
      setLogicFlags(signed(r, size));
      setCarryOnly(u32(n > bits - 1));
      return OK;
    }
    case I.INT_PEXT: case I.INT_PDEP: {
      const p = source(pc, size);
      if (p == 0) return FAULT;
      let mask = loadSized(p, size), from = loadSized(REGS + (recVvvv(pc) << 3), size), r: u64 = 0;
      if (op == I.INT_PEXT) {
        for (let k: u64 = 0; mask != 0; k++) { const bit = mask & (0 - mask); if (from & bit) r |= <u64>1 << k; mask &= mask - 1; }
      } else {
        for (; mask != 0; from >>= 1) { const bit = mask & (0 - mask); if (from & 1) r |= bit; mask &= mask - 1; }
      }
      storeRegister(regPtr(pc), size, r);
      return OK;
    }
    case I.INT_MULX: {
      const p = source(pc, size);
      if (p == 0) return FAULT;
      const a = loadSized(REGS + 16, size), b = loadSized(p, size);
      const low = a * b, high = size == 8 ? mulHigh(a, b) : low >> 32;
      storeRegister(REGS + (recVvvv(pc) << 3), size, low);
      storeRegister(regPtr(pc), size, high); // last: it wins when both name one register
      return OK;
    }
    case I.INT_SHLX: case I.INT_SARX: case I.INT_SHRX: {
      const p = source(pc, size);
      if (p == 0) return FAULT;
      const v = loadSized(p, size), n = load<u64>(REGS + (recVvvv(pc) << 3)) & (size == 8 ? 63 : 31);
      const r = op == I.INT_SHLX ? v << n : op == I.INT_SHRX ? v >> n : <u64>(signed(v, size) >> <i64>n);
      storeRegister(regPtr(pc), size, r);
      return OK;
    }
    case I.INT_RORX: {
      const p = source(pc, size);
      if (p == 0) return FAULT;
      const v = loadSized(p, size), n = <u32>imm32(pc) & (size == 8 ? 63 : 31);
      storeRegister(regPtr(pc), size, size == 8 ? rotr<u64>(v, n) : <u64>rotr<u32>(<u32>v, n));
      return OK;
    }
    default: return raise(6);
  }
}

function swapBytes(v: u64, size: u32): u64 {
  return size == 8 ? bswap<u64>(v) : size == 4 ? <u64>bswap<u32>(<u32>v) : <u64>bswap<u16>(<u16>v);
}
/** CRC-32C (polynomial 11EDC6F41h, reflected) over `size` bytes. */
function crc32c(crc: u32, data: u64, size: u32): u32 {
  for (let i: u32 = 0; i < size; i++) {
    crc ^= <u32>data & 0xff;
    data >>= 8;
    for (let k = 0; k < 8; k++) crc = (crc >>> 1) ^ ((crc & 1) != 0 ? 0x82f63b78 : 0);
  }
  return crc;
}
