/**
 * Writes assembly/generated/: the handler numbers (ops.ts) and the interpreter's switch (dispatch.ts). One `switch` over a dense number is
 * what V8 compiles to a jump table, and that is the fastest interpreter there is in WebAssembly. The handlers are tables in dispatch/.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { HANDLERS } from './dispatch/handlers.mjs';
import { printDispatch, printOps } from './dispatch/print.mjs';

const out = fileURLToPath(new URL('../assembly/generated/', import.meta.url));
mkdirSync(out, { recursive: true });
writeFileSync(`${out}ops.ts`, printOps());
writeFileSync(`${out}dispatch.ts`, printDispatch());
console.log(`${HANDLERS.length} handlers`);
