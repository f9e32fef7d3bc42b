/**
 * Builds the processor: writes the generated sources, then compiles assembly/ to build/engine.wasm with AssemblyScript.
 * Usage: node scripts/build.mjs [--debug]   (--debug: quick to compile, slow to run, with names)
 */
import { mkdirSync, renameSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import asc from 'assemblyscript/asc';

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
// in place only when whole: a reader never sees half a module
renameSync('build/engine.new.wasm', 'build/engine.wasm');
