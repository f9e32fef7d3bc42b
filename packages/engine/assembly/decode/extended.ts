import { F_BMI1, F_BMI2, F_MOVBE, hasFeature } from "../features";
import { OP_STATE } from "../generated/ops";
import * as I from "../integer/ops";
import { P_66, P_L, P_REP, P_REPNE } from "../record";
import * as S from "../system/ops";
import { vector } from "./forms";
import { ends, extension, handler, integer, isRegister, mandatoryPrefix, opcode, prefixes, registers, size, system, undefined, unit, vvvv } from "./instruction";
/** Opcodes behind 0F 38, and VEX-encoded ones (SDM 2A 2.3, 2D table A-4): those on general registers; the rest is the vector unit's. */

export function select38(): void {
  if (opcode == 0xf0 || opcode == 0xf1) {
    if (prefixes & P_REPNE) { registers(false, opcode == 0xf0); integer(opcode == 0xf0 ? I.INT_CRC32_8 : I.INT_CRC32); return; }
    if (isRegister || (prefixes & P_REP) != 0 || !hasFeature(F_MOVBE)) { undefined(); return; }
    integer(opcode == 0xf0 ? I.INT_MOVBE_LOAD : I.INT_MOVBE_STORE);
    return;
  }
  if (opcode == 0xf6) {
    if (prefixes & P_REP) integer(I.INT_ADOX);
    else if ((prefixes & (P_66 | P_REPNE)) == P_66) integer(I.INT_ADCX); // F2 outranks 66 and selects nothing here
    else { undefined(); return; }
    if (size != 8) size = 4;
    return;
  }
  if (opcode >= 0x80 && opcode <= 0x82) {
    if (mandatoryPrefix() != 1 || isRegister) { undefined(); return; }
    system(opcode == 0x80 ? S.SYS_INVEPT : opcode == 0x81 ? S.SYS_INVVPID : S.SYS_INVPCID);
    ends = true;
    return;
  }
  vector(2);
}

export function selectVex(map: u32): void {
  const prefix = mandatoryPrefix(), wide = (prefixes & P_L) != 0;
  if (map == 2 && opcode >= 0xf2 && opcode <= 0xf7 && opcode != 0xf4) {
    if (wide || !generalVex(prefix)) undefined();
    return;
  }
  if (map == 3 && opcode == 0xf0) { // RORX
    if (prefix == 3 && !wide && vvvv == 0 && hasFeature(F_BMI2)) integer(I.INT_RORX); else undefined();
    return;
  }
  if (map == 1 && opcode == 0xae) { // VLDMXCSR, VSTMXCSR
    const r = extension();
    if (!isRegister && !wide && prefix == 0 && vvvv == 0 && (r == 2 || r == 3)) { handler = OP_STATE; unit = 0xae; } else undefined();
    return;
  }
  if (map > 3) { undefined(); return; }
  vector(map);
}

/** BMI1 and BMI2 in map 0F38; false: undefined. */
function generalVex(prefix: u32): bool {
  const first = opcode == 0xf2 || opcode == 0xf3 || (opcode == 0xf7 && prefix == 0);
  if (!hasFeature(first ? F_BMI1 : F_BMI2)) return false;
  switch (opcode) {
    case 0xf2: if (prefix != 0) return false; integer(I.INT_ANDN); return true;
    case 0xf3: {
      const r = extension();
      if (prefix != 0 || r < 1 || r > 3) return false;
      integer(r == 1 ? I.INT_BLSR : r == 2 ? I.INT_BLSMSK : I.INT_BLSI);
      return true;
    }
    case 0xf5: if (prefix == 1) return false; integer(prefix == 0 ? I.INT_BZHI : prefix == 2 ? I.INT_PEXT : I.INT_PDEP); return true;
    case 0xf6: if (prefix != 3) return false; integer(I.INT_MULX); return true;
    default: integer(prefix == 0 ? I.INT_BEXTR : prefix == 1 ? I.INT_SHLX : prefix == 2 ? I.INT_SARX : I.INT_SHRX); return true;
  }
}
