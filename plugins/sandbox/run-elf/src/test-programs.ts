/** Programs for tests, compiled with gcc where there is one. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Whether static programs can be built: a compiler may be there without the static C library. */
export const canCompile = (() => {
  const folder = mkdtempSync(join(tmpdir(), 'visorkit-gcc-'));
  try {
    writeFileSync(join(folder, 'x.c'), 'int main(void){return 0;}');
    return spawnSync('gcc', ['-static', '-o', join(folder, 'x'), join(folder, 'x.c')]).status === 0;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
})();
if (!canCompile)
  process.stderr.write(
    'Programs in C are not tested in the sandbox: gcc with a static C library is missing (Debian: gcc, libc6-dev).\n',
  );

/** Compiles a program; `source` is C, or the path of a file. */
export function compile(folder: string, name: string, source: string, ...flags: string[]): string {
  const program = join(folder, name);
  const file = source.endsWith('.c') && !source.includes('\n') ? source : join(folder, `${name}.c`);
  if (file !== source) writeFileSync(file, source);
  const { status, stderr } = spawnSync(
    'gcc',
    [...(flags.includes('-static-pie') ? [] : ['-static']), '-O1', ...flags, '-o', program, file],
    { encoding: 'utf8' },
  );
  if (status !== 0) throw new Error(`gcc: ${stderr}`);
  return program;
}
