/**
 * Runs a module as a browser's worker would: what only Node has is taken away first. `fetch` gives files of the module's folder, as a server of
 * it would, if `workerData.fetches` says so.
 */
import { readFile } from 'node:fs/promises';
import { parentPort, workerData } from 'node:worker_threads';

const { module, fetches } = workerData;
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
for (const name of ['process', 'Buffer', 'global', 'setImmediate', 'clearImmediate', 'require', 'module'])
  delete globalThis[name];
const left = ['process', 'Buffer', 'setImmediate', 'require'].filter((name) => name in globalThis);
if (left.length > 0) throw new Error(`still there: ${left}`);
await import(module);
