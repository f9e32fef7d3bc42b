/**
 * Builds what symbols and types are read from in tests, from samples/source with clang and lld: a Windows library with its PDB file, for 64 and for 32 bits, and an object
 * file with BTF; and samples.json, which says from which sources and with which compiler. Usage: node scripts/build-samples.mjs [output folder]
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const home = resolve(import.meta.dirname, '..');
const source = join(home, 'samples/source');

/** No name of a folder gets into what is built: the same sources give the same bytes everywhere. */
const NOWHERE = ['-fdebug-compilation-dir=.', '-fcoverage-compilation-dir=.'];
const WINDOWS = ['-O1', '-g', '-gcodeview', '-gno-column-info', '-ffreestanding', ...NOWHERE];
const CPLUSPLUS = ['-fno-rtti', '-fno-exceptions'];
const LINK = [
  '/dll',
  '/nodefaultlib',
  '/entry:start',
  '/debug:full',
  '/Brepro',
  '/pdbaltpath:%_PDB%',
  '/pdbsourcepath:.',
];

const STEPS = [
  ['clang', '--target=x86_64-pc-windows-msvc', ...WINDOWS, '-c', 'sample.c', '-o', 'sample.obj'],
  ['clang', '--target=x86_64-pc-windows-msvc', ...WINDOWS, ...CPLUSPLUS, '-c', 'classes.cpp', '-o', 'classes.obj'],
  ['lld-link', ...LINK, '/def:sample.def', '/out:sample.dll', '/pdb:sample.pdb', 'sample.obj', 'classes.obj'],
  ['clang', '--target=i686-pc-windows-msvc', ...WINDOWS, '-c', 'sample.c', '-o', 'sample32.obj'],
  ['lld-link', ...LINK, '/safeseh:no', '/def:sample.def', '/out:sample32.dll', '/pdb:sample32.pdb', 'sample32.obj'],
  ['clang', '--target=bpf', '-O1', '-g', ...NOWHERE, '-c', 'types.c', '-o', 'types-debug.o'],
  ['llvm-objcopy', '--only-section=.BTF', 'types-debug.o', 'types.o'],
];
export const BUILT = ['sample.dll', 'sample.pdb', 'sample32.dll', 'sample32.pdb', 'types.o'];

/** Hash over the sources, their names and the commands. */
export function sourceHash() {
  const hash = createHash('sha256').update(JSON.stringify(STEPS));
  for (const name of readdirSync(source).sort()) hash.update(`\0${name}\0`).update(readFileSync(join(source, name)));
  return hash.digest('hex');
}

/** Names and versions of compiler and linker; undefined when one of them is not there. */
export function compiler() {
  const versions = ['clang', 'lld-link'].map((program) => {
    const { status, stdout } = spawnSync(program, ['--version'], { encoding: 'utf8' });
    return status === 0 ? stdout.split('\n')[0] : undefined;
  });
  return versions.includes(undefined) ? undefined : versions.join(', ');
}

/** Builds into a folder. Throws with what the tool said that failed. */
export function buildSamples(output) {
  const work = mkdtempSync(join(tmpdir(), 'visorkit-samples-'));
  try {
    cpSync(source, work, { recursive: true });
    for (const [program, ...args] of STEPS) {
      const { status, stderr, error } = spawnSync(program, args, { cwd: work, encoding: 'utf8' });
      if (status !== 0) throw new Error(`${program} failed: ${error?.message ?? stderr}`);
    }
    mkdirSync(output, { recursive: true });
    for (const name of BUILT) cpSync(join(work, name), join(output, name));
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  writeFileSync(
    join(output, 'samples.json'),
    `${JSON.stringify({ sources: sourceHash(), compiler: compiler() }, null, 2)}\n`,
  );
}

if (process.argv[1] === import.meta.filename) {
  const output = resolve(process.argv[2] ?? join(home, 'samples/built'));
  buildSamples(output);
  for (const name of BUILT) process.stdout.write(`${name}: ${readFileSync(join(output, name)).length} bytes\n`);
}
