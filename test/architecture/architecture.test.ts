/** The house rules that a machine can check: who may import whom, and that every package.json says so. */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { workspaceFolders } from '../../scripts/steps.mjs';

const root = resolve(import.meta.dirname, '../..');

interface Manifest {
  name: string;
  type?: string;
  private?: boolean;
  sideEffects?: unknown;
  exports?: Record<string, Record<string, string>>;
  dependencies?: Record<string, string>;
  devDependencies?: Record<string, string>;
}

interface Room {
  kind: 'packages' | 'plugins' | 'apps' | 'test';
  folder: string;
  manifest: Manifest;
  files: { path: string; imports: string[]; test: boolean }[];
}

/** A package may depend on those of a lower rank. Packages that are not named here rank above all that are. */
const RANK: Record<string, number> = { core: 0, x86: 0, machine: 1, formats: 1, engine: 2, vmi: 3, testkit: 4 };
/** Allowed within a rank. */
const SAME_RANK = new Set(['core -> x86']);

/** Plugins that do nothing but put others together, through their public entries. */
const BUNDLES = new Set(['@visorkit/pc', '@visorkit/run-elf']);

const builtins = new Set(builtinModules.flatMap((name) => [name, `node:${name}`]));

function readRooms(): Room[] {
  const rooms: Room[] = [];
  for (const kind of ['packages', 'plugins', 'apps', 'test'] as const) {
    for (const folder of workspaceFolders('package.json', [kind]) as string[]) {
      const source = kind === 'test' ? join(root, folder) : join(root, folder, 'src');
      rooms.push({
        kind,
        folder,
        manifest: JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8')) as Manifest,
        files: sourceFiles(source).map((path) => ({
          path: relative(root, path),
          imports: importsOf(readFileSync(path, 'utf8')),
          test: kind === 'test' || /\.test\.ts$|\/testing\.ts$|\/test-[\w-]+\.ts$/.test(path),
        })),
      });
    }
  }
  return rooms;
}

function sourceFiles(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter(
      (entry) =>
        entry.isFile() &&
        /\.(ts|mts)$/.test(entry.name) &&
        !entry.parentPath.includes('node_modules') &&
        !entry.parentPath.includes('dist'),
    )
    .map((entry) => join(entry.parentPath, entry.name));
}

/** Module names in import and export statements at the start of a line, and in dynamic imports of a literal. */
export function importsOf(text: string): string[] {
  const code = text.replace(/`(?:[^`\\]|\\.)*`/gs, '``');
  const found = [
    ...code.matchAll(
      /^\s*(?:import\s+(?:type\s+)?[\w*{]|export\s+(?:type\s+)?[*{])[^'"`;=]*?\bfrom\s*['"]([^'"\n]+)['"]/gm,
    ),
    ...code.matchAll(/^\s*import\s*['"]([^'"\n]+)['"]/gm),
    ...code.matchAll(/\bimport\(\s*['"]([^'"\n]+)['"]\s*\)/g),
  ];
  return [...new Set(found.map((match) => match[1]))];
}

const packageOf = (specifier: string): string =>
  specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
const rooms = readRooms();
const byName = new Map(rooms.map((room) => [room.manifest.name, room]));
const rootManifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Manifest;

/** Every import of a package, not of a file of the same one. */
function packageImports(): { room: Room; path: string; test: boolean; specifier: string; name: string }[] {
  return rooms.flatMap((room) =>
    room.files.flatMap(({ path, imports, test }) =>
      imports
        .filter((specifier) => !specifier.startsWith('.') && !builtins.has(specifier))
        .map((specifier) => ({ room, path, test, specifier, name: packageOf(specifier) })),
    ),
  );
}

describe('the house', () => {
  it('is found', () => {
    expect(rooms.length).toBeGreaterThan(10);
    expect(packageImports().length).toBeGreaterThan(50);
  });

  it('reads imports as they are written', () => {
    expect(
      importsOf(
        `import a from 'a';\nimport type { B,\n C } from "@s/b";\nexport * from './c.js';\nimport 'd/e';\nconst x = await import('f');\nconst s = \`import y from 'no'\`;`,
      ),
    ).toEqual(['a', '@s/b', './c.js', 'd/e', 'f']);
  });

  it('imports only what its package.json lists', () => {
    const wrong = packageImports().filter(({ room, test, name }) => {
      if (name === room.manifest.name || name in (room.manifest.dependencies ?? {})) return false;
      const forTests = name in (room.manifest.devDependencies ?? {}) || name in (rootManifest.devDependencies ?? {});
      return !(test && forTests);
    });
    expect(
      wrong.map(({ path, specifier }) => `${path} imports ${specifier}, which its package.json does not list`),
    ).toEqual([]);
  });

  it('points one way: apps, plugins, packages, and down within packages', () => {
    const wrong: string[] = [];
    for (const room of rooms) {
      for (const dependency of Object.keys(room.manifest.dependencies ?? {})) {
        const other = byName.get(dependency);
        if (other === undefined) continue;
        const order = { packages: 0, plugins: 1, apps: 2, test: 3 };
        const [from, to] = [room.folder.split('/')[1], other.folder.split('/')[1]];
        if (order[other.kind] > order[room.kind]) wrong.push(`${room.folder} depends upwards on ${other.folder}`);
        if (
          room.kind === 'packages' &&
          other.kind === 'packages' &&
          (RANK[to] ?? 9) >= (RANK[from] ?? 10) &&
          !SAME_RANK.has(`${from} -> ${to}`)
        ) {
          wrong.push(`${room.folder} depends on ${other.folder}, which is not below it`);
        }
        if (
          room.kind === 'plugins' &&
          other.kind === 'plugins' &&
          (!BUNDLES.has(room.manifest.name) || BUNDLES.has(dependency))
        )
          wrong.push(
            `plugin ${room.folder} depends on plugin ${other.folder}; plugins meet through tokens of the frame`,
          );
        if (room.kind === 'apps' && other.kind === 'apps')
          wrong.push(`${room.folder} depends on another app, ${other.folder}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it('never reaches into another package', () => {
    const wrong = packageImports()
      .filter(
        ({ specifier, name }) =>
          byName.has(name) && specifier !== name && !(specifier.slice(name.length + 1) in exportKeys(name)),
      )
      .map(({ path, specifier }) => `${path} imports the inside ${specifier}`);
    for (const room of rooms) {
      const home = join(root, room.folder);
      for (const { path, imports } of room.files) {
        for (const specifier of imports) {
          const target = resolve(root, dirname(path), specifier);
          if (room.kind === 'test' && dirname(target) === join(root, 'scripts')) continue; // which folders are packages, what a tarball holds
          if (specifier.startsWith('.') && relative(home, target).startsWith('..'))
            wrong.push(`${path} leaves its package with ${specifier}`);
        }
      }
    }
    expect(wrong).toEqual([]);
  });

  it('names files in imports with their ending', () => {
    const wrong = rooms.flatMap((room) =>
      room.files.flatMap(({ path, imports }) =>
        imports
          .filter((specifier) => specifier.startsWith('.') && !/\.(js|mjs|json|wasm)$/.test(specifier))
          .map((specifier) => `${path}: ${specifier}`),
      ),
    );
    expect(wrong).toEqual([]);
  });

  it('declares packages alike: ESM, types first, no side effects, references that match', () => {
    const wrong: string[] = [];
    for (const { kind, folder, manifest } of rooms) {
      if (manifest.type !== 'module') wrong.push(`${folder}: "type" must be "module"`);
      if (kind === 'packages' || kind === 'plugins') {
        if (!manifest.name.startsWith('@visorkit/')) wrong.push(`${folder}: the name must begin with @visorkit/`);
        if (kind === 'packages' && manifest.name !== `@visorkit/${folder.split('/')[1]}`)
          wrong.push(`${folder}: a package of the frame is named after its folder`);
        if (manifest.sideEffects !== false) wrong.push(`${folder}: "sideEffects" must be false`);
        if (Object.keys(manifest.exports?.['.'] ?? {})[0] !== 'types')
          wrong.push(`${folder}: "exports" must give "types" first`);
      }
      const config = join(root, folder, 'tsconfig.json');
      if (kind === 'test' || !existsSync(config)) continue;
      const { references = [] } = JSON.parse(readFileSync(config, 'utf8')) as { references?: { path: string }[] };
      const referenced = references.map(({ path }) => relative(root, resolve(root, folder, path))).sort();
      const needed = Object.keys(manifest.dependencies ?? {})
        .map((name) => byName.get(name)?.folder)
        .filter((path) => path !== undefined)
        .sort();
      if (JSON.stringify(referenced) !== JSON.stringify(needed))
        wrong.push(
          `${folder}: tsconfig references ${referenced.join(', ')} are not its dependencies ${needed.join(', ')}`,
        );
    }
    expect(wrong).toEqual([]);
  });
});

function exportKeys(name: string): Record<string, unknown> {
  return Object.fromEntries(
    Object.keys(byName.get(name)?.manifest.exports ?? {}).map((key) => [key.replace(/^\.\//, ''), true]),
  );
}
