/**
 * The command line as scripts, with what V8 has compiled of them. V8 takes the code of another version of itself, or of another script, for
 * none, and compiles what it needs; it does the same with code that was kept under other flags, so they are set here, for the build as for the run.
 */
const { existsSync, readFileSync, writeFileSync } = require('node:fs');
const { createRequire } = require('node:module');
const { join } = require('node:path');
const { pathToFileURL } = require('node:url');
const { setFlagsFromString } = require('node:v8');
const { Script } = require('node:vm');

/**
 * Roughly the bytes of WebAssembly that a function runs before V8 optimises it; V8's own figure is 1.8 to 13 million. A region that has been translated
 * is known to be hot already.
 */
const TIERING_BUDGET = 100_000;
/** The newest Node that is known to have the flag: V8 writes an error for one that it does not know. */
const NEWEST = 24;
if (Number.parseInt(process.versions.node, 10) <= NEWEST)
  setFlagsFromString(`--wasm-tiering-budget=${TIERING_BUDGET}`);

const folder = join(__dirname, '../build');
const main = join(folder, 'main.cjs');
const outside = createRequire(main);
const importOutside = (name) => import(name);
const urlOfPackage = (name) => pathToFileURL(outside.resolve(name)).href;

/** Parts by name: the script, where its code is kept, and what it exports. */
const parts = new Map();

function partOf(name) {
  const file = join(folder, `${name}.cjs`);
  const code = join(folder, `${name}.code`);
  const script = new Script(readFileSync(file, 'latin1'), {
    filename: file,
    cachedData: existsSync(code) ? readFileSync(code) : undefined,
  });
  const module = { exports: {} };
  parts.set(name, { script, code, module });
  script.runInThisContext()(module, module.exports, requireFrom, file, importOutside, urlOfPackage);
  return module.exports;
}

/** A part by "./NAME.js", or a module of Node. */
function requireFrom(name) {
  if (!name.startsWith('./')) return outside(name);
  const part = name.slice('./'.length, -'.js'.length);
  return parts.get(part)?.module.exports ?? partOf(part);
}

exports.main = (argv) => partOf('main').main(argv);

/** Writes the code that is compiled by now, for the next time. */
exports.keep = () => {
  for (const { script, code } of parts.values()) writeFileSync(code, script.createCachedData());
};
