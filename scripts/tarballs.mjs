/** Looks into packed packages: what has to be in every tarball, and what a source map in it may refer to. */
import { gunzipSync } from 'node:zlib';
import { readFileSync } from 'node:fs';
import { posix } from 'node:path';

/** The files of a .tgz as npm lays them out, without the leading "package/": name to contents. */
export function filesOf(tarball) {
  const bytes = gunzipSync(readFileSync(tarball));
  const files = new Map();
  const text = (at, length) => bytes.toString('latin1', at, at + length).replace(/\0.*$/s, '');
  for (let at = 0; at + 512 <= bytes.length && bytes[at] !== 0; ) {
    const size = Number.parseInt(text(at + 124, 12), 8);
    const [name, prefix] = [text(at, 100), text(at + 345, 155)];
    const path = prefix === '' ? name : `${prefix}/${name}`;
    files.set(path.replace(/^package\//, ''), bytes.subarray(at + 512, at + 512 + size));
    at += 512 + Math.ceil(size / 512) * 512;
  }
  return files;
}

/** What is wrong with the files of a package, as sentences. */
export function faultsOf(files) {
  const faults = ['package.json', 'README.md', 'LICENSE']
    .filter((name) => !files.has(name))
    .map((name) => `${name} is missing`);
  const tests = [...files.keys()].filter((name) => name.endsWith('.test.ts') || name.endsWith('.test.js'));
  faults.push(...tests.map((name) => `${name} is a test`));
  for (const [name, bytes] of files) {
    if (!name.endsWith('.map')) continue;
    for (const source of JSON.parse(bytes.toString('utf8')).sources) {
      const path = posix.join(posix.dirname(name), source);
      if (!files.has(path)) faults.push(`${name} refers to ${path}, which is not in the package`);
    }
  }
  return faults;
}
