/** The text of translated code is WebAssembly's text format. */
import { expect, it } from 'vitest';
import { Op, Vector } from './opcodes.js';
import { Code } from './wasm.js';
import { textOf } from './wasm-text.js';

it('has names, operands and depth', () => {
  const code = new Code(),
    out = code.block();
  const again = code.loop();
  code.get(4).i64(-1, 0).op(Op.i64_and).set(22).i32(-200).tee(34).brIf(out).br(again).end().end();
  code.i32(0).access(Op.i64_load32_u, 0x1550).i32(3).callInTable(1).when();
  code.f64(1.5).otherwise().end();
  code.vectorAccess(Vector.load, 0x1800).vector(Vector.i8x16_add).vector(Vector.andnot).vectorAccess(Vector.store, 0);
  code.brTable([code.depth, code.depth], code.depth).returnCallIndirect(3).op(Op.end);
  expect(textOf(code.written())).toEqual([
    'block',
    '  loop',
    '    local.get $rsp',
    '    i64.const 0xffffffff',
    '    i64.and',
    '    local.set $target',
    '    i32.const -0xc8',
    '    local.tee 34',
    '    br_if 1',
    '    br 0',
    '  end',
    'end',
    'i32.const 0',
    'i64.load32_u offset=0x1550',
    'i32.const 3',
    'i32.const 1',
    'call_indirect (type 1) ;; runUnit',
    'if',
    '  f64.const 1.5',
    'else',
    'end',
    'v128.load offset=0x1800',
    'i8x16.add',
    'v128.andnot',
    'v128.store',
    'br_table 0 0 0',
    'return_call_indirect (type 3)',
    'end',
  ]);
});
