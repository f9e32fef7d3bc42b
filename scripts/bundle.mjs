/**
 * Bundles the command line, with V8's compiled code of it: Node takes a third of a second to find, parse and link the three hundred modules of the packages,
 * and a twentieth for what this makes of them. What one command alone needs is a part of its own, as what each `import()` asks for is, and costs the others nothing.
 * Small parts that the commands of OFTEN need together share a script.
 * The packages stay beside it: what they have besides code (the processor, the sandbox's kernel, native modules) is used there.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { filesUnder, hashOf, root, run, textOf, workspaceFolders } from './steps.mjs';

const APP = join(root, 'apps/visorkit');
const OUT = join(APP, 'build');
/** What bin/command.cjs gives each part. */
const PARAMETERS = 'share,require,__filename,importOutside,urlOfPackage';
const WHOLE = 'whole';
const SPAWNS = "const childProcess = require('node:child_process');";
/** Packages with files that a bundle cannot hold, and what is imported from each by name. */
const OUTSIDE = { jiti: ['createJiti'], koffi: [] };

/** Bundles apps/visorkit/dist/main.js, unless what it is made of is what it was the last time. */
export async function bundleCommand() {
  const folders = workspaceFolders('src/index.ts');
  const sources = filesUnder([
    ...folders.map((folder) => join(folder, 'dist')),
    'apps/visorkit/bin',
    'scripts/bundle.mjs',
    'pnpm-lock.yaml',
  ]).filter((file) => /\.([cm]?js|yaml)$/.test(file));
  const wanted = hashOf(sources, process.version, textOf(join(root, 'packages/engine/build/.sources')));
  const stamp = join(OUT, '.sources');
  if (textOf(stamp) === wanted) return;
  const { build, transform } = await import('esbuild'); // this module is loaded before anything is installed
  rmSync(OUT, { recursive: true, force: true });
  const packages = folders.map((folder) => ({ name: manifestIn(folder).name, folder: join(root, folder) }));
  const common = { target: 'node20.19', platform: 'node', logLevel: 'warning' };
  const { metafile, outputFiles } = await build({
    ...common,
    absWorkingDir: root, // wherever the build is started: the licences are looked for from there
    entryPoints: [join(APP, 'dist/main.js')],
    outdir: OUT,
    write: false,
    bundle: true,
    splitting: true,
    format: 'esm',
    metafile: true,
    plugins: [{ name: 'packages', setup: (bundle) => setUp(bundle, packages) }],
  });
  mkdirSync(OUT);
  const asScript = {
    ...common,
    format: 'cjs',
    supported: { 'dynamic-import': false },
    minifyWhitespace: true,
    lineLimit: 120, // for those who read a stack
  };
  // Parts are divided as modules, which V8 keeps no compiled code of, and then made functions
  const functions = new Map();
  for (const { path, text } of outputFiles) {
    const { code } = await transform(withPlainNames(text), asScript);
    functions.set(basename(path, '.js'), `function(${PARAMETERS}){${code}}`);
  }
  writeFileSync(join(OUT, 'parts.cjs'), inOneFile(scriptsOf(functions, metafile)));
  writeFileSync(join(OUT, 'LICENSES.txt'), licensesOf(metafile));
  run('Compiling the command line', process.execPath, [join(APP, 'bin/compile.cjs')], {
    stdio: ['ignore', 'ignore', 2],
  });
  writeFileSync(stamp, wanted);
}

/**
 * What a part takes from another as constants of its own, and what it gives as an object of plain properties: esbuild would look at the other's exports each
 * time, which the way of an exit feels, and define and copy a getter for each when it is loaded. Parts never import each other in a circle, and what they
 * export stands when they end.
 */
function withPlainNames(text) {
  const taken = text
    .replace(/^import \{([^}]*)\} from "(\.\/[^"]+)";$/gm, (_, names, from) => {
      return `const {${names.replace(/ as /g, ': ')}} = require("${from}");`;
    })
    .replace(/\bimport\(("\.\/[^"]+")\)/g, 'Promise.resolve().then(() => require($1))');
  return taken.replace(/^export \{([^}]*)\};$/gm, (_, names) => {
    const given = names.split(',').map((pair) => {
      const [own, name = own] = pair.trim().split(' as ');
      return `${name}: ${own}`;
    });
    return `share({${given.join(', ')}});`;
  });
}

/** Commands that start often: each one's module, and the package that its guest runs on. */
const OFTEN = ['run-command.js', 'exec-command.js'].map((file) => [
  'apps/visorkit/dist/main.js',
  `apps/visorkit/dist/${file}`,
  'plugins/backends/vmx/dist/index.js',
]);
/** The text of a script that is no longer lies where V8 makes new things, and is copied when it collects garbage. */
const SHORT_TEXT = 128 << 10;

/** Names of parts, in scripts: those that the same ones of the commands above need are together until they are long enough. */
function scriptsOf(functions, { outputs }) {
  const needs = OFTEN.map((modules) => neededBy(modules, outputs)),
    scripts = [],
    open = new Map();
  for (const [name, text] of functions) {
    const users = needs.map((names) => names.has(name)).join(),
      script = open.get(users) ?? { names: [], length: 0 };
    if (script.names.length === 0) scripts.push(script);
    script.names.push(name);
    script.length += text.length;
    if (needs.some((names) => names.has(name)) && script.length < SHORT_TEXT) open.set(users, script);
    else open.delete(users);
  }
  return scripts.map(({ names }) => ({
    names,
    text: `({${names.map((name) => `${JSON.stringify(name)}:${functions.get(name)}`).join(',\n')}});\n`,
  }));
}

/** Names of the parts that are loaded with those of these modules. */
function neededBy(modules, outputs) {
  const found = new Set();
  const follow = (path) => {
    const name = basename(path, '.js');
    if (found.has(name)) return;
    found.add(name);
    for (const { path: other, kind } of outputs[path]?.imports ?? []) if (kind === 'import-statement') follow(other);
  };
  for (const module of modules) {
    const path = Object.keys(outputs).find((output) => outputs[output].entryPoint === module);
    if (path === undefined) throw new Error(`The command's bundle has no part of ${module}.`);
    follow(path);
  }
  return found;
}

/** Behind a table as bin/command.cjs wants it. */
function inOneFile(scripts) {
  const table = { pieces: [], parts: {} };
  let at = 0,
    line = 1; // the table's
  scripts.forEach(({ names, text }, number) => {
    for (const name of names) table.parts[name] = number;
    table.pieces.push([at, text.length, line]);
    at += text.length;
    line += text.split('\n').length - 1;
  });
  return `//${JSON.stringify(table)}\n${scripts.map(({ text }) => text).join('')}`;
}

function setUp(bundle, packages) {
  const ownerOf = (file) => packages.find(({ folder }) => file.startsWith(`${folder}/`));

  // A package's own files lie where it is installed
  bundle.onLoad({ filter: /\/dist\/[^/]+\.js$/ }, ({ path }) => {
    const owner = ownerOf(path);
    if (owner === undefined) return undefined;
    if (path === join(APP, 'dist/import-package.js')) return { contents: importsByName(), resolveDir: dirname(path) };
    const text = readFileSync(path, 'utf8');
    if (/^export let /m.test(text))
      throw new Error(`${path} exports what changes later: other parts of the bundle keep what it was.`);
    if (!/import\.meta|import\(\/\* @vite-ignore/.test(text)) return undefined;
    const here = relative(join(owner.folder, 'dist'), path);
    const base = owner.folder === APP ? "require('node:url').pathToFileURL(__filename)" : urlOf(owner.name);
    const url = `new URL('${owner.folder === APP ? '../dist/' : ''}${here}', ${base}).href`;
    const contents = text
      .replaceAll('import.meta', `({ url: ${url} })`)
      .replaceAll('import(/* @vite-ignore */', 'importOutside('); // V8 keeps no importer with compiled code
    return { contents, resolveDir: dirname(path) };
  });

  // Plugins from outside get the whole of this library, which would keep the tenth that the command itself needs from being taken out
  bundle.onResolve({ filter: /^valibot$/ }, async ({ path, importer, kind, resolveDir, pluginData }) => {
    if (importer !== join(APP, 'dist/shared-modules.js') || pluginData === WHOLE) return undefined;
    return { ...(await bundle.resolve(path, { kind, importer, resolveDir, pluginData: WHOLE })), suffix: '?whole' };
  });
  // Takes longer to load than most of the command, for subcommands that are programs of their own: there are none
  bundle.onLoad({ filter: /\/commander\/lib\/command\.js$/ }, ({ path }) => {
    const text = readFileSync(path, 'utf8');
    const [before, after, ...more] = text.split(SPAWNS);
    if (after === undefined || more.length > 0)
      throw new Error(`${path} does not ask for its child processes with ${SPAWNS}`);
    return {
      contents: `${before}const childProcess = { get spawn() { return require('node:child_process').spawn; } };${after}`,
      resolveDir: dirname(path),
    };
  });

  const outside = new RegExp(`^(${Object.keys(OUTSIDE).join('|')})$`);
  // Each package has its own
  bundle.onResolve({ filter: outside }, ({ path, importer }) => ({
    path,
    namespace: 'outside',
    suffix: `?${ownerOf(importer).name}`,
    pluginData: ownerOf(importer).name,
  }));
  bundle.onLoad({ filter: outside, namespace: 'outside' }, ({ path, pluginData }) => ({
    contents: `import { createRequire } from 'node:module';
      const found = createRequire(${urlOf(pluginData)})('${path}');
      export default found;
      export const { ${OUTSIDE[path].join(', ')} } = found;`,
  }));
}

/** An expression for where a package's index.js is. It must be a dependency of the app, or the bundle would not find it where it is installed. */
function urlOf(name) {
  if (!(name in dependenciesOf(APP)))
    throw new Error(`The command's bundle uses files of ${name}: make it a dependency of apps/visorkit.`);
  return `urlOfPackage('${name}')`;
}

/** `importPackage` for the backends and OS profiles that the app depends on. */
function importsByName() {
  const names = Object.keys(dependenciesOf(APP)).filter((name) => /^@visorkit\/(backend|os)-/.test(name));
  return `const own = { ${names.map((name) => `'${name}': () => import('${name}')`).join(', ')} };
    export const importPackage = (name) => own[name]();`;
}

const manifestIn = (folder) => JSON.parse(readFileSync(resolve(root, folder, 'package.json'), 'utf8'));
const dependenciesOf = (folder) => manifestIn(folder).dependencies;

/** The licences of the packages from elsewhere that are in the bundle. */
function licensesOf({ inputs }) {
  const folders = new Set(
    Object.keys(inputs).map((file) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/.exec(file)?.[0]),
  );
  return [...folders]
    .filter((folder) => folder !== undefined)
    .sort()
    .map((folder) => {
      const { name, version, license } = manifestIn(folder);
      const text = ['LICENSE', 'LICENSE.md', 'LICENSE.txt', 'license', 'LICENCE']
        .map((file) => textOf(join(root, folder, file)))
        .find((found) => found !== undefined && found !== '');
      return `${name} ${version} (${license})\n\n${text ?? ''}`;
    })
    .join(`\n${'-'.repeat(80)}\n\n`);
}
