/**
 * Builds everything that is out of date: the processor (AssemblyScript to WebAssembly) when its sources' contents changed,
 * then the TypeScript packages. Usage: node scripts/build.mjs
 */
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { bundleCommand } from './bundle.mjs';
import { filesUnder, hashOf, root, run, textOf, workspaceFolders } from './steps.mjs';

/** Compiles the processor, unless build/ holds what these sources give. */
export function buildEngine() {
  const script = 'packages/engine/scripts/build.mjs';
  if (!existsSync(join(root, script))) return;
  const sources = filesUnder([
    'packages/engine/assembly',
    'packages/engine/scripts',
    'packages/engine/src',
    'packages/x86/src/exit-reasons.ts',
  ]).filter((file) => !file.endsWith('.test.ts'));
  const wanted = hashOf(sources, textOf(join(root, 'node_modules/assemblyscript/package.json')));
  const stamp = join(root, 'packages/engine/build/.sources');
  if (existsSync(join(root, 'packages/engine/build/engine.wasm')) && textOf(stamp) === wanted) return;
  run('Compiling the processor (some twenty seconds)', process.execPath, [script, '--sources', wanted]);
  mkdirSync(join(root, 'packages/engine/build'), { recursive: true });
  writeFileSync(stamp, wanted);
}

/** Compiles TypeScript, unless every package's sources are what the last build saw. */
export function buildPackages() {
  const folders = workspaceFolders('tsconfig.json');
  listProjects(folders);
  writeVersion();
  const sources = filesUnder(['tsconfig.base.json', 'tsconfig.portable.json', 'portable.d.ts', ...folders]).filter(
    (file) => /\.([cm]?ts|json)$/.test(file) && !file.endsWith('.tsbuildinfo') && !file.includes('/assembly/'),
  );
  const wanted = hashOf(sources, textOf(join(root, 'node_modules/typescript/package.json')));
  const stamp = join(root, 'node_modules/.visorkit-built');
  if (textOf(stamp) === wanted && folders.every((folder) => existsSync(join(root, folder, 'dist')))) return;
  run('Compiling TypeScript', process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-b', ...folders]);
  for (const folder of folders) removeStale(folder);
  writeFileSync(stamp, wanted);
}

/** The compiler leaves what it made of a source that is gone since; it must neither be imported nor packed. */
function removeStale(folder) {
  const [sources, built] = [join(root, folder, 'src'), join(root, folder, 'dist')];
  if (!existsSync(sources)) return;
  for (const file of filesUnder([join(folder, 'dist')], [])) {
    const [, path, kind] = /^(.*?)(?:\.d)?\.([cm]?)[jt]s(?:\.map)?$/.exec(relative(built, file)) ?? [];
    if (path !== undefined && !existsSync(join(sources, `${path}.${kind}ts`))) rmSync(file);
  }
}

/** Keeps the root's tsconfig.json a list of every package, so that `npx tsc -b` and editors see them all. */
function listProjects(folders) {
  const text = `${JSON.stringify({ files: [], references: folders.map((path) => ({ path })) }, null, 2)}\n`;
  if (textOf(join(root, 'tsconfig.json')) !== text) writeFileSync(join(root, 'tsconfig.json'), text);
}

/** Keeps the version that the kernel says of itself that of its package.json: reading it at run time would bind bundles to a file beside them. */
export function writeVersion() {
  const file = join(root, 'packages/core/src/version.ts');
  const { version } = JSON.parse(textOf(join(root, 'packages/core/package.json')));
  const text = textOf(file).replace(/= '[^']*'/, `= '${version}'`);
  if (textOf(file) !== text) writeFileSync(file, text);
}

/** All of it. */
export async function build() {
  buildEngine();
  buildPackages();
  await bundleCommand();
}

if (process.argv[1]?.endsWith('build.mjs')) await build();
