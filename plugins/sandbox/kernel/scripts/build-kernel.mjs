/**
 * Builds the sandbox's kernel from guest/ with gcc and writes it to kernel/: the ELF file, and kernel.json, which says from which
 * sources and with which compiler. Usage: node scripts/build-kernel.mjs [output folder]
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const home = resolve(import.meta.dirname, '..');
const guest = join(home, 'guest');

/** Freestanding, for the top 2 GiB, without a red zone; no floating point: those registers are the program's. */
const FLAGS = [
  '-O2',
  '-std=gnu11',
  '-Wall',
  '-Wextra',
  '-Werror',
  '-ffreestanding',
  '-fno-builtin',
  '-nostdinc',
  '-mcmodel=kernel',
  '-mno-red-zone',
  '-mgeneral-regs-only',
  '-fno-pic',
  '-fno-pie',
  '-no-pie',
  '-fno-stack-protector',
  '-fcf-protection=none',
  '-fno-asynchronous-unwind-tables',
  '-fno-tree-loop-distribute-patterns',
  '-static',
  '-nostdlib',
  '-s',
  '-Wl,--build-id=none',
  '-Wl,-z,max-page-size=4096',
  '-Wl,-z,noexecstack',
  '-T',
  'kernel.ld',
];

/** Hash over the sources, their names and the flags. */
export function sourceHash() {
  const hash = createHash('sha256').update(FLAGS.join(' '));
  for (const name of readdirSync(guest).sort()) hash.update(`\0${name}\0`).update(readFileSync(join(guest, name)));
  return hash.digest('hex');
}

/** The compiler's name and version, undefined when there is none. */
export function compiler() {
  const { status, stdout } = spawnSync('gcc', ['--version'], { encoding: 'utf8' });
  return status === 0 ? stdout.split('\n')[0] : undefined;
}

/** Builds into a folder. Throws with what gcc said when it fails. */
export function buildKernel(output) {
  const sources = readdirSync(guest)
    .filter((name) => /\.[cS]$/.test(name))
    .sort();
  const target = join(output, 'kernel.elf');
  const { status, stderr, error } = spawnSync('gcc', [...FLAGS, '-o', target, ...sources], {
    cwd: guest,
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`gcc failed: ${error?.message ?? stderr}`);
  writeFileSync(
    join(output, 'kernel.json'),
    `${JSON.stringify({ sources: sourceHash(), compiler: compiler() }, null, 2)}\n`,
  );
  return target;
}

if (process.argv[1] === import.meta.filename) {
  const output = resolve(process.argv[2] ?? join(home, 'kernel'));
  mkdirSync(output, { recursive: true });
  const target = buildKernel(output);
  process.stdout.write(`${target}: ${readFileSync(target).length} bytes\n`);
}
