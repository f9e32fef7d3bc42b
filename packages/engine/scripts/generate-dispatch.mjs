/**
 * Writes assembly/generated/: the handler numbers (ops.ts) and the interpreter's switch (dispatch.ts).
 *
 * The common integer instructions exist once per operand size and operand kind, so that a handler has nothing left to ask: one
 * `switch` over a dense number is what V8 compiles to a jump table, and that is the fastest interpreter there is in WebAssembly.
 * The families are regular (number = family + operation * 4 + size), which is what the decoder computes with.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const out = fileURLToPath(new URL('../assembly/generated/', import.meta.url));
const names = [];
const cases = [];
/** Adds a handler; `body` is AssemblyScript with `pc` in scope. It ends in `next` (go on), `fault`, or a jump of its own. */
function handler(name, body) {
  names.push(name);
  cases.push(
    `      case ${names.length - 1}: { // ${name}\n${body
      .trim()
      .split('\n')
      .map((l) => '        ' + l.trim())
      .join('\n')}\n      }`,
  );
}
const NEXT = 'pc += RECORD; continue;';
const FAULT = '{ status = FAULT; break; }';

const sizes = [8, 16, 32, 64];
const bytes = (s) => s / 8;
const A = (s) => `load<u${s}>(regPtr(pc))`;
const B = (s) => `load<u${s}>(rmPtr(pc))`;
/** Writing a 32-bit register clears the upper half. */
const setA = (s, v) => (s === 32 ? `store<u64>(regPtr(pc), <u64><u32>(${v}));` : `store<u${s}>(regPtr(pc), ${v});`);
const imm = (s) => `<u${s}>recImm(pc)`;
const readP = (s) =>
  `const p = fastRead(fastLinear(pc, ${bytes(s)}, false), ${bytes(s)}, recSegment(pc), pc); if (p == 0) ${FAULT}`;
const writeP = (s) =>
  `const p = fastWrite(fastLinear(pc, ${bytes(s)}, true), ${bytes(s)}, recSegment(pc), pc); if (p == 0) ${FAULT}`;
const modifyP = (s) =>
  `const p = fastModify(fastLinear(pc, ${bytes(s)}, true), ${bytes(s)}, recSegment(pc), pc); if (p == 0) ${FAULT}`;
const commitP = `if (!commit(p)) ${FAULT}`;

handler(
  'NEXT',
  `
store<u64>(BUDGET, load<u64>(BUDGET) + <u64>recLeft(pc));
store<u64>(RIP, currentRip(pc));
pc = next(); if (pc == 0) return; continue;`,
);

/** The end of a block whose code goes on: like a jump to the next instruction, with a link of its own. */
handler('CONTINUE', 'pc = goOn(pc); if (pc == 0) return; continue;');

// ---- arithmetic and logic: r,r  r,m  m,r  r,i  m,i
const alu = ['add', 'or', 'adc', 'sbb', 'and', 'sub', 'xor', 'cmp'];
const compute = {
  add: (s, a, b) => `const r = ${a} + ${b}; FLAGS_ADD`,
  adc: (s, a, b) => `const r = ${a} + ${b} + <u${s}>getCF(); FLAGS_ADD`,
  sub: (s, a, b) => `const r = ${a} - ${b}; FLAGS_SUB`,
  cmp: (s, a, b) => `const r = ${a} - ${b}; FLAGS_SUB`,
  sbb: (s, a, b) => `const r = ${a} - ${b} - <u${s}>getCF(); FLAGS_SUB`,
  and: (s, a, b) => `const r = ${a} & ${b}; FLAGS_LOGIC`,
  or: (s, a, b) => `const r = ${a} | ${b}; FLAGS_LOGIC`,
  xor: (s, a, b) => `const r = ${a} ^ ${b}; FLAGS_LOGIC`,
};
function flagsOf(op, s) {
  if (['and', 'or', 'xor'].includes(op)) return `setLogicFlags(<i64><i${s}>r);`;
  return (['add', 'adc'].includes(op) ? 'addFlags' : 'subFlags') + `${s}(a, b, r);`;
}
const calc = (op, s) => compute[op](s, 'a', 'b').replace(/FLAGS_\w+/, '');
/** One family of 8 operations by 4 sizes. */
function family(prefix, make) {
  for (const op of alu) for (const s of sizes) handler(`${prefix}_${op.toUpperCase()}${s}`, make(op, s));
}
family(
  'RR',
  (op, s) => `
const a: u${s} = ${A(s)}, b: u${s} = ${B(s)}; ${calc(op, s)}
${op === 'cmp' ? '' : setA(s, 'r')} ${flagsOf(op, s)}
${NEXT}`,
);
family(
  'RM',
  (op, s) => `
${readP(s)}
const a: u${s} = ${A(s)}, b: u${s} = load<u${s}>(p); ${calc(op, s)}
${op === 'cmp' ? '' : setA(s, 'r')} ${flagsOf(op, s)}
${NEXT}`,
);
family('MR', (op, s) =>
  op === 'cmp'
    ? `
${readP(s)}
const a: u${s} = load<u${s}>(p), b: u${s} = ${A(s)}; ${calc(op, s)}
${flagsOf(op, s)}
${NEXT}`
    : `
${modifyP(s)}
const a: u${s} = load<u${s}>(p), b: u${s} = ${A(s)}; ${calc(op, s)}
store<u${s}>(p, r); ${commitP}
${flagsOf(op, s)}
${NEXT}`,
);
family(
  'RI',
  (op, s) => `
const a: u${s} = ${A(s)}, b: u${s} = ${imm(s)}; ${calc(op, s)}
${op === 'cmp' ? '' : setA(s, 'r')} ${flagsOf(op, s)}
${NEXT}`,
);
family('MI', (op, s) =>
  op === 'cmp'
    ? `
${readP(s)}
const a: u${s} = load<u${s}>(p), b: u${s} = ${imm(s)}; ${calc(op, s)}
${flagsOf(op, s)}
${NEXT}`
    : `
${modifyP(s)}
const a: u${s} = load<u${s}>(p), b: u${s} = ${imm(s)}; ${calc(op, s)}
store<u${s}>(p, r); ${commitP}
${flagsOf(op, s)}
${NEXT}`,
);
for (const s of sizes) handler(`TEST_RR${s}`, `const r = ${A(s)} & ${B(s)}; setLogicFlags(<i64><i${s}>r); ${NEXT}`);
for (const s of sizes)
  handler(`TEST_MR${s}`, `${readP(s)}\nconst r = load<u${s}>(p) & ${A(s)}; setLogicFlags(<i64><i${s}>r); ${NEXT}`);
for (const s of sizes) handler(`TEST_RI${s}`, `const r = ${A(s)} & ${imm(s)}; setLogicFlags(<i64><i${s}>r); ${NEXT}`);
for (const s of sizes)
  handler(`TEST_MI${s}`, `${readP(s)}\nconst r = load<u${s}>(p) & ${imm(s)}; setLogicFlags(<i64><i${s}>r); ${NEXT}`);

// ---- moves
for (const s of sizes) handler(`MOV_RR${s}`, `${setA(s, B(s))} ${NEXT}`);
for (const s of sizes) handler(`MOV_RM${s}`, `${readP(s)}\n${setA(s, `load<u${s}>(p)`)} ${NEXT}`);
for (const s of sizes) handler(`MOV_MR${s}`, `${writeP(s)}\nstore<u${s}>(p, ${A(s)}); ${commitP}\n${NEXT}`);
for (const s of sizes) handler(`MOV_RI${s}`, `${setA(s, imm(s))} ${NEXT}`);
for (const s of sizes) handler(`MOV_MI${s}`, `${writeP(s)}\nstore<u${s}>(p, ${imm(s)}); ${commitP}\n${NEXT}`);
for (const [to, from] of [
  [16, 8],
  [32, 8],
  [32, 16],
]) {
  handler(`MOVZX_R${to}_R${from}`, `${setA(to, `<u${to}>${B(from)}`)} ${NEXT}`);
  handler(`MOVZX_R${to}_M${from}`, `${readP(from)}\n${setA(to, `<u${to}>load<u${from}>(p)`)} ${NEXT}`);
}
for (const [to, from] of [
  [16, 8],
  [32, 8],
  [32, 16],
  [64, 8],
  [64, 16],
  [64, 32],
]) {
  handler(`MOVSX_R${to}_R${from}`, `${setA(to, `<u${to}><i${to}>load<i${from}>(rmPtr(pc))`)} ${NEXT}`);
  handler(`MOVSX_R${to}_M${from}`, `${readP(from)}\n${setA(to, `<u${to}><i${to}>load<i${from}>(p)`)} ${NEXT}`);
}
handler('LEA16', `store<u16>(regPtr(pc), <u16>effectiveAddress(pc)); ${NEXT}`);
handler('LEA32', `store<u64>(regPtr(pc), <u64><u32>effectiveAddress(pc)); ${NEXT}`);
handler('LEA64', `store<u64>(regPtr(pc), effectiveAddress(pc)); ${NEXT}`);
/** LEA without a segment, scale or short address: base + displacement. */
handler(
  'LEA64_SIMPLE',
  `store<u64>(regPtr(pc), load<u64>(REGS + <usize>load<u8>(pc, 8)) + <u64><i64>load<i32>(pc, 16)); ${NEXT}`,
);
handler(
  'LEA64_FULL',
  `store<u64>(regPtr(pc), load<u64>(REGS + <usize>load<u8>(pc, 8)) + (load<u64>(REGS + <usize>load<u8>(pc, 9)) << <u64>load<u8>(pc, 10)) + <u64><i64>load<i32>(pc, 16)); ${NEXT}`,
);

// ---- one operand
for (const [name, text] of [
  ['INC', 'const r = a + 1; incFlags'],
  ['DEC', 'const r = a - 1; decFlags'],
  ['NEG', 'const r = <uSIZE>0 - a; negFlags'],
  ['NOT', 'const r = ~a;'],
]) {
  const at = (s) => text.replace('SIZE', s);
  for (const s of sizes)
    handler(
      `${name}_R${s}`,
      `const a: u${s} = ${A(s)}; ${name === 'NOT' ? at(s) : at(s).replace(/(\w+)$/, `$1${s}(a, r);`)} ${setA(s, 'r')} ${NEXT}`,
    );
  for (const s of sizes) {
    const [first, flag] = name === 'NOT' ? [at(s), ''] : at(s).split('; ');
    handler(
      `${name}_M${s}`,
      `${modifyP(s)}\nconst a: u${s} = load<u${s}>(p); ${first}; store<u${s}>(p, r); ${commitP}\n${flag ? `${flag}${s}(a, r);` : ''} ${NEXT}`,
    );
  }
}

// ---- shifts and rotates of registers by an immediate (already masked, not 0) or CL
for (const op of ['SHL', 'SHR', 'SAR', 'ROL', 'ROR'])
  for (const s of [32, 64]) {
    handler(`${op}_RI${s}`, `${setA(s, `${op.toLowerCase()}${s}(${A(s)}, <u32>recImm(pc))`)} ${NEXT}`);
    handler(
      `${op}_RCL${s}`,
      `const n = <u32>load<u8>(REGS + 8) & ${s - 1}; if (n != 0) { ${setA(s, `${op.toLowerCase()}${s}(${A(s)}, n)`)} } else { ${s === 32 ? setA(s, A(s)) : ''} } ${NEXT}`,
    );
  }

// ---- stack and near transfers in 64-bit mode, and with flat 32-bit segments
for (const [s, w] of [
  [64, 8],
  [32, 4],
]) {
  const sp = s === 64 ? 'load<u64>(REGS + 32)' : '<u64>load<u32>(REGS + 32)';
  const setSp = (v) => (s === 64 ? `store<u64>(REGS + 32, ${v});` : `store<u64>(REGS + 32, <u64><u32>(${v}));`);
  const below = s === 64 ? `${sp} - ${w}` : `<u64><u32>(load<u32>(REGS + 32) - ${w})`;
  const pushed = (v) =>
    `const sp = ${below}; const p = fastWrite(sp, ${w}, SEG_SS, pc); if (p == 0) ${FAULT}\nstore<u${s}>(p, ${v}); ${commitP}\n${setSp('sp')}`;
  handler(`PUSH${s}_R`, `${pushed(A(s))} ${NEXT}`);
  handler(`PUSH${s}_I`, `${pushed(imm(s))} ${NEXT}`);
  handler(
    `PUSH${s}_M`,
    `const q = fastRead(fastLinear(pc, ${w}, false), ${w}, recSegment(pc), pc); if (q == 0) ${FAULT}\nconst v = load<u${s}>(q); ${pushed('v')} ${NEXT}`,
  );
  // POP RSP keeps the popped value: the register is written last
  handler(
    `POP${s}_R`,
    `const sp = ${sp}; const p = fastRead(sp, ${w}, SEG_SS, pc); if (p == 0) ${FAULT}\nconst v = load<u${s}>(p); ${setSp(`sp + ${w}`)} ${setA(s, 'v')} ${NEXT}`,
  );
  const rip = s === 64 ? 'nextRip(pc)' : '<u32>nextRip(pc)';
  handler(`CALL${s}`, `${pushed(rip)}\npc = branch(pc); if (pc == 0) return; continue;`);
  handler(
    `RET${s}`,
    `const sp = ${sp}; const p = fastRead(sp, ${w}, SEG_SS, pc); if (p == 0) ${FAULT}
const v = <u64>load<u${s}>(p); ${s === 64 ? `if (!isCanonical(v)) { raiseError(13, 0); status = FAULT; break; }` : ''}
${setSp(`sp + ${w} + <u64>recImm(pc)`)} pc = transfer(pc, v); if (pc == 0) return; continue;`,
  );
  handler(
    `CALL${s}_R`,
    `const v: u64 = <u64>${A(s)}; ${s === 64 ? `if (!isCanonical(v)) { raiseError(13, 0); status = FAULT; break; }` : ''}
${pushed(rip)} pc = transfer(pc, v); if (pc == 0) return; continue;`,
  );
  handler(
    `CALL${s}_M`,
    `const q = fastRead(fastLinear(pc, ${w}, false), ${w}, recSegment(pc), pc); if (q == 0) ${FAULT}
const v: u64 = <u64>load<u${s}>(q); ${s === 64 ? `if (!isCanonical(v)) { raiseError(13, 0); status = FAULT; break; }` : ''}
${pushed(rip)} pc = transfer(pc, v); if (pc == 0) return; continue;`,
  );
  handler(
    `JMP${s}_R`,
    `const v: u64 = <u64>${A(s)}; ${s === 64 ? `if (!isCanonical(v)) { raiseError(13, 0); status = FAULT; break; }` : ''} pc = transfer(pc, v); if (pc == 0) return; continue;`,
  );
  handler(
    `JMP${s}_M`,
    `const q = fastRead(fastLinear(pc, ${w}, false), ${w}, recSegment(pc), pc); if (q == 0) ${FAULT}
const v: u64 = <u64>load<u${s}>(q); ${s === 64 ? `if (!isCanonical(v)) { raiseError(13, 0); status = FAULT; break; }` : ''} pc = transfer(pc, v); if (pc == 0) return; continue;`,
  );
}

// ---- conditions, in the encoding order of Jcc
const conditions = [
  'getOF() != 0',
  'getOF() == 0',
  'getCF() != 0',
  'getCF() == 0',
  'getZF() != 0',
  'getZF() == 0',
  '(getCF() | getZF()) != 0',
  '(getCF() | getZF()) == 0',
  'getSF() != 0',
  'getSF() == 0',
  'getPF() != 0',
  'getPF() == 0',
  'getSF() != getOF()',
  'getSF() == getOF()',
  '(getZF() | (getSF() ^ getOF())) != 0',
  '(getZF() | (getSF() ^ getOF())) == 0',
];
conditions.forEach((c, i) =>
  handler(`JCC${i}`, `if (${c}) { pc = branch(pc); if (pc == 0) return; continue; } ${NEXT}`),
);
handler('JMP', 'pc = branch(pc); if (pc == 0) return; continue;');
conditions.forEach((c, i) => handler(`SETCC${i}`, `store<u8>(rmPtr(pc), <u8>(${c})); ${NEXT}`));
conditions.forEach((c, i) => handler(`CMOV${i}_R32`, `${setA(32, `${c} ? ${B(32)} : ${A(32)}`)} ${NEXT}`));
conditions.forEach((c, i) => handler(`CMOV${i}_R64`, `if (${c}) ${setA(64, B(64))} ${NEXT}`));

// ---- a comparison and the conditional branch behind it, run as one (the branch keeps its own record)
/** Conditions of \`cmp a, b\` by condition number; signed ones through i-types. */
const afterCompare = (s) => ({
  2: 'a < b',
  3: 'a >= b',
  4: 'a == b',
  5: 'a != b',
  6: 'a <= b',
  7: 'a > b',
  12: `<i${s}>a < <i${s}>b`,
  13: `<i${s}>a >= <i${s}>b`,
  14: `<i${s}>a <= <i${s}>b`,
  15: `<i${s}>a > <i${s}>b`,
});
const afterTest = (s) => ({
  4: 'r == 0',
  5: 'r != 0',
  8: `<i${s}>r < 0`,
  9: `<i${s}>r >= 0`,
  14: `<i${s}>r <= 0`,
  15: `<i${s}>r > 0`,
});
const BRANCH = (c) =>
  `if (${c}) { pc = branch(pc + RECORD); if (pc == 0) return; continue; } pc += 2 * RECORD; continue;`;
const fusions = [];
function fused(base, s, body, table, only) {
  for (const [cc, c] of Object.entries(table)) {
    if (only && !only.includes(Number(cc))) continue;
    fusions.push([base, Number(cc), `${base}_J${cc}`]);
    handler(`${base}_J${cc}`, `${body}\n${BRANCH(c)}`);
  }
}
for (const s of [8, 32, 64]) {
  fused(`RI_CMP${s}`, s, `const a: u${s} = ${A(s)}, b: u${s} = ${imm(s)}; subFlags${s}(a, b, a - b);`, afterCompare(s));
  fused(
    `RR_CMP${s}`,
    s,
    `const a: u${s} = ${A(s)}, b: u${s} = ${B(s)}; subFlags${s}(a, b, a - b);`,
    afterCompare(s),
    s === 8 ? [4, 5] : undefined,
  );
  fused(`TEST_RR${s}`, s, `const r: u${s} = ${A(s)} & ${B(s)}; setLogicFlags(<i64><i${s}>r);`, afterTest(s));
  fused(
    `MI_CMP${s}`,
    s,
    `${readP(s)}\nconst a: u${s} = load<u${s}>(p), b: u${s} = ${imm(s)}; subFlags${s}(a, b, a - b);`,
    afterCompare(s),
    [2, 3, 4, 5, 6, 7],
  );
  fused(`TEST_RI${s}`, s, `const r: u${s} = ${A(s)} & ${imm(s)}; setLogicFlags(<i64><i${s}>r);`, afterTest(s), [4, 5]);
  fused(
    `TEST_MI${s}`,
    s,
    `${readP(s)}\nconst r: u${s} = load<u${s}>(p) & ${imm(s)}; setLogicFlags(<i64><i${s}>r);`,
    afterTest(s),
    [4, 5],
  );
}
for (const s of [32, 64]) {
  fused(
    `RM_CMP${s}`,
    s,
    `${readP(s)}\nconst a: u${s} = ${A(s)}, b: u${s} = load<u${s}>(p); subFlags${s}(a, b, a - b);`,
    afterCompare(s),
    [2, 3, 4, 5, 6, 7],
  );
  fused(
    `MR_CMP${s}`,
    s,
    `${readP(s)}\nconst a: u${s} = load<u${s}>(p), b: u${s} = ${A(s)}; subFlags${s}(a, b, a - b);`,
    afterCompare(s),
    [2, 3, 4, 5, 6, 7],
  );
  fused(
    `RI_SUB${s}`,
    s,
    `const a: u${s} = ${A(s)}, b: u${s} = ${imm(s)}, r: u${s} = a - b; ${setA(s, 'r')} subFlags${s}(a, b, r);`,
    afterCompare(s),
    [4, 5],
  );
  fused(
    `RI_ADD${s}`,
    s,
    `const a: u${s} = ${A(s)}, b: u${s} = ${imm(s)}, r: u${s} = a + b; ${setA(s, 'r')} addFlags${s}(a, b, r);`,
    { 4: 'r == 0', 5: 'r != 0' },
  );
  fused(`DEC_R${s}`, s, `const a: u${s} = ${A(s)}, r: u${s} = a - 1; decFlags${s}(a, r); ${setA(s, 'r')}`, {
    4: 'r == 0',
    5: 'r != 0',
  });
}

// ---- a few more that are everywhere
for (const s of [32, 64]) {
  handler(`IMUL_RR${s}`, `${setA(s, `imul${s}(${A(s)}, ${B(s)})`)} ${NEXT}`);
  handler(`IMUL_RM${s}`, `${readP(s)}\n${setA(s, `imul${s}(${A(s)}, load<u${s}>(p))`)} ${NEXT}`);
  handler(`IMUL_RRI${s}`, `${setA(s, `imul${s}(${B(s)}, ${imm(s)})`)} ${NEXT}`);
}
handler('XCHG_RR64', `const a = ${A(64)}, b = ${B(64)}; store<u64>(regPtr(pc), b); store<u64>(rmPtr(pc), a); ${NEXT}`);
handler('CWDE', `store<u64>(REGS, <u64><u32><i32>load<i16>(REGS)); ${NEXT}`);
handler('CDQE', `store<i64>(REGS, <i64>load<i32>(REGS)); ${NEXT}`);
handler('CDQ', `store<u64>(REGS + 16, <u64><u32>(load<i32>(REGS) >> 31)); ${NEXT}`);
handler('CQO', `store<i64>(REGS + 16, load<i64>(REGS) >> 63); ${NEXT}`);
handler('NOP', NEXT);

// ---- the vector instructions that are everywhere, in their legacy 128-bit form: register, register and register, memory.
// The memory form is chosen only where the address needs no segment check. What is unusual about one (CR0.TS, no CR4.OSFXSR, a
// misaligned operand) is left to the unit.
const UNIT = '{ status = execSimd(pc); break; }';
const vectors = []; // [unit operation, handler in register form, in memory form]
const packed = {
  PADDB: 'i8x16.add(a, b)',
  PADDW: 'i16x8.add(a, b)',
  PADDD: 'i32x4.add(a, b)',
  PADDQ: 'i64x2.add(a, b)',
  PSUBB: 'i8x16.sub(a, b)',
  PSUBW: 'i16x8.sub(a, b)',
  PSUBD: 'i32x4.sub(a, b)',
  PSUBQ: 'i64x2.sub(a, b)',
  PADDUSB: 'i8x16.add_sat_u(a, b)',
  PSUBUSB: 'i8x16.sub_sat_u(a, b)',
  PMINUB: 'i8x16.min_u(a, b)',
  PMAXUB: 'i8x16.max_u(a, b)',
  PAVGB: 'i8x16.avgr_u(a, b)',
  PAND: 'v128.and(a, b)',
  PANDN: 'v128.andnot(b, a)',
  POR: 'v128.or(a, b)',
  PXOR: 'v128.xor(a, b)',
  PCMPEQB: 'i8x16.eq(a, b)',
  PCMPEQW: 'i16x8.eq(a, b)',
  PCMPEQD: 'i32x4.eq(a, b)',
  PCMPGTB: 'i8x16.gt_s(a, b)',
  PCMPGTW: 'i16x8.gt_s(a, b)',
  PCMPGTD: 'i32x4.gt_s(a, b)',
  PMULLW: 'i16x8.mul(a, b)',
  PMADDWD: 'i32x4.dot_i16x8_s(a, b)',
  PSADBW: 'sumOfDifferences(a, b)',
  PMULUDQ: 'i64x2.mul(v128.and(a, i64x2.splat(0xffffffff)), v128.and(b, i64x2.splat(0xffffffff)))',
  PUNPCKLBW: 'i8x16.shuffle(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)',
  PUNPCKLWD: 'v128.shuffle<i16>(a, b, 0, 8, 1, 9, 2, 10, 3, 11)',
  PUNPCKLDQ: 'v128.shuffle<i32>(a, b, 0, 4, 1, 5)',
  PUNPCKLQDQ: 'v128.shuffle<i64>(a, b, 0, 2)',
  PUNPCKHBW: 'i8x16.shuffle(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)',
  PUNPCKHWD: 'v128.shuffle<i16>(a, b, 4, 12, 5, 13, 6, 14, 7, 15)',
  PUNPCKHDQ: 'v128.shuffle<i32>(a, b, 2, 6, 3, 7)',
  PUNPCKHQDQ: 'v128.shuffle<i64>(a, b, 1, 3)',
};
const readVector = (
  size,
  aligned,
) => `const l = fastLinear(pc, ${size}, false); if (load<u32>(SSE_TRAP) != 0${aligned ? ' || (l & 15) != 0' : ''}) ${UNIT}
const p = fastRead(l, ${size}, recSegment(pc), pc); if (p == 0) ${FAULT}`;
for (const [name, text] of Object.entries(packed)) {
  vectors.push([`Int.${name}`, `VX_${name}`, `VM_${name}`]);
  handler(
    `VX_${name}`,
    `if (load<u32>(SSE_TRAP) != 0) ${UNIT}\nconst d = regVector(pc), a = v128.load(d), b = v128.load(rmVector(pc)); v128.store(d, ${text}); ${NEXT}`,
  );
  handler(
    `VM_${name}`,
    `${readVector(16, true)}\nconst d = regVector(pc), a = v128.load(d), b = v128.load(p); v128.store(d, ${text}); ${NEXT}`,
  );
}
for (const [name, aligned] of [
  ['LOAD', false],
  ['LOAD_ALIGNED', true],
]) {
  vectors.push([`Move.${name}`, 'VX_MOVE', `VM_${name}`]);
  handler(`VM_${name}`, `${readVector(16, aligned)}\nv128.store(regVector(pc), v128.load(p)); ${NEXT}`);
}
handler(
  'VX_MOVE',
  `if (load<u32>(SSE_TRAP) != 0) ${UNIT}\nv128.store(regVector(pc), v128.load(rmVector(pc))); ${NEXT}`,
);
for (const [name, aligned] of [
  ['STORE', false],
  ['STORE_ALIGNED', true],
]) {
  vectors.push([`Move.${name}`, '', `VM_${name}`]);
  handler(
    `VM_${name}`,
    `const l = fastLinear(pc, 16, true); if (load<u32>(SSE_TRAP) != 0${aligned ? ' || (l & 15) != 0' : ''}) ${UNIT}
const p = fastWrite(l, 16, recSegment(pc), pc); if (p == 0) ${FAULT}
v128.store(p, v128.load(regVector(pc))); ${commitP}\n${NEXT}`,
  );
}
for (const [name, s] of [
  ['SS', 32],
  ['SD', 64],
]) {
  vectors.push([`Move.${name}_LOAD`, '', `VM_${name}_LOAD`], [`Move.${name}_STORE`, '', `VM_${name}_STORE`]);
  handler(
    `VM_${name}_LOAD`,
    `${readVector(bytes(s), false)}\nv128.store(regVector(pc), v128.load${s}_zero(p)); ${NEXT}`,
  );
  handler(
    `VM_${name}_STORE`,
    `const l = fastLinear(pc, ${bytes(s)}, true); if (load<u32>(SSE_TRAP) != 0) ${UNIT}
const p = fastWrite(l, ${bytes(s)}, recSegment(pc), pc); if (p == 0) ${FAULT}
store<u${s}>(p, load<u${s}>(regVector(pc))); ${commitP}\n${NEXT}`,
  );
}
vectors.push(['Shuffle.PSHUFD', 'VX_PSHUFD', '']);
handler(
  'VX_PSHUFD',
  `if (load<u32>(SSE_TRAP) != 0) ${UNIT}
const s = rmVector(pc), n = recImm8(pc);
v128.store(regVector(pc), i32x4.replace_lane(i32x4.replace_lane(i32x4.replace_lane(v128.load32_splat(s + <usize>((n & 3) << 2)), 1, load<i32>(s + <usize>(n & 12))), 2, load<i32>(s + <usize>((n >>> 2) & 12))), 3, load<i32>(s + <usize>((n >>> 4) & 12)))); ${NEXT}`,
);
/** Shifts by an immediate: register form only; the operation is in ModRM.reg. */
const vectorShifts = [];
for (const [group, lanes, type, limit] of [
  [71, 'W', 'i16x8', 16],
  [72, 'D', 'i32x4', 32],
  [73, 'Q', 'i64x2', 64],
]) {
  for (const [reg, name, shift] of [
    [2, 'PSRL', 'shr_u'],
    [4, 'PSRA', 'shr_s'],
    [6, 'PSLL', 'shl'],
  ]) {
    if (reg === 4 && group === 73) continue;
    vectorShifts.push([`Shift.IMMEDIATE_${group}`, reg, `VX_${name}${lanes}`]);
    handler(
      `VX_${name}${lanes}`,
      `if (load<u32>(SSE_TRAP) != 0) ${UNIT}
const r = rmVector(pc), n = recImm8(pc); v128.store(r, ${reg === 4 ? `${type}.shr_s(v128.load(r), n < ${limit} ? n : ${limit - 1})` : `n < ${limit} ? ${type}.${shift}(v128.load(r), n) : i64x2.splat(0)`}); ${NEXT}`,
    );
  }
}
for (const name of ['ADD', 'SUB', 'MUL', 'DIV']) {
  vectors.push([`Float.${name} + 3`, `V_${name}SD`, `V_${name}SD`]);
  handler(`V_${name}SD`, `if (load<u32>(SSE_TRAP) != 0) ${UNIT}\nstatus = ${name.toLowerCase()}Double(pc); break;`);
}

// ---- units: everything else
handler('INTEGER', 'status = execInteger(pc); break;');
handler('STRING', 'status = execString(pc); break;');
handler('SYSTEM', 'status = execSystem(pc); break;');
handler('X87', 'status = execX87(pc); break;');
handler('STATE', 'status = execGroup15(pc); break;');
handler('SIMD', 'status = execSimd(pc); break;');
handler('UNDEFINED', 'raise(6); status = FAULT; break;');
handler('TOO_LONG', 'raiseError(13, 0); status = FAULT; break;');

const header = '// Written by scripts/generate-dispatch.mjs; do not edit.\n';
mkdirSync(out, { recursive: true });
const fuse = `
/** The handler that runs the one with number \`op\` and a conditional branch with condition \`cc\` behind it as one; 0 when there is none. */
export function fusedWithBranch(op: u32, cc: u32): u32 {
  switch ((op << 4) | cc) {
${fusions.map(([base, cc, name]) => `    case ${(names.indexOf(base) << 4) | cc}: return OP_${name};`).join('\n')}
    default: return 0;
  }
}

/**
 * The handler of a vector instruction of its own, 0 when it has none. \`unit\` is its number in the unit, \`reg\` ModRM.reg, and
 * \`plain\` says that its memory operand needs no segment check.
 */
export function vectorHandler(unit: u32, register: bool, reg: u32, plain: bool): u32 {
  if ((unit >>> 14) != VARIANT_SSE || (!register && !plain)) return 0;
  switch (unit & 0xfff) {
${vectors.map(([op, rr, rm]) => `    case ${op}: return register ? ${rr ? `OP_${rr}` : 0} : ${rm ? `OP_${rm}` : 0};`).join('\n')}
${['71', '72', '73']
  .map(
    (g) =>
      `    case Shift.IMMEDIATE_${g}: switch (reg) {\n${vectorShifts
        .filter(([op]) => op.endsWith(g))
        .map(([, reg, name]) => `      case ${reg}: return OP_${name};`)
        .join('\n')}\n      default: return 0;\n    }`,
  )
  .join('\n')}
    default: return 0;
  }
}
`;
writeFileSync(
  out + 'ops.ts',
  `${header}import { Float, Int, Move, Shift, Shuffle, VARIANT_SSE } from "../simd/ops";\n` +
    names.map((n, i) => `export const OP_${n}: u32 = ${i};`).join('\n') +
    '\n' +
    fuse,
);
writeFileSync(
  out + 'dispatch.ts',
  `${header}import { BUDGET, REGS, RIP, SEG_SS, SSE_TRAP } from "../../src/layout";
import {
  addFlags16, addFlags32, addFlags64, addFlags8, decFlags16, decFlags32, decFlags64, decFlags8, imul32, imul64, incFlags16, incFlags32, incFlags64, incFlags8,
  negFlags16, negFlags32, negFlags64, negFlags8, rol32, rol64, ror32, ror64, sar32, sar64, shl32, shl64, shr32, shr64, subFlags16, subFlags32, subFlags64, subFlags8,
} from "../alu";
import { getCF, getOF, getPF, getSF, getZF, setLogicFlags } from "../flags";
import { execGroup15 } from "../fp/state";
import { execX87 } from "../fp/x87";
import { execInteger } from "../integer/integer";
import { commit, effectiveAddress, fastLinear, fastModify, fastRead, fastWrite } from "../mmu";
import { currentRip, isCanonical, nextRip } from "../mode";
import { RECORD, recImm, recImm8, recLeft, recOp, recSegment, regPtr, rmPtr } from "../record";
import { branch, goOn, next, settle, transfer } from "../run";
import { execSimd } from "../simd/exec";
import { addDouble, divDouble, mulDouble, subDouble } from "../simd/float";
import { sumOfDifferences } from "../simd/integer";
import { regVector, rmVector } from "../simd/operands";
import { FAULT, OK } from "../status";
import { execString } from "../strings";
import { execSystem } from "../system/system";
import { raise, raiseError } from "../system/exceptions";

/** Runs from the record at \`pc\` until the processor must be left. */
export function interpret(pc: usize): void {
  while (true) {
    let status: i32 = OK;
    switch (recOp(pc)) {
${cases.join('\n')}
      default: unreachable();
    }
    if (status == OK) { pc += RECORD; continue; }
    pc = settle(pc, status);
    if (pc == 0) return;
  }
}
`,
);
console.log(`${names.length} handlers`);
