/** General-purpose instructions: arithmetic, shifts, bits, data movement, atomics (SDM volume 1 chapter 5.1, 5.1.16). */
import { RAX, RBX, RCX, RDX } from '../registers.js';
import { DATA_LOW, HIGH } from '../format.js';
import { integer } from '../values.js';
import { table, type Group } from './group.js';

const hex = (n: number) => n.toString(16).toUpperCase().padStart(2, '0');

const alu: string[] = [];
for (let i = 0; i < 8; i++) {
  const lock = i === 7 ? '' : ' lock';
  alu.push(
    `${hex(i * 8)} /r b${lock}`,
    `${hex(i * 8 + 1)} /r v${lock}`,
    `${hex(i * 8 + 2)} /r b`,
    `${hex(i * 8 + 3)} /r v`,
    `${hex(i * 8 + 4)} ib b`,
    `${hex(i * 8 + 5)} iz v`,
    `80 /${i} ib b${lock}`,
    `81 /${i} iz v${lock}`,
    `83 /${i} ib v${lock}`,
    `82 /${i} ib b 32`,
  );
}
alu.push(
  '84 /r b',
  '85 /r v',
  'A8 ib b',
  'A9 iz v',
  'F6 /0 ib b',
  'F7 /0 iz v',
  'F6 /1 ib b',
  'F7 /1 iz v',
  'F6 /2 b lock',
  'F7 /2 v lock',
  'F6 /3 b lock',
  'F7 /3 v lock',
  'FE /0 b lock',
  'FF /0 v lock',
  'FE /1 b lock',
  'FF /1 v lock',
  '40 +r v 32',
  '48 +r v 32',
  'F5',
  'F8',
  'F9',
  '9E',
  '9F',
  '98 v',
  '99 v',
);

const shift: string[] = [];
for (let i = 0; i < 8; i++)
  shift.push(
    `C0 /${i} ib b`,
    `C1 /${i} ib v`,
    `D0 /${i} b`,
    `D1 /${i} v`,
    `D2 /${i} b`,
    `D3 /${i} v`,
    `D3 /${i} v`,
    `C1 /${i} ib v`,
  );
shift.push('0F A4 /r ib v', '0F A5 /r v', '0F AC /r ib v', '0F AD /r v', '0F A4 /r ib v', '0F AD /r v');

const multiply = [
  'F6 /4 b',
  'F7 /4 v',
  'F6 /5 b',
  'F7 /5 v',
  '0F AF /r v',
  '69 /r iz v',
  '6B /r ib v',
  'F6 /6 b',
  'F7 /6 v',
  'F6 /7 b',
  'F7 /7 v',
];

const bits = [
  '0F A3 /r v reg',
  '0F AB /r v reg',
  '0F B3 /r v reg',
  '0F BB /r v reg',
  '0F BA /4 ib v',
  '0F BA /5 ib v lock',
  '0F BA /6 ib v lock',
  '0F BA /7 ib v lock',
  '0F BC /r v',
  '0F BD /r v',
  'F3 0F BC /r v',
  'F3 0F BD /r v',
  'F3 0F B8 /r v',
  '0F C8 +r y',
];

const bmi = [
  'VEX.128.NP.0F38.Wy F2 /r v1',
  'VEX.128.NP.0F38.Wy F7 /r v1',
  'VEX.128.NP.0F38.Wy F3 /1 v1',
  'VEX.128.NP.0F38.Wy F3 /2 v1',
  'VEX.128.NP.0F38.Wy F3 /3 v1',
  'VEX.128.NP.0F38.Wy F5 /r v1',
  'VEX.128.F2.0F38.Wy F6 /r v1',
  'VEX.128.F2.0F38.Wy F5 /r v1',
  'VEX.128.F3.0F38.Wy F5 /r v1',
  'VEX.128.F2.0F3A.Wy F0 /r ib',
  'VEX.128.66.0F38.Wy F7 /r v1',
  'VEX.128.F3.0F38.Wy F7 /r v1',
  'VEX.128.F2.0F38.Wy F7 /r v1',
  '66 0F 38 F6 /r y',
  'F3 0F 38 F6 /r y',
  '0F 38 F0 /r v mem',
  '0F 38 F1 /r v mem',
  'F2 0F 38 F0 /r m1 y',
  'F2 0F 38 F1 /r v',
];

const move = [
  '88 /r b',
  '89 /r v',
  '8A /r b',
  '8B /r v',
  'C6 /0 ib b',
  'C7 /0 iz v',
  'B0 +r ib b',
  'B8 +r iv v',
  'A0 moffs b',
  'A1 moffs v',
  'A2 moffs b',
  'A3 moffs v',
  '0F B6 /r m1 v',
  '0F B7 /r m2 v',
  '0F BE /r m1 v',
  '0F BF /r m2 v',
  '63 /r m4 v 64',
  '98 v',
  '99 v',
  '86 /r b lock',
  '87 /r v lock',
  '90 +r v',
  '8D /r v mem',
  '8D /r v mem',
  '9E',
  '9F',
  'F5',
  'F8',
  'F9',
  'FC',
  'FD',
  '0F 1F /0 v',
  '0F 18 /1 m1 mem',
  '0F 18 /0 m1 mem',
  '0F 18 /r v',
  '0F 1C /r v',
  '0F 1D /r v',
  '0F 1F /r v',
  '0F 19 /r v',
  'F3 0F 1E /r v reg',
  '90',
  'F3 0F 1F /0 v',
  '0F C8 +r y',
  '0F C3 /r y mem',
];
for (let cc = 0; cc < 16; cc++) move.push(`0F ${hex(0x40 + cc)} /r v`, `0F ${hex(0x90 + cc)} /r m1 b`);

export const integerGroups: Group[] = [
  table('alu', alu, { sequence: 6, weight: 4, style: 'integer' }),
  table('shift', shift, {
    sequence: 4,
    weight: 3,
    prepare(b) {
      if (b.rng.below(4))
        b.setGpr(RCX, (integer(b.rng, 64) & ~0xffn) | BigInt(b.rng.oneIn(4) ? b.rng.below(256) : b.rng.below(34)));
    },
  }),
  table('muldiv', multiply, {
    weight: 2,
    prepare(b) {
      // half of the time a dividend whose quotient fits
      if (b.rng.oneIn(2)) return;
      const small = integer(b.rng, b.rng.pick([8, 16, 32]));
      b.setGpr(RDX, b.rng.oneIn(2) ? small : b.rng.oneIn(2) ? 0n : 0xffff_ffff_ffff_ffffn);
    },
  }),
  table('bits', bits, { weight: 2, sequence: 3 }),
  bitStrings(),
  table('bmi', bmi, { weight: 3 }),
  table('move', move, { weight: 3, sequence: 6 }),
  lea(),
  atomics(),
  translate(),
];

/** BT and its family with a register bit offset reach memory outside the operand (SDM 2A, BT: bit strings). */
function bitStrings(): Group {
  return {
    name: 'bitstring',
    modes: 'both',
    style: 'integer',
    build(b) {
      const { rng } = b;
      const size = b.is32 ? rng.pick([16, 32]) : rng.pick([16, 32, 64]);
      const reg = rng.pick(b.is32 ? [0, 1, 2] : [0, 1, 2, 9, 10]);
      const bit = rng.range(-2000, 2000);
      const mask = (1n << BigInt(size)) - 1n;
      const junk = b.is32 ? 0n : rng.u64() & ~mask;
      b.setGpr(reg, (BigInt.asUintN(64, BigInt(bit)) & mask) | junk);
      const op = rng.pick([0xa3, 0xab, 0xb3, 0xbb]);
      if (rng.oneIn(8)) b.policy = 'guard';
      b.emit(`0F ${hex(op)} /r v${op === 0xa3 ? '' : ' lock'}`, { size, reg, memory: true });
    },
  };
}

/** XLAT: the table in RBX or EBX, the index in AL. */
function translate(): Group {
  return {
    name: 'xlat',
    modes: 'both',
    style: 'plain',
    build(b) {
      const { rng } = b;
      const narrow = !b.is32 && rng.oneIn(3);
      const at = BigInt(DATA_LOW + (rng.oneIn(6) ? 0x1fff - rng.below(256) : rng.below(0x1f00)));
      b.setGpr(RBX, narrow ? at | (rng.u64() & 0xffffffff00000000n) : b.is32 || rng.oneIn(2) ? at : at + BigInt(HIGH));
      if (rng.oneIn(4)) b.raw(rng.pick([0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65]));
      if (narrow) b.raw(0x67);
      if (!b.is32 && rng.oneIn(4)) b.raw(0x40 | rng.below(16));
      b.raw(0xd7);
    },
  };
}

function lea(): Group {
  return {
    name: 'lea',
    modes: 'both',
    style: 'plain',
    build(b) {
      const { rng } = b;
      if (!rng.oneIn(b.is32 ? 2 : 4)) {
        // any ModRM, SIB and displacement; LEA never faults on the address
        const prefixes: number[] = [];
        if (rng.oneIn(3)) prefixes.push(0x67);
        if (rng.oneIn(3)) prefixes.push(0x66);
        if (rng.oneIn(8)) prefixes.push(rng.pick([0x2e, 0x36, 0x64, 0x65]));
        b.raw(...prefixes);
        if (!b.is32 && rng.below(3)) b.raw(0x40 | rng.below(16));
        const mod = rng.below(3);
        const rm = rng.below(8);
        b.raw(0x8d, (mod << 6) | (rng.below(8) << 3) | rm);
        const wide = !(b.is32 && prefixes.includes(0x67));
        let displacement = mod === 1 ? 1 : mod === 2 ? (wide ? 4 : 2) : 0;
        if (wide && rm === 4) {
          const sib = rng.below(256);
          b.raw(sib);
          if (mod === 0 && (sib & 7) === 5) displacement = 4;
        }
        if (mod === 0 && rm === (wide ? 5 : 6)) displacement = wide ? 4 : 2;
        b.push(rng.u64(), displacement);
        return;
      }
      b.emit('8D /r v mem');
    },
  };
}

function atomics(): Group {
  const forms = [
    '0F B0 /r b lock',
    '0F B1 /r v lock',
    '0F C0 /r b lock',
    '0F C1 /r v lock',
    '86 /r b lock',
    '87 /r v lock',
  ];
  return {
    name: 'atomic',
    modes: 'both',
    style: 'integer',
    weight: 2,
    build(b) {
      const { rng } = b;
      if (rng.below(20) === 0) b.policy = 'guard';
      else if (rng.below(30) === 0) b.policy = 'noncanonical';
      if (rng.oneIn(3)) {
        // CMPXCHG8B, CMPXCHG16B
        const wide = !b.is32 && rng.oneIn(2);
        const size = wide ? 16 : 8;
        if (wide && rng.oneIn(12)) b.policy = 'misaligned';
        const equal = rng.oneIn(2);
        const half = wide ? 64 : 32;
        const low = integer(rng, half);
        const high = integer(rng, half);
        const junk = () => (wide || b.is32 ? 0n : (rng.u64() >> 32n) << 32n);
        b.setGpr(RAX, low | junk());
        b.setGpr(RDX, high | junk());
        b.pinned |= (1 << 3) | (1 << 1);
        const target = b.chooseTarget(size, wide && b.policy !== 'misaligned' ? 16 : 1);
        if (equal && b.policy !== 'guard') {
          const bytes = new Uint8Array(size);
          const view = new DataView(bytes.buffer);
          if (wide) {
            view.setBigUint64(0, low, true);
            view.setBigUint64(8, high, true);
          } else view.setBigUint64(0, low | (high << 32n), true);
          b.patch(target, bytes);
        }
        b.emit(wide ? '0F C7 /1 m16 u mem W lock' : '0F C7 /1 m8 mem lock', { target });
        return;
      }
      const f = rng.pick(forms);
      if (f.startsWith('0F B') && rng.oneIn(2)) {
        // make the accumulator equal to the destination now and then
        const target = b.chooseTarget(8, 1);
        const value = integer(rng, 64);
        const bytes = new Uint8Array(8);
        new DataView(bytes.buffer).setBigUint64(0, value, true);
        if (target >= 0) b.patch(target, bytes);
        b.setGpr(RAX, value);
        b.emit(f, { target, memory: true });
        return;
      }
      b.emit(f);
    },
  };
}
