#!/usr/bin/env node
import { main } from '../dist/main.js';

/** For what still has to happen, ms. */
const GRACE = 50;

await main(process.argv);
// What a plugin has left running (a timer that repeats, a socket) does not keep a process whose run is over. Usually there is nothing, and the process ends
// by itself: process.exit waits for V8's threads, which in Node 24 may wait for the main thread to collect garbage, so that neither goes on.
setTimeout(() => process.exit(), GRACE).unref();
