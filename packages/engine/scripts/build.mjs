/**
 * Builds the processor: writes the generated sources, then compiles assembly/ to build/engine.wasm with AssemblyScript.
 * Usage: node scripts/build.mjs [--debug] [--sources hash]   (--debug: quick to compile, slow to run, with names; --sources: what tells this build from others,
 * without which no translated code is kept from run to run)
 */
import { appendFileSync, mkdirSync, renameSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import asc from 'assemblyscript/asc';
import { HANDLERS } from './dispatch/handlers.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
process.chdir(root);
await import('./generate-dispatch.mjs');
mkdirSync('build', { recursive: true });
const { debug, sources } = parseArgs({ options: { debug: { type: 'boolean' }, sources: { type: 'string' } } }).values;
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
  '1696',
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
appendFileSync('build/engine.new.wasm', section('handlers', HANDLERS.map(([handler]) => handler).join('\n')));
if (sources !== undefined) appendFileSync('build/engine.new.wasm', section('sources', sources));
// in place only when whole: a reader never sees half a module
renameSync('build/engine.new.wasm', 'build/engine.wasm');

/**
 * A custom section with text, for the second tier. `handlers`: their names in the order of their numbers, since it reads records by them; `sources`: what tells this build
 * from others, so that it does not take code that another one has kept.
 */
function section(title, content) {
  const name = Buffer.from(title),
    text = Buffer.from(content);
  const bytes = Buffer.concat([Buffer.from([name.length]), name, text]);
  return Buffer.concat([Buffer.from([0, ...leb(bytes.length)]), bytes]);
}
function leb(value) {
  const bytes = [];
  for (; value >= 0x80; value >>>= 7) bytes.push((value & 0x7f) | 0x80);
  return [...bytes, value];
}
