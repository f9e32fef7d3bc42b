/**
 * The command line as scripts, with what V8 has compiled of them. V8 takes the code of another version of itself, or of another script, for
 * none, and compiles what it needs.
 */
const { existsSync, readFileSync, writeFileSync } = require('node:fs');
const { createRequire } = require('node:module');
const { join } = require('node:path');
const { pathToFileURL } = require('node:url');
const { Script } = require('node:vm');

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
