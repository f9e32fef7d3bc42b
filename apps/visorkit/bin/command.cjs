/**
 * The command line as one script, with what V8 has compiled of it. V8 takes the code of another version of itself, or of another script, for
 * none, and compiles what it needs.
 */
const { existsSync, readFileSync, writeFileSync } = require('node:fs');
const { createRequire } = require('node:module');
const { join } = require('node:path');
const { Script } = require('node:vm');

const file = join(__dirname, '../build/main.cjs');
const code = join(__dirname, '../build/main.code');

/** Gives the exports of src/main.ts, and what writes the code that is compiled by then. */
exports.load = () => {
  const script = new Script(readFileSync(file, 'latin1'), {
    filename: file,
    cachedData: existsSync(code) ? readFileSync(code) : undefined,
  });
  const module = { exports: {} };
  const importOutside = (name) => import(name);
  script.runInThisContext()(module, module.exports, createRequire(file), file, importOutside);
  return { main: module.exports.main, keep: () => writeFileSync(code, script.createCachedData()) };
};
