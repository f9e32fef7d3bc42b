import { getCF, getOF, getPF, getSF, getZF } from "../flags";
/** Conditions by their number in Jcc, SETcc and CMOVcc. */

/** The condition of Jcc, SETcc and CMOVcc by its number. */
export function testCondition(cc: u32): bool {
  let r: bool;
  switch (cc >>> 1) {
    case 0: r = getOF() != 0; break;
    case 1: r = getCF() != 0; break;
    case 2: r = getZF() != 0; break;
    case 3: r = (getCF() | getZF()) != 0; break;
    case 4: r = getSF() != 0; break;
    case 5: r = getPF() != 0; break;
    case 6: r = getSF() != getOF(); break;
    default: r = (getZF() | (getSF() ^ getOF())) != 0; break;
  }
  return (cc & 1) != 0 ? !r : r;
}
