/**
 * Builds the processor: writes the generated sources, then compiles assembly/ to build/engine.wasm with AssemblyScript.
 * Usage: node scripts/build.mjs [--debug]   (--debug: quick to compile, slow to run, with names)
 */
import { appendFileSync, mkdirSync, renameSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import asc from 'assemblyscript/asc';
import { HANDLERS } from './dispatch/handlers.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
process.chdir(root);
await import('./generate-dispatch.mjs');
mkdirSync('build', { recursive: true });
const debug = process.argv.includes('--debug');
const { error, stderr } = await asc.main([
  'assembly/index.ts',
  '--outFile',
  'build/engine.new.wasm',
  ...(debug ? ['-O1', '--debug'] : ['-O3', '--noAssert']),
  '--runtime',
  'stub',
  '--importMemory',
  '--exportTable', // a second tier puts its functions into it; it can grow
  '--sharedMemory',
  '--initialMemory',
  '1184',
  '--maximumMemory',
  '65536',
  '--memoryBase',
  '65536',
  '--enable',
  'threads',
  '--enable',
  'simd',
  '--use',
  'abort=',
  '--disableWarning',
  '112',
  '--disableWarning',
  '201',
]);
process.stderr.write(stderr.toString());
if (error) {
  console.error(`engine: ${error.message}`);
  process.exit(1);
}
appendFileSync('build/engine.new.wasm', handlerNames());
// in place only when whole: a reader never sees half a module
renameSync('build/engine.new.wasm', 'build/engine.wasm');

/** A custom section with the handlers' names in the order of their numbers, for the second tier: it reads records by them. */
function handlerNames() {
  const name = Buffer.from('handlers'),
    text = Buffer.from(HANDLERS.map(([handler]) => handler).join('\n'));
  const content = Buffer.concat([Buffer.from([name.length]), name, text]);
  return Buffer.concat([Buffer.from([0, ...leb(content.length)]), content]);
}
function leb(value) {
  const bytes = [];
  for (; value >= 0x80; value >>>= 7) bytes.push((value & 0x7f) | 0x80);
  return [...bytes, value];
}
