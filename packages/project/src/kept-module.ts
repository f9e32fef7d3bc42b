/**
 * V8's optimised code of a WebAssembly module, kept in a file from one process to the next. V8 can write and read it, and browsers have it do so; Node gives no
 * way to it but V8's own test functions, which a script may name as long as a flag is set.
 *
 * The file is V8's code, the module's binary, and the length of the code in eight bytes. V8 itself refuses the code of another version, of other flags, or for a
 * processor with other instructions; that it is of this binary it would believe.
 */
import { closeSync, fstatSync, openSync, readSync, renameSync, writeFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';

/** Versions of Node whose V8 is known to have the functions in this form: given something else they end the process. */
const OLDEST_NODE = 20,
  NEWEST_NODE = 24;
const TRAILER = 8;

/** Of the WebAssembly JavaScript API, which Node's types leave to the browser's. */
declare const WebAssembly: { readonly Module: new (binary: Uint8Array) => object };

/** What V8's functions may be asked for by `source`, the body of a function of `names`. */
function nativeFunction(
  names: readonly string[],
  source: string,
): (...values: readonly object[]) => object | undefined {
  setFlagsFromString('--allow-natives-syntax');
  try {
    return new Function(...names, source) as (...values: readonly object[]) => object | undefined;
  } finally {
    setFlagsFromString('--no-allow-natives-syntax');
  }
}

/** Code counts on this: without it, it would look at bounds itself. Node's option is no flag of V8, which so would not notice. */
const trapsAccesses = (): boolean =>
  ![...process.execArgv, process.env.NODE_OPTIONS].some((option) => option?.includes('disable-wasm-trap-handler'));

function isKnown(): boolean {
  const major = Number.parseInt(process.versions.node, 10);
  return major >= OLDEST_NODE && major <= NEWEST_NODE && process.versions.bun === undefined && trapsAccesses();
}

/**
 * Compiles a module with V8's optimising compiler at once, some half a second for the processor, and writes the code to a file. To be called with the flags of V8
 * that later processes have, and with V8's own choice of compilers, which it sets. Returns false where this Node is not known to be able to.
 */
export function keepModule(binary: Uint8Array<ArrayBuffer>, path: string): boolean {
  if (!isKnown()) return false;
  const write = nativeFunction(['module'], 'return %SerializeWasmModule(module)');
  for (const flag of ['--no-liftoff', '--no-wasm-lazy-compilation']) setFlagsFromString(flag);
  let module: object;
  try {
    module = new WebAssembly.Module(binary);
  } finally {
    // Without the first compiler V8 gives up the change from one to the other too
    for (const flag of ['--liftoff', '--wasm-dynamic-tiering', '--wasm-lazy-compilation']) setFlagsFromString(flag);
  }
  const code = Buffer.from(write(module) as ArrayBuffer), // says of what flags it is
    trailer = Buffer.alloc(TRAILER);
  trailer.writeDoubleLE(code.length);
  const written = `${path}.${process.pid}`;
  writeFileSync(written, Buffer.concat([code, binary, trailer]));
  renameSync(written, path);
  return true;
}

/**
 * The module of a binary with the code that {@link keepModule} wrote, which takes some 15 ms for the processor. Undefined when there is no such file, when it is of
 * another binary or too short, and when V8 refuses it. As with all code, a file that was altered on purpose may do anything.
 */
export function keptModule(binary: Uint8Array<ArrayBuffer>, path: string): object | undefined {
  const code = isKnown() ? codeIn(path, binary) : undefined;
  if (code === undefined) return undefined;
  const read = nativeFunction(['code', 'binary'], 'return %DeserializeWasmModule(code, binary)');
  return read(code, binary);
}

function codeIn(path: string, binary: Uint8Array): ArrayBuffer | undefined {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch {
    return undefined;
  }
  try {
    const end = fstatSync(file).size - TRAILER,
      length = end - binary.length;
    if (length <= 0 || piece(file, end, TRAILER)?.readDoubleLE() !== length) return undefined;
    if (!piece(file, length, binary.length)?.equals(binary)) return undefined;
    return piece(file, 0, length)?.buffer;
  } finally {
    closeSync(file);
  }
}

function piece(file: number, at: number, length: number): Buffer<ArrayBuffer> | undefined {
  const bytes = Buffer.from(new ArrayBuffer(length)); // V8 wants the code in a buffer of its own
  return readSync(file, bytes, 0, length, at) === length ? bytes : undefined;
}
