/**
 * Writes assembly/generated/: the handler numbers (ops.ts), the interpreter's switch (dispatch.ts) and the exit reasons (exit-reasons.ts). One `switch` over a dense number is
 * what V8 compiles to a jump table, and that is the fastest interpreter there is in WebAssembly. The handlers are tables in dispatch/.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { HANDLERS } from './dispatch/handlers.mjs';
import { printDispatch, printOps } from './dispatch/print.mjs';

const out = fileURLToPath(new URL('../assembly/generated/', import.meta.url));
mkdirSync(out, { recursive: true });
writeFileSync(`${out}ops.ts`, printOps());
writeFileSync(`${out}dispatch.ts`, printDispatch());
writeFileSync(`${out}exit-reasons.ts`, printExitReasons());
console.log(`${HANDLERS.length} handlers`);

/** The table of the architecture, as constants. */
function printExitReasons() {
  const table = readFileSync(new URL('../../x86/src/exit-reasons.ts', import.meta.url), 'utf8');
  const reasons = [...table.matchAll(/^ {2}\[(\d+), '([a-z-]+)'/gm)];
  if (reasons.length < 60) throw new Error('packages/x86/src/exit-reasons.ts has no table of exit reasons');
  return reasons
    .map(([, number, name]) => `export const REASON_${name.toUpperCase().replaceAll('-', '_')}: u32 = ${number};\n`)
    .join('');
}
