/** What the host's WebAssembly can do. */
import { WebAssembly } from '../webassembly.js';

let tailCalls: boolean | undefined;
/** Whether the host's WebAssembly can end a function in the call of another: a function that does so is valid. */
export function hasTailCalls(): boolean {
  return (tailCalls ??= WebAssembly.validate(
    // the header; type 0: [] -> [i32]; function 0 of that type; its body: return_call 0
    Uint8Array.of(
      0,
      0x61,
      0x73,
      0x6d,
      1,
      0,
      0,
      0,
      1,
      5,
      1,
      0x60,
      0,
      1,
      0x7f,
      3,
      2,
      1,
      0,
      10,
      6,
      1,
      4,
      0,
      0x12,
      0,
      0x0b,
    ),
  ));
}
