#!/usr/bin/env node
import { main } from '../dist/main.js';

await main(process.argv);
// What a plugin has left running (a timer that repeats, a socket) does not keep a process whose run is over
process.exit();
