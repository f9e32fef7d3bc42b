/** On a fresh machine nothing is installed when the commands begin: what they load first needs Node alone. */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, it } from 'vitest';

const SCRIPTS = join(import.meta.dirname, '../../scripts');

/** What a script and those it loads at once import that is not Node's own, as "file: module". */
function packagesOf(file: string, seen = new Set<string>()): string[] {
  if (seen.has(file)) return [];
  seen.add(file);
  const names = [...readFileSync(file, 'utf8').matchAll(/^(?:import|export)\s(?:[\w*{}\s,]+\sfrom\s)?'([^']+)'/gm)];
  return names.flatMap(([, name]) =>
    name.startsWith('.')
      ? packagesOf(join(dirname(file), name), seen)
      : name.startsWith('node:')
        ? []
        : [`${file.slice(SCRIPTS.length + 1)}: ${name}`],
  );
}

it.each(['start.mjs', 'test.mjs', 'build.mjs', 'bench.mjs'])('%s loads nothing that has to be installed', (name) => {
  const seen = new Set<string>();
  expect(packagesOf(join(SCRIPTS, name), seen)).toEqual([]);
  expect(seen.size).toBeGreaterThan(1);
});
