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
  files: { path: string; imports: string[]; loads: string[]; test: boolean }[];
}

/** A package may depend on those of a lower rank. Packages that are not named here rank above all that are. */
const RANK: Record<string, number> = {
  core: 0,
  x86: 0,
  machine: 1,
  formats: 1,
  engine: 2,
  vmi: 2,
  project: 3,
  testkit: 4,
};
/** Allowed within a rank. */
const SAME_RANK = new Set(['core -> x86']);

/** Plugins that do nothing but put others together, through their public entries. */
const BUNDLES = new Set(['@visorkit/pc', '@visorkit/run-elf']);

/** Packages and plugins that are for Node alone, and why. All others build without its types (tsconfig.portable.json). */
const NEEDS_NODE: Record<string, string> = {
  '@visorkit/project': 'reads configuration files and plugins from folders',
  '@visorkit/guests': 'fetches packages of Debian and keeps them in a cache folder',
  '@visorkit/sandbox-fs': 'gives folders of the host to a program',
  '@visorkit/backend-kvm': 'calls the kernel of the host',
  '@visorkit/disassembler': 'loads iced-x86 in the middle of a run',
  '@visorkit/linux-syscalls': 'serves system calls with what the host has',
  '@visorkit/sandbox-kernel': 'reads the guest kernel from its package',
  '@visorkit/run-elf': 'connects a program with streams and files of the process',
};

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
          loads: loadsOf(readFileSync(path, 'utf8')),
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
        /\.[cm]?ts$/.test(entry.name) &&
        !entry.parentPath.includes('node_modules') &&
        !entry.parentPath.includes('dist'),
    )
    .map((entry) => join(entry.parentPath, entry.name));
}

/** An import or export statement at the start of a line; whether it is of types alone, and the module. */
const STATEMENT =
  /^\s*(?:import\s+(?<types>type\s+)?[\w*{]|export\s+(?<only>type\s+)?[*{])[^'"`;=]*?\bfrom\s*['"](?<name>[^'"\n]+)['"]/gm;
const BARE = /^\s*import\s*['"](?<name>[^'"\n]+)['"]/gm;
const CALL = /\b(?:import|require)\(\s*['"](?<name>[^'"\n]+)['"]\s*\)/g;

/** Every module that a text names: in statements, and in dynamic imports and `require` of a literal. */
export function importsOf(text: string): string[] {
  const code = withoutTemplates(text);
  return [
    ...new Set([STATEMENT, BARE, CALL].flatMap((form) => [...code.matchAll(form)].map(({ groups }) => groups!.name))),
  ];
}

/** The modules that are loaded before the text's own: no types, and nothing that is loaded later. */
export function loadsOf(text: string): string[] {
  const found = [STATEMENT, BARE].flatMap((form) => [...withoutTemplates(text).matchAll(form)]);
  return found.filter(({ groups }) => !groups!.types && !groups!.only).map(({ groups }) => groups!.name);
}

const withoutTemplates = (text: string): string => text.replace(/`(?:[^`\\]|\\.)*`/gs, '``');

/** The groups of nodes each of which leads to every other of its group, if there is more than one (Tarjan). */
export function circles(graph: ReadonlyMap<string, readonly string[]>): string[][] {
  const found: string[][] = [];
  const open: string[] = [];
  const order = new Map<string, number>(),
    lowest = new Map<string, number>();
  const visit = (node: string): void => {
    order.set(node, order.size);
    lowest.set(node, order.get(node)!);
    open.push(node);
    for (const next of graph.get(node) ?? []) {
      if (!order.has(next)) visit(next);
      if (open.includes(next)) lowest.set(node, Math.min(lowest.get(node)!, lowest.get(next)!));
    }
    if (lowest.get(node) !== order.get(node)) return;
    const group = open.splice(open.indexOf(node));
    if (group.length > 1 || graph.get(node)?.includes(node)) found.push(group.sort());
  };
  for (const node of graph.keys()) if (!order.has(node)) visit(node);
  return found;
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

  it('tells what is loaded from what is a type, and finds circles', () => {
    expect(
      loadsOf(
        `import a from 'a';\nimport type { B,\n C } from 'b';\nimport { type D } from 'd';\nexport * from 'e';\nexport type { F } from 'f';\nimport 'g';\nconst x = await import('h');\nimport type from 'i';`,
      ),
    ).toEqual(['a', 'd', 'e', 'i', 'g']);
    const graph = { a: ['b', 'c'], b: ['d'], c: ['d'], d: ['e', 'c'], e: [], f: ['a', 'f'] };
    expect(circles(new Map(Object.entries(graph)))).toEqual([['c', 'd'], ['f']]);
  });

  it('has no circles of files within a package', () => {
    const found = rooms
      .filter(({ kind }) => kind === 'packages' || kind === 'plugins')
      .flatMap(({ files }) => {
        const graph = new Map(
          files.map(({ path, loads }) => [
            path,
            loads
              .filter((specifier) => specifier.startsWith('.'))
              .map((specifier) => join(dirname(path), specifier).replace(/js$/, 'ts')),
          ]),
        );
        return circles(graph).map((group) => `${group.join(' and ')} load one another`);
      });
    expect(found).toEqual([]);
  });

  it('needs Node only where there is a reason', () => {
    const wrong: string[] = [];
    for (const { kind, folder, manifest, files } of rooms) {
      if (kind !== 'packages' && kind !== 'plugins') continue;
      const config = JSON.parse(readFileSync(join(root, folder, 'tsconfig.json'), 'utf8')) as Record<string, unknown>;
      const portable = /\/tsconfig\.portable\.json$/.test(String(config.extends));
      if (portable === manifest.name in NEEDS_NODE)
        wrong.push(
          `${folder}: ${portable ? 'is portable and has no place in NEEDS_NODE' : 'its tsconfig.json must extend tsconfig.portable.json'}`,
        );
      if (portable && 'types' in (config.compilerOptions as object)) wrong.push(`${folder}: must not add types`);
      for (const { path, imports, test } of files)
        if (portable && !test && imports.some((specifier) => builtins.has(specifier)))
          wrong.push(`${path} imports ${imports.filter((specifier) => builtins.has(specifier)).join(', ')}`);
    }
    expect(wrong).toEqual([]);
    const { compilerOptions } = JSON.parse(readFileSync(join(root, 'tsconfig.portable.json'), 'utf8'));
    expect(compilerOptions.types).toEqual([]);
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
          .filter((specifier) => specifier.startsWith('.') && !/\.([cm]?js|json|wasm)$/.test(specifier))
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
      const referenced = references
        .map(({ path }) => relative(root, resolve(root, folder, path)))
        .filter((path) => !path.startsWith(folder)) // another part of itself
        .sort();
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
