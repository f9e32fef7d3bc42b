import { changeFlags, ARITHMETIC, CF, PF, ZF, getCF, getPF, getZF } from "../flags";
import { OK } from "../status";
import { raise } from "../system/raise";
import { Fp, ROUND_NEAREST, ROUND_UP } from "./environment";
import { EQUAL, GREATER, LESS, UNORDERED, K_DENORMAL, K_INFINITY, K_NAN, K_ZERO } from "./softfloat";
import {
  K_UNSUPPORTED, unpack80, x80Add, x80Compare, x80Div, x80Extract, x80Mul, x80Remainder, x80RoundToInt, x80Scale, x80Sqrt, xExponentSe, xExponentSig,
  xIncomplete, xQuotient, xReduced, xSe, xSig,
} from "./floatx80";
import {
  begin, clearC1, complete, isEmpty, moveTop, NAN_SE, NAN_SIG, noteInstruction, pop, precision, pushSt, setEmpty, setSt, setStatusWord,
  stackFault, statusWord, stSe, stSig, SW_C0, SW_C1, SW_C2, SW_C3, SW_CODES,
} from "./x87-state";
import { x80Atan2, x80CosSin, x80Exp2Minus1, x80Log2, x80Log2Plus1, x80Tan, xOutOfRange } from "./transcendental";
/**
 * x87 instructions on registers, with the encodings that repeat others: FCOM2, FCOMP3, FCOMP5, FXCH4, FXCH7, FSTP1, FSTP8,
 * FSTP9 and FFREEP (documented by AMD and by use).
 */

/** Runs a register form; the instruction's waiting checks are done. */
export function registerForm(pc: usize, op: u32, modrm: u32): i32 {
  const kind = (modrm >>> 3) & 7, i = modrm & 7;
  if (!defined(op, modrm)) return raise(6);
  begin(pc);
  noteInstruction(pc);
  switch (op) {
    case 0: arithmeticRegister(kind, 0, i, false); break;
    case 1:
      switch (kind) {
        case 0: load0(i); break;
        case 1: exchange(i); break;
        case 2: break; // FNOP
        case 3: // FSTP1 does not mind an empty register
          if (isEmpty(0)) {
            clearC1();
            pop();
          } else copy(i, true);
          break;
        case 5: constant(i); break;
        default: single(modrm);
      }
      break;
    case 2:
      if (kind < 4) conditionalMove(condition(kind), i);
      else compareRegisters(1, true, 2); // FUCOMPP
      break;
    case 3:
      if (kind < 4) conditionalMove(!condition(kind), i);
      else compareToFlags(i, kind == 5, false);
      break;
    case 4:
      if (kind == 2 || kind == 3) compareRegisters(i, false, kind - 2); // FCOM2, FCOMP3
      else arithmeticRegister(kind, i, i, false);
      break;
    case 5:
      switch (kind) {
        case 0: clearC1(); setEmpty(i); break;
        case 1: exchange(i); break; // FXCH4
        case 2: copy(i, false); break;
        case 3: copy(i, true); break;
        default: compareRegisters(i, true, kind - 4);
      }
      break;
    case 6:
      if (kind == 2) compareRegisters(i, false, 1); // FCOMP5
      else if (kind == 3) compareRegisters(1, false, 2);
      else arithmeticRegister(kind, i, i, true);
      break;
    case 7:
      switch (kind) {
        case 0: clearC1(); setEmpty(i); pop(); break; // FFREEP
        case 1: exchange(i); break; // FXCH7
        case 2: case 3: copy(i, true); break; // FSTP8, FSTP9
        default: compareToFlags(i, kind == 5, true);
      }
      break;
  }
  return OK;
}

function defined(op: u32, modrm: u32): bool {
  switch (op) {
    case 1:
      return !((modrm > 0xd0 && modrm < 0xd8) || modrm == 0xe2 || modrm == 0xe3 || modrm == 0xe6 || modrm == 0xe7 || modrm == 0xef);
    case 2: return modrm < 0xe0 || modrm == 0xe9;
    case 3: return modrm < 0xe0 || (modrm >= 0xe8 && modrm < 0xf8);
    case 5: return modrm < 0xf0;
    case 6: return modrm < 0xd8 || modrm == 0xd9 || modrm >= 0xe0;
    case 7: return modrm < 0xe0 || (modrm >= 0xe8 && modrm < 0xf8);
  }
  return true;
}
/** B, E, BE, U of FCMOVcc. */
function condition(n: u32): bool {
  return n == 0 ? getCF() != 0 : n == 1 ? getZF() != 0 : n == 2 ? (getCF() | getZF()) != 0 : getPF() != 0;
}

// ------------------------------------------------------------------------------------------------ arithmetic and comparison
/**
 * ST(0) with an operand: 0 add, 1 mul, 2 com, 3 comp, 4 sub, 5 reversed sub, 6 div, 7 reversed div. ST(0) is the first operand
 * whichever register takes the difference or quotient, which is why DC and DE have the two names exchanged.
 */
export function arithmetic(kind: u32, target: u32, popping: bool, sig: u64, se: u32): void {
  if (isEmpty(0)) {
    underflow(kind, target, popping);
    return;
  }
  const a = stSig(0), ae = stSe(0);
  switch (kind) {
    case 0: x80Add(a, ae, sig, se, 0, precision()); break;
    case 1: x80Mul(a, ae, sig, se, precision()); break;
    case 2: case 3:
      if (setCodes(x80Compare(a, ae, sig, se, false)) && kind == 3) pop();
      return;
    case 4: x80Add(a, ae, sig, se, 1, precision()); break;
    case 5: x80Add(sig, se, a, ae, 1, precision()); break;
    case 6: x80Div(a, ae, sig, se, precision()); break;
    case 7: x80Div(sig, se, a, ae, precision()); break;
  }
  if (complete()) {
    setSt(target, xSig, xSe);
    if (popping) pop();
  }
}
function underflow(kind: u32, target: u32, popping: bool): void {
  const masked = stackFault(false);
  if (kind == 2 || kind == 3) {
    codes(SW_C3 | SW_C2 | SW_C0);
    if (masked && kind == 3) pop();
  } else if (masked) {
    setSt(target, NAN_SIG, NAN_SE);
    if (popping) pop();
  }
}
function arithmeticRegister(kind: u32, target: u32, i: u32, popping: bool): void {
  if (isEmpty(i)) underflow(kind, target, popping);
  else arithmetic(kind, target, popping, stSig(i), stSe(i));
}
function codes(c: u32): void { setStatusWord((statusWord() & ~SW_CODES) | c); }
/** Ends a comparison; false if an unmasked exception leaves the stack alone. The codes are set all the same. */
function setCodes(order: i32): bool {
  const ok = complete();
  codes(order == LESS ? SW_C0 : order == EQUAL ? SW_C3 : order == GREATER ? 0 : SW_C3 | SW_C2 | SW_C0);
  return ok;
}
function compareRegisters(i: u32, quiet: bool, pops: u32): void {
  if (isEmpty(0) || isEmpty(i)) {
    const masked = stackFault(false);
    codes(SW_C3 | SW_C2 | SW_C0);
    if (!masked) return;
  } else if (!setCodes(x80Compare(stSig(0), stSe(0), stSig(i), stSe(i), quiet))) return;
  while (pops--) pop();
}
function compareToFlags(i: u32, quiet: bool, popping: bool): void {
  let order = UNORDERED, ok: bool;
  if (isEmpty(0) || isEmpty(i)) ok = stackFault(false);
  else {
    const c1 = statusWord() & SW_C1; // only a stack fault touches it
    order = x80Compare(stSig(0), stSe(0), stSig(i), stSe(i), quiet);
    ok = complete();
    setStatusWord(statusWord() | c1);
  }
  changeFlags(ARITHMETIC, order == LESS ? CF : order == EQUAL ? ZF : order == GREATER ? 0 : ZF | PF | CF);
  if (popping && ok) pop();
}

// ------------------------------------------------------------------------------------------------ moves
function load0(i: u32): void {
  if (!isEmpty(7) || isEmpty(i)) {
    if (stackFault(!isEmpty(i))) pushSt(NAN_SIG, NAN_SE); // a missing source comes first
    return;
  }
  const sig = stSig(i), se = stSe(i);
  clearC1();
  pushSt(sig, se);
}
function copy(i: u32, popping: bool): void {
  if (isEmpty(0)) {
    if (!stackFault(false)) return;
    setSt(i, NAN_SIG, NAN_SE);
  } else {
    clearC1();
    setSt(i, stSig(0), stSe(0));
  }
  if (popping) pop();
}
function exchange(i: u32): void {
  let sig = stSig(0), se = stSe(0), otherSig = stSig(i), otherSe = stSe(i);
  const empty = isEmpty(0), otherEmpty = isEmpty(i);
  if (empty || otherEmpty) {
    if (!stackFault(false)) return;
    if (empty) { sig = NAN_SIG; se = NAN_SE; }
    if (otherEmpty) { otherSig = NAN_SIG; otherSe = NAN_SE; }
  } else clearC1();
  setSt(0, otherSig, otherSe);
  setSt(i, sig, se);
}
function conditionalMove(taken: bool, i: u32): void {
  if (isEmpty(0) || isEmpty(i)) {
    if (stackFault(false)) setSt(0, NAN_SIG, NAN_SE);
    return;
  }
  if (taken) setSt(0, stSig(i), stSe(i));
}
/** FLD1, FLDL2T, FLDL2E, FLDPI, FLDLG2, FLDLN2, FLDZ: the constants have more than 64 bits and follow the rounding mode. */
function constant(n: u32): void {
  if (!isEmpty(7)) {
    if (stackFault(true)) pushSt(NAN_SIG, NAN_SE);
    return;
  }
  clearC1();
  let sig: u64 = 0, se: u32 = 0;
  const down = Fp.rounding != ROUND_NEAREST && Fp.rounding != ROUND_UP;
  const up = Fp.rounding == ROUND_UP;
  switch (n) {
    case 0: sig = 0x8000000000000000; se = 0x3fff; break;
    case 1: sig = 0xd49a784bcd1b8afe + u64(up); se = 0x4000; break; // log2 10 = ...8afe.49
    case 2: sig = 0xb8aa3b295c17f0bc - u64(down); se = 0x3fff; break; // log2 e = ...f0bb.be
    case 3: sig = 0xc90fdaa22168c235 - u64(down); se = 0x4000; break; // pi = ...c234.c4
    case 4: sig = 0x9a209a84fbcff799 - u64(down); se = 0x3ffd; break; // log10 2 = ...f798.8f
    case 5: sig = 0xb17217f7d1cf79ac - u64(down); se = 0x3ffe; break; // ln 2 = ...79ab.c9
  }
  pushSt(sig, se);
}

// ------------------------------------------------------------------------------------------------ D9 E0-FF
function examine(): void {
  const se = stSe(0);
  let c: u32 = (se & 0x8000) ? SW_C1 : 0;
  if (isEmpty(0)) c |= SW_C3 | SW_C0;
  else {
    const k = unpack80(stSig(0), se);
    if (k & K_UNSUPPORTED) {}
    else if (k & K_NAN) c |= SW_C0;
    else if (k & K_INFINITY) c |= SW_C2 | SW_C0;
    else if (k & K_ZERO) c |= SW_C3;
    else if (k & K_DENORMAL) c |= SW_C3 | SW_C2;
    else c |= SW_C2;
  }
  codes(c);
}

function single(modrm: u32): void {
  if (modrm == 0xe5) { examine(); return; }
  if (modrm == 0xf6 || modrm == 0xf7) { // FDECSTP, FINCSTP
    clearC1();
    moveTop(modrm == 0xf6 ? 7 : 1);
    return;
  }
  if (modrm == 0xf2 || modrm == 0xf5 || modrm == 0xf8 || modrm == 0xfb || modrm >= 0xfe) setStatusWord(statusWord() & ~SW_C2);
  const two = modrm == 0xf1 || modrm == 0xf3 || modrm == 0xf5 || (modrm >= 0xf8 && modrm <= 0xf9) || modrm == 0xfd;
  const pushes = modrm == 0xf2 || modrm == 0xf4 || modrm == 0xfb;
  if (isEmpty(0) || (two && isEmpty(1))) {
    const masked = stackFault(false);
    if (modrm == 0xe4) codes(SW_C3 | SW_C2 | SW_C0);
    else if (masked) emptyResult(modrm);
    return;
  }
  if (pushes && !isEmpty(7)) {
    if (stackFault(true)) {
      setSt(0, NAN_SIG, NAN_SE);
      pushSt(NAN_SIG, NAN_SE);
    }
    return;
  }
  const sig = stSig(0), se = stSe(0);
  switch (modrm) {
    case 0xe0: clearC1(); setSt(0, sig, se ^ 0x8000); return; // FCHS
    case 0xe1: clearC1(); setSt(0, sig, se & 0x7fff); return; // FABS
    case 0xe4: setCodes(x80Compare(sig, se, 0, 0, false)); return; // FTST
    case 0xf0: x80Exp2Minus1(sig, se); break;
    case 0xf1: x80Log2(sig, se, stSig(1), stSe(1)); toNext(); return;
    case 0xf9: x80Log2Plus1(sig, se, stSig(1), stSe(1)); toNext(); return;
    case 0xf3: x80Atan2(stSig(1), stSe(1), sig, se); toNext(); return;
    case 0xf4: // FXTRACT
      x80Extract(sig, se);
      if (complete()) {
        setSt(0, xExponentSig, xExponentSe);
        pushSt(xSig, xSe);
      }
      return;
    case 0xf5: case 0xf8: remainder(modrm == 0xf5); return;
    case 0xfa: x80Sqrt(sig, se, precision()); break;
    case 0xfc: x80RoundToInt(sig, se); break;
    case 0xfd: x80Scale(sig, se, stSig(1), stSe(1)); break;
    default: trigonometric(modrm, sig, se); return;
  }
  if (complete()) setSt(0, xSig, xSe);
}
/** Two operands in, one out at ST(1), then popped. */
function toNext(): void {
  if (complete()) {
    setSt(1, xSig, xSe);
    pop();
  }
}
/** The masked answer of an instruction whose operand is missing. */
function emptyResult(modrm: u32): void {
  if (modrm == 0xf1 || modrm == 0xf3 || modrm == 0xf9) {
    setSt(1, NAN_SIG, NAN_SE);
    pop();
    return;
  }
  setSt(0, NAN_SIG, NAN_SE);
  if (modrm == 0xf2 || modrm == 0xf4 || modrm == 0xfb) pushSt(NAN_SIG, NAN_SE);
}
function remainder(nearest: bool): void {
  x80Remainder(stSig(0), stSe(0), stSig(1), stSe(1), nearest);
  const q = xQuotient, more = xIncomplete;
  const kept = statusWord() & (SW_C0 | SW_C3);
  const ok = complete();
  if (ok) setSt(0, xSig, xSe);
  if (!xReduced || !ok) codes(kept);
  else codes((q & 4 ? SW_C0 : 0) | (q & 2 ? SW_C3 : 0) | (q & 1 ? SW_C1 : 0) | (more ? SW_C2 : 0));
}
/** FSIN, FCOS, FSINCOS, FPTAN: beyond 2^63 C2 is set and nothing changes. */
function trigonometric(modrm: u32, sig: u64, se: u32): void {
  if (modrm == 0xf2) x80Tan(sig, se);
  else x80CosSin(sig, se, modrm != 0xff, modrm == 0xfb);
  const outside = xOutOfRange;
  if (outside) {
    setStatusWord((statusWord() & ~SW_C1) | SW_C2);
    return;
  }
  if (!complete()) return;
  setSt(0, xSig, xSe);
  if (modrm == 0xf2 || modrm == 0xfb) pushSt(xExponentSig, xExponentSe);
}
