/** Runs the command line; loaded by visorkit.js when the Node is new enough for it. */

/**
 * Roughly the bytes of WebAssembly that a function runs before V8 optimises it; V8's own figure is 1.8 to 13 million. A region that has been translated
 * is known to be hot already.
 */
const TIERING_BUDGET = 100_000;
/** The newest Node that is known to have the flag: V8 writes an error for one that it does not know. */
const NEWEST = 24;
if (Number.parseInt(process.versions.node, 10) <= NEWEST)
  require('node:v8').setFlagsFromString(`--wasm-tiering-budget=${TIERING_BUDGET}`);

/** For what still has to happen, ms. */
const GRACE = 50;

// What a plugin has left running (a timer that repeats, a socket) does not keep a process whose run is over. Usually there is nothing, and the process ends
// by itself: process.exit waits for V8's threads, which in Node 24 may wait for the main thread to collect garbage, so that neither goes on.
require('./command.cjs')
  .main(process.argv)
  .then(() => setTimeout(() => process.exit(), GRACE).unref());
