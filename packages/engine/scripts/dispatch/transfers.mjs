/** Handlers at which code does not simply go on: ends of blocks, stack and near transfers, jumps. */
import { A, COMMIT, CONDITIONS, FAULT, GO, NEXT, imm, setA } from './text.mjs';

const BRANCH = `pc = branch(pc); ${GO}`;
const TRANSFER = `pc = transfer(pc, v); ${GO}`;

export const BLOCK_ENDS = [
  // a block that was cut short: what is behind is looked up anew
  [
    'NEXT',
    `
store<u64>(BUDGET, load<u64>(BUDGET) + <u64>recLeft(pc));
store<u64>(RIP, currentRip(pc));
pc = next(); ${GO}`,
  ],
  // the first record of a block while there is a second tier: counts, and goes to what it has made of the block
  [
    'ENTER',
    `
if (load<u32>(pc, E_FUNCTION) != 0) { pc = enterTranslated(pc); ${GO} }
countEntry(pc);
${NEXT}`,
  ],
  // the end of a block whose code goes on: like a jump to the next instruction, with a link of its own
  ['CONTINUE', `pc = goOn(pc); ${GO}`],
];

/** Stack and near transfers in 64-bit mode (8 bytes, no limits), and with flat 32-bit segments (4 bytes). */
function stackHandlers(s) {
  const w = s / 8,
    long = s === 64;
  const sp = long ? 'load<u64>(REGS + 32)' : '<u64>load<u32>(REGS + 32)';
  const setSp = (v) => (long ? `store<u64>(REGS + 32, ${v});` : `store<u64>(REGS + 32, <u64><u32>(${v}));`);
  const below = long ? `${sp} - ${w}` : `<u64><u32>(load<u32>(REGS + 32) - ${w})`;
  const push = (v) =>
    `const sp = ${below}; const p = fastWrite(sp, ${w}, SEG_SS, pc); if (p == 0) ${FAULT}\nstore<u${s}>(p, ${v}); ${COMMIT}\n${setSp('sp')}`;
  const readTop = `const sp = ${sp}; const p = fastRead(sp, ${w}, SEG_SS, pc); if (p == 0) ${FAULT}`;
  const readOperand = `const q = fastRead(fastLinear(pc, ${w}, false), ${w}, recSegment(pc), pc); if (q == 0) ${FAULT}`;
  const returnRip = long ? 'nextRip(pc)' : '<u32>nextRip(pc)';
  const checkTarget = long ? 'if (!isCanonical(v)) { raiseError(13, 0); status = FAULT; break; }' : '';
  const registerTarget = `const v: u64 = <u64>${A(s)}; ${checkTarget}`;
  const memoryTarget = `${readOperand}\nconst v: u64 = <u64>load<u${s}>(q); ${checkTarget}`;
  return [
    [`PUSH${s}_R`, `${push(A(s))} ${NEXT}`],
    [`PUSH${s}_I`, `${push(imm(s))} ${NEXT}`],
    [`PUSH${s}_M`, `${readOperand}\nconst v = load<u${s}>(q); ${push('v')} ${NEXT}`],
    // POP RSP keeps the popped value: the register is written last
    [`POP${s}_R`, `${readTop}\nconst v = load<u${s}>(p); ${setSp(`sp + ${w}`)} ${setA(s, 'v')} ${NEXT}`],
    [`CALL${s}`, `${push(returnRip)}\n${BRANCH}`],
    [
      `RET${s}`,
      `${readTop}\nconst v = <u64>load<u${s}>(p); ${checkTarget}\n${setSp(`sp + ${w} + <u64>recImm(pc)`)} ${TRANSFER}`,
    ],
    [`CALL${s}_R`, `${registerTarget}\n${push(returnRip)} ${TRANSFER}`],
    [`CALL${s}_M`, `${memoryTarget}\n${push(returnRip)} ${TRANSFER}`],
    [`JMP${s}_R`, `${registerTarget} ${TRANSFER}`],
    [`JMP${s}_M`, `${memoryTarget} ${TRANSFER}`],
  ];
}
export const STACK = [64, 32].flatMap(stackHandlers);

export const JUMPS = [...CONDITIONS.map((c, i) => [`JCC${i}`, `if (${c}) { ${BRANCH} } ${NEXT}`]), ['JMP', BRANCH]];
