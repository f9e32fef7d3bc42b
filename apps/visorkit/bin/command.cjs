/**
 * The command line as scripts, with what V8 has compiled of them. V8 takes the code of another version of itself, or of another script, for
 * none, and compiles what it needs; it does the same with code that was kept under other flags, so they are set here, for the build as for the run.
 *
 * All scripts are in one file, and what is kept of them in another: to look for, open and close a file for each takes longer than to run it. Both
 * files begin with a table, a line of JSON. What is not needed is not read, and what is read is read into the same memory: to the host the first use of
 * a page may be dear.
 */
const { existsSync, openSync, readSync, realpathSync, writeFileSync } = require('node:fs');
const { createRequire } = require('node:module');
const { availableParallelism } = require('node:os');
const { join } = require('node:path');
const { pathToFileURL } = require('node:url');
const { setFlagsFromString } = require('node:v8');
const { Script } = require('node:vm');

/** Flags of V8, with the first and the last Node that is known to have each: V8 writes an error for one that it does not know. */
const FLAGS = [
  // Roughly the bytes of WebAssembly that a function runs before V8 optimises it; V8's own figure is 1.8 to 13 million. A region that has been translated is
  // known to be hot already
  { flag: '--wasm-tiering-budget=100000', from: 20, to: 24 },
  // V8 has four threads for it, on a host of two processors too: the guest's would wait for its own more than for others
  { flag: `--wasm-num-compilation-tasks=${Math.max(availableParallelism() - 1, 1)}`, from: 20, to: 24 },
  // A function is validated when it is compiled, and those of regions not before as well: they are compiled when they are called
  { flag: '--wasm-lazy-validation', from: 20, to: 24 },
  // As `setUpOptimiser` of packages/core/src/host.ts says
  { flag: '--experimental-wasm-branch-hinting', from: 20, to: 24 },
  { flag: '--no-turbo-move-optimization', from: 20, to: 21 },
  // A function's bytecode that runs before it is optimised, 30 times as much as V8's own figure, or calls of it, 10 times as many. Much of the translator's
  // code runs for a second or two: to optimise it took as long as it saved, and three seconds of Debian's boot had half a second of it on other threads
  { flag: '--interrupt-budget=2000000', from: 20, to: 20 },
  { flag: '--invocation-count-for-turbofan=30000', from: 22, to: 24 },
];
const MAJOR = Number.parseInt(process.versions.node, 10);
for (const { flag, from, to } of FLAGS) if (MAJOR >= from && MAJOR <= to) setFlagsFromString(flag);

const FILE = join(__dirname, '../build/parts.cjs');
const CODE = join(__dirname, '../build/parts.code');
const outside = createRequire(FILE);
const importOutside = (name) => import(name);
/** Of the package's dist/index.js, as all of this project have it; Node's own search reads manifests, which takes longer than all else that looks for a file. */
function urlOfPackage(name) {
  const found = outside.resolve.paths(name).map((folder) => join(folder, name, 'dist/index.js')).find(existsSync);
  return pathToFileURL(found === undefined ? outside.resolve(name) : realpathSync(found)).href;
}

/** Where what was read last is. */
let room = Buffer.alloc(0);
/** Room for a table. */
const TABLE_BYTES = 16384;
const END_OF_LINE = 0x0a;

/** Pieces of a file, behind a table that says of each where it begins and how long it is. */
class Pieces {
  constructor(path, start = '') {
    this.file = openSync(path, 'r');
    const head = Buffer.allocUnsafe(TABLE_BYTES),
      line = head.subarray(0, readSync(this.file, head, 0, TABLE_BYTES, 0));
    this.begin = line.indexOf(END_OF_LINE) + 1;
    this.table = JSON.parse(line.toString('latin1', start.length, this.begin));
    const longest = Math.max(...this.table.pieces.map(([, length]) => length));
    if (room.length < longest) room = Buffer.allocUnsafeSlow(longest);
  }

  /** Holds until the next piece of any is read; undefined: it is empty, or there is none. */
  read(number) {
    const [at, length] = this.table.pieces[number] ?? [0, 0];
    return length === 0 ? undefined : room.subarray(0, readSync(this.file, room, 0, length, this.begin + at));
  }
}

/** Pieces are scripts, each with the functions of some parts by name. The table also says in which piece a part is, and in which line each piece begins, from 0. */
const texts = new Pieces(FILE, '//');
/** What V8 has compiled of each script. */
const codes = existsSync(CODE) ? new Pieces(CODE) : undefined;

/** Scripts that were needed, by number, with the functions. */
const scripts = new Map();
/** What the parts that were asked for give to others, by name. */
const parts = new Map();

function scriptOf(number) {
  const text = texts.read(number).toString('latin1'),
    [, , lineOffset] = texts.table.pieces[number];
  const script = new Script(text, { filename: FILE, lineOffset, cachedData: codes?.read(number) });
  const made = { script, functions: script.runInThisContext() };
  scripts.set(number, made);
  return made;
}

function partOf(name) {
  const number = texts.table.parts[name],
    { functions } = scripts.get(number) ?? scriptOf(number);
  parts.set(name, {}); // of a part that gives nothing
  functions[name]((given) => parts.set(name, given), requireFrom, FILE, importOutside, urlOfPackage);
  return parts.get(name);
}

/** A part by "./NAME.js", or a module of Node. */
function requireFrom(name) {
  if (!name.startsWith('./')) return outside(name);
  const part = name.slice('./'.length, -'.js'.length);
  return parts.get(part) ?? partOf(part);
}

exports.main = (argv) => partOf('main').main(argv);

/** Ends the process when `main` is done, which gave `ranGuest`. */
exports.leave = (ranGuest) => parts.get('main').leave(ranGuest);

/** Writes the code that is compiled by now, for the next time. */
exports.keep = () => {
  const kept = texts.table.pieces.map((_, number) => scripts.get(number)?.script.createCachedData() ?? Buffer.alloc(0));
  const table = { pieces: [] };
  let at = 0;
  for (const { length } of kept) {
    table.pieces.push([at, length]);
    at += length;
  }
  const line = `${JSON.stringify(table)}\n`;
  if (line.length > TABLE_BYTES) throw new Error(`The table of parts has ${line.length} bytes; ${TABLE_BYTES} are read.`);
  writeFileSync(CODE, Buffer.concat([Buffer.from(line, 'latin1'), ...kept]));
};
