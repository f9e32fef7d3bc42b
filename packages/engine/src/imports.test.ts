/** The processor's sources import one another without a circle: what only records stands below what acts. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { describe, expect, it } from 'vitest';

const ASSEMBLY = join(import.meta.dirname, '../assembly');

/** Files of assembly/ by their path in it, with the files of assembly/ that each imports. Tests' own files do not count. */
function importsOfSources(): Map<string, string[]> {
  const files = readdirSync(ASSEMBLY, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') && !file.split('/').includes('test'))
    .sort();
  const known = new Set(files);
  return new Map(
    files.map((file) => {
      const text = readFileSync(join(ASSEMBLY, file), 'utf8');
      const named = [...text.matchAll(/\b(?:import|export)\b[^;"']*?\bfrom\s*["']([^"']+)["']/g)].map(([, name]) =>
        normalize(join(dirname(file), `${name}.ts`)),
      );
      const missing = named.filter((name) => !name.startsWith('..') && !known.has(name));
      expect(missing, `${file} imports what is not there`).toEqual([]);
      return [file, named.filter((name) => known.has(name))];
    }),
  );
}

/** The first circle found, as a path that ends where it began; undefined when there is none. */
function circleIn(imports: ReadonlyMap<string, readonly string[]>): string[] | undefined {
  const done = new Set<string>(),
    path: string[] = [];
  const visit = (file: string): string[] | undefined => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
    if (done.has(file)) return undefined;
    path.push(file);
    for (const next of imports.get(file) ?? []) {
      const circle = visit(next);
      if (circle !== undefined) return circle;
    }
    path.pop();
    done.add(file);
    return undefined;
  };
  for (const file of imports.keys()) {
    const circle = visit(file);
    if (circle !== undefined) return circle;
  }
  return undefined;
}

describe('imports in assembly/', () => {
  it('make no circle', () => {
    expect(circleIn(importsOfSources())?.join(' → ')).toBeUndefined();
  });

  it('are followed from the exports to every file', () => {
    const imports = importsOfSources(),
      reached = new Set<string>();
    const follow = (file: string): void => {
      if (reached.has(file)) return;
      reached.add(file);
      for (const next of imports.get(file) ?? []) follow(next);
    };
    follow('index.ts');
    expect([...imports.keys()].filter((file) => !reached.has(file))).toEqual([]);
  });

  it('re-export nothing but the exports of the processor', () => {
    const others = [...importsOfSources().keys()].filter(
      (file) =>
        file !== 'index.ts' && /^export (?:\*|\{[^}]*\}) from\b/m.test(readFileSync(join(ASSEMBLY, file), 'utf8')),
    );
    expect(others).toEqual([]);
  });

  it('of a circle are found', () => {
    const circle = circleIn(
      new Map([
        ['a', ['b']],
        ['b', ['c', 'd']],
        ['c', []],
        ['d', ['b']],
      ]),
    );
    expect(circle).toEqual(['b', 'd', 'b']);
  });
});
