/** Runs the command line; loaded by visorkit.js when the Node is new enough for it. */

/** For what still has to happen, ms. */
const GRACE = 50;

// What a plugin has left running (a timer that repeats, a socket) does not keep a process whose run is over. Usually there is nothing, and the process ends
// by itself: process.exit waits for V8's threads, which in Node 24 may wait for the main thread to collect garbage, so that neither goes on.
require('./command.cjs')
  .main(process.argv)
  .then(() => setTimeout(() => process.exit(), GRACE).unref());
