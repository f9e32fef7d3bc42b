/**
 * Instruction forms, written as in the opcode tables of SDM volume 2 with a few words added:
 *
 *     '66 0F 58 /r m16'          mandatory prefix, map, opcode, ModRM, 16-byte memory operand
 *     '0F AF /r v'               operand size 16, 32 or 64 bits
 *     '80 /0 ib b lock'          opcode extension, byte immediate, byte operands, LOCK allowed with a memory operand
 *     'VEX.256.66.0F38.W0 98 /r v1 m32'   v1: VEX.vvvv names a source
 *
 * Sizes: b byte, w 16 only, v 16/32/64, y 32/64, q 64 always (promoted without REX.W), m1..m32 bytes of a memory operand.
 * Operands: rm (default) either, reg register only, mem memory only; Rm and Mm: the reg or r/m field names an MMX register;
 * Rx8/… are not needed: everything else has 16 registers in 64-bit mode. u: no alignment needed. 64, 32: only in that mode.
 */
export interface Form {
  readonly text: string;
  /** Mandatory prefix: 0, 0x66, 0xf2 or 0xf3. */
  readonly prefix: number;
  /** 0 one-byte, 1 0F, 2 0F38, 3 0F3A. */
  readonly map: number;
  readonly opcode: number;
  readonly modrm: boolean;
  /** Opcode extension in ModRM.reg, or -1. */
  readonly digit: number;
  /** Register number in the opcode's low bits. */
  readonly plusReg: boolean;
  readonly imm: '' | 'ib' | 'iw' | 'iz' | 'iv' | 'iwb' | 'moffs' | 'far';
  readonly size: '' | 'b' | 'w' | 'v' | 'y' | 'q' | 'd';
  readonly operand: 'rm' | 'reg' | 'mem';
  readonly memoryBytes: number;
  readonly aligned: boolean;
  readonly lock: boolean;
  readonly regMmx: boolean;
  readonly rmMmx: boolean;
  /** Register fields name vector registers (no byte-register rules). */
  readonly vector: boolean;
  readonly only: 0 | 32 | 64;
  readonly vex: { readonly l: number; readonly w: number; readonly source: boolean; readonly is4: boolean } | null;
  /** VSIB addressing: index is a vector register. */
  readonly vsib: boolean;
  /** REX.W fixed to 1. */
  readonly rexW: boolean;
}

const cache = new Map<string, Form>();

export function form(text: string): Form {
  let f = cache.get(text);
  if (!f) cache.set(text, (f = parse(text)));
  return f;
}

function parse(text: string): Form {
  const words = text.trim().split(/\s+/);
  let i = 0;
  let prefix = 0;
  let map = 0;
  let vex: Form['vex'] = null;
  if (words[0]!.startsWith('VEX.')) {
    const [, l, pp, m, w] = words[0]!.split('.');
    prefix = pp === 'NP' ? 0 : parseInt(pp!, 16);
    map = m === '0F' ? 1 : m === '0F38' ? 2 : 3;
    vex = {
      l: l === '256' || l === 'L1' ? 1 : l === 'LIG' ? -1 : 0,
      w: w === 'W1' ? 1 : w === 'WIG' ? -1 : w === 'Wy' ? -2 : 0,
      source: words.includes('v1'),
      is4: words.includes('is4'),
    };
    i = 1;
  } else {
    if (words[0] === 'NP') i = 1;
    else if (['66', 'F2', 'F3'].includes(words[0]!) && words[1] === '0F') {
      prefix = parseInt(words[0]!, 16);
      i = 1;
    }
    if (words[i] === '0F') {
      map = 1;
      i++;
      if (words[i] === '38' && /^[0-9A-F]{2}$/.test(words[i + 1] ?? '')) {
        map = 2;
        i++;
      } else if (words[i] === '3A' && /^[0-9A-F]{2}$/.test(words[i + 1] ?? '')) {
        map = 3;
        i++;
      }
    }
  }
  const opcode = parseInt(words[i++]!, 16);
  const rest = words.slice(i);
  const has = (w: string) => rest.includes(w);
  const digitWord = rest.find((w) => /^\/[0-7]$/.test(w));
  const memoryWord = rest.find((w) => /^m\d+$/.test(w));
  const memoryBytes = memoryWord ? Number(memoryWord.slice(1)) : 0;
  const imm = (['ib', 'iw', 'iz', 'iv', 'iwb', 'moffs', 'far'] as const).find(has) ?? '';
  const size = (['b', 'w', 'v', 'y', 'q', 'd'] as const).find(has) ?? '';
  const known =
    /^(\/[0-7r]|m\d+|ib|iw|iz|iv|iwb|moffs|far|b|w|v|y|q|d|reg|mem|\+r|lock|u|Rm|Mm|x|64|32|v1|is4|vsib|W)$/;
  for (const w of rest) if (!known.test(w)) throw new Error(`unknown word "${w}" in the form "${text}"`);
  return {
    text,
    prefix,
    map,
    opcode,
    modrm: has('/r') || digitWord !== undefined,
    digit: digitWord ? Number(digitWord[1]) : -1,
    plusReg: has('+r'),
    imm,
    size,
    operand: has('reg') ? 'reg' : has('mem') ? 'mem' : 'rm',
    memoryBytes,
    aligned: memoryBytes === 16 && !has('u') && !vex,
    lock: has('lock'),
    regMmx: has('Rm'),
    rmMmx: has('Mm'),
    vector: has('x') || vex !== null || has('Rm') || has('Mm') || prefix !== 0 || memoryBytes >= 16,
    only: has('64') ? 64 : has('32') ? 32 : 0,
    vex,
    vsib: has('vsib'),
    rexW: has('W'),
  };
}
