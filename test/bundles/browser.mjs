/**
 * Runs a module as a browser would: what only Node has is taken away first. `workerData` says whether `fetch` gives files of the module's folder, as a
 * server of it would, and whether the thread may block, as a worker's may and a page's own may not.
 */
import { readFile } from 'node:fs/promises';
import { parentPort, workerData } from 'node:worker_threads';

const { module, fetches, blocks } = workerData;
globalThis.self = globalThis;
globalThis.postMessage = (message) => parentPort.postMessage(message);
globalThis.fetch = async (url) => {
  if (!fetches) throw new TypeError(`${url} was asked for`);
  // Node's own Response needs what is taken away below
  return readFile(url).then(
    (bytes) => ({ ok: true, status: 200, arrayBuffer: async () => new Uint8Array(bytes).buffer }),
    () => ({ ok: false, status: 404 }),
  );
};
if (!blocks)
  Atomics.wait = () => {
    throw new TypeError('Atomics.wait cannot be called in this context');
  };
// A browser's MessageEvent needs no Buffer. Node makes its own when it is first asked for, by a library that does
if (globalThis.MessageEvent === undefined) throw new Error('this Node has no MessageEvent');
for (const name of ['process', 'Buffer', 'global', 'setImmediate', 'clearImmediate', 'require', 'module'])
  delete globalThis[name];
const left = ['process', 'Buffer', 'setImmediate', 'require'].filter((name) => name in globalThis);
if (left.length > 0) throw new Error(`still there: ${left}`);
await import(module);
