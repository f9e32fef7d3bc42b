#!/usr/bin/env node
/**
 * The command `visorkit`. This file says which Node is needed before anything else is read, so it is CommonJS (package.json beside it) in
 * the syntax of 2009, which every Node parses; the rest begins in launch.cjs.
 */
/* biome-ignore-all lint: an old Node knows no other syntax */
'use strict';

var OLDEST = [20, 19];
var version = process.versions.node.split('.').map(Number);

if (version[0] > OLDEST[0] || (version[0] === OLDEST[0] && version[1] >= OLDEST[1])) {
  require('./launch.cjs');
} else {
  var found = 'this is Node ' + process.versions.node + ' (' + process.execPath + ')';
  var wanted = 'visorkit needs Node ' + OLDEST.join('.') + ' or newer';
  process.stderr.write(wanted + '; ' + found + '. Install a newer one from https://nodejs.org and try again.\n');
  process.exitCode = 2;
}
