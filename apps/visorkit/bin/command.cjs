/**
 * The command line as scripts, with what V8 has compiled of them. V8 takes the code of another version of itself, or of another script, for
 * none, and compiles what it needs; it does the same with code that was kept under other flags, so they are set here, for the build as for the run.
 *
 * All scripts are in one file, and what is kept of them in another: to look for, open and close a file for each takes longer than to run it. Both
 * files begin with a table, a line of JSON. What is not needed is not read, and what is read is read into the same memory: to the host the first use of
 * a page may be dear.
 */
const { existsSync, openSync, readSync, writeFileSync } = require('node:fs');
const { createRequire } = require('node:module');
const { availableParallelism } = require('node:os');
const { join } = require('node:path');
const { pathToFileURL } = require('node:url');
const { setFlagsFromString } = require('node:v8');
const { Script } = require('node:vm');

/**
 * Roughly the bytes of WebAssembly that a function runs before V8 optimises it; V8's own figure is 1.8 to 13 million. A region that has been translated
 * is known to be hot already.
 */
const TIERING_BUDGET = 100_000;
/** The newest Node that is known to have the flags: V8 writes an error for one that it does not know. */
const NEWEST = 24;
if (Number.parseInt(process.versions.node, 10) <= NEWEST) {
  setFlagsFromString(`--wasm-tiering-budget=${TIERING_BUDGET}`);
  // V8 has four threads for it, on a host of two processors too: the guest's would wait for its own more than for others
  setFlagsFromString(`--wasm-num-compilation-tasks=${Math.max(availableParallelism() - 1, 1)}`);
}

const FILE = join(__dirname, '../build/parts.cjs');
const CODE = join(__dirname, '../build/parts.code');
const outside = createRequire(FILE);
const importOutside = (name) => import(name);
const urlOfPackage = (name) => pathToFileURL(outside.resolve(name)).href;

/** Room for a table. */
const TABLE_BYTES = 16384;
const END_OF_LINE = 0x0a;

/** Pieces of a file, behind a table of them. */
class Pieces {
  constructor(path, start = '') {
    this.file = openSync(path, 'r');
    const head = Buffer.allocUnsafe(TABLE_BYTES),
      line = head.subarray(0, readSync(this.file, head, 0, TABLE_BYTES, 0));
    this.begin = line.indexOf(END_OF_LINE) + 1;
    this.table = JSON.parse(line.toString('latin1', start.length, this.begin));
    const lengths = Object.values(this.table).map(([, length]) => length);
    this.buffer = Buffer.allocUnsafeSlow(Math.max(...lengths));
  }

  /** Holds until the next piece is read; undefined: there is none. */
  read(name) {
    if (this.table[name] === undefined) return undefined;
    const [at, length] = this.table[name];
    return this.buffer.subarray(0, readSync(this.file, this.buffer, 0, length, this.begin + at));
  }
}

/** Of each script: where it begins, its length, and the number of its first line, from 0. */
const scripts = new Pieces(FILE, '//');
/** Of each script's code: where it begins, and its length. */
const codes = existsSync(CODE) ? new Pieces(CODE) : undefined;

/** Parts that were asked for, by name: the script, and what it gives to others. */
const parts = new Map();

function partOf(name) {
  const text = scripts.read(name).toString('latin1');
  const script = new Script(text, { filename: FILE, lineOffset: scripts.table[name][2], cachedData: codes?.read(name) });
  const part = { script, given: {} };
  parts.set(name, part);
  const share = (given) => (part.given = given);
  script.runInThisContext()(share, requireFrom, FILE, importOutside, urlOfPackage);
  return part.given;
}

/** A part by "./NAME.js", or a module of Node. */
function requireFrom(name) {
  if (!name.startsWith('./')) return outside(name);
  const part = name.slice('./'.length, -'.js'.length);
  return parts.get(part)?.given ?? partOf(part);
}

exports.main = (argv) => partOf('main').main(argv);

/** Writes the code that is compiled by now, for the next time. */
exports.keep = () => {
  const kept = [...parts].map(([name, { script }]) => ({ name, bytes: script.createCachedData() }));
  const table = {};
  let at = 0;
  for (const { name, bytes } of kept) {
    table[name] = [at, bytes.length];
    at += bytes.length;
  }
  const line = `${JSON.stringify(table)}\n`;
  if (line.length > TABLE_BYTES) throw new Error(`The table of parts has ${line.length} bytes; ${TABLE_BYTES} are read.`);
  writeFileSync(CODE, Buffer.concat([Buffer.from(line, 'latin1'), ...kept.map(({ bytes }) => bytes)]));
};
