/**
 * The command line as scripts, with what V8 has compiled of them. V8 takes the code of another version of itself, or of another script, for
 * none, and compiles what it needs; it does the same with code that was kept under other flags, so they are set here, for the build as for the run.
 *
 * All scripts are in one file, and what is kept of them in another: to open, read and close a file for each takes longer than to run them. Both
 * files begin with a table, a line of JSON.
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

const FILE = join(__dirname, '../build/parts.cjs');
const CODE = join(__dirname, '../build/parts.code');
/** V8 copies code that does not begin at such an address. */
const ALIGNMENT = 8;
const aligned = (length) => Math.ceil(length / ALIGNMENT) * ALIGNMENT;

const outside = createRequire(FILE);
const importOutside = (name) => import(name);
const urlOfPackage = (name) => pathToFileURL(outside.resolve(name)).href;

const text = readFileSync(FILE, 'latin1');
const begin = text.indexOf('\n') + 1;
/** Of each part by name: where its script begins, its length, and the number of its first line, from 0. */
const scripts = JSON.parse(text.slice('//'.length, begin));

const code = existsSync(CODE) ? readFileSync(CODE) : Buffer.from('{}\n');
const endOfTable = code.indexOf('\n') + 1;
const beginOfCode = aligned(endOfTable);
/** Of each part by name: where its code begins, and its length. */
const places = JSON.parse(code.toString('latin1', 0, endOfTable));

/** Undefined: V8 compiles the part. */
function codeOf(name) {
  const [at, length] = places[name] ?? [];
  return length === undefined ? undefined : code.subarray(beginOfCode + at, beginOfCode + at + length);
}

/** Parts that were asked for, by name: the script, and what it exports. */
const parts = new Map();

function partOf(name) {
  const [at, length, lineOffset] = scripts[name];
  const script = new Script(text.slice(begin + at, begin + at + length), {
    filename: FILE,
    lineOffset,
    cachedData: codeOf(name),
  });
  const module = { exports: {} };
  parts.set(name, { script, module });
  script.runInThisContext()(module, module.exports, requireFrom, FILE, importOutside, urlOfPackage);
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
  const kept = [...parts].map(([name, { script }]) => ({ name, bytes: script.createCachedData() }));
  const table = {};
  let at = 0;
  for (const { name, bytes } of kept) {
    table[name] = [at, bytes.length];
    at += aligned(bytes.length);
  }
  const line = `${JSON.stringify(table)}\n`,
    first = aligned(line.length),
    whole = Buffer.alloc(first + at);
  whole.write(line, 'latin1');
  for (const { name, bytes } of kept) whole.set(bytes, first + table[name][0]);
  writeFileSync(CODE, whole);
};
