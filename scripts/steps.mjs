/** What the scripts share: where the repository is, running a command with its progress shown, hashing files. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('..', import.meta.url));

/**
 * Runs a command; its output is shown. Ends the process with its status when it fails, after saying what failed, and `hint`: what to look at.
 */
export function run(what, command, args, { hint, ...options } = {}) {
  const started = Date.now();
  process.stderr.write(`${what} …\n`);
  const { status, signal, error } = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2], ...options });
  if (error || status !== 0) {
    const why = error ? error.message : signal ? `ended by ${signal}` : `exit status ${status}`;
    process.stderr.write(
      `${what}: failed (${command} ${args.join(' ')}: ${why}).${hint === undefined ? '' : ` ${hint}`}\n`,
    );
    process.exit(status || 1);
  }
  process.stderr.write(`${what}: done in ${((Date.now() - started) / 1000).toFixed(1)} s\n`);
}

/** Every file under some paths, sorted; folders named in `skip` are left out. */
export function filesUnder(paths, skip = ['node_modules', 'dist', 'build', 'generated']) {
  const found = [];
  const visit = (path) => {
    if (!existsSync(path)) return;
    if (!statSync(path).isDirectory()) found.push(path);
    else for (const name of readdirSync(path)) if (!skip.includes(name)) visit(join(path, name));
  };
  for (const path of paths) visit(join(root, path));
  return found.sort();
}

/** One hash over the names and contents of files. */
export function hashOf(files, ...more) {
  const hash = createHash('sha256');
  for (const text of more) hash.update(`${text}\0`);
  for (const file of files) {
    hash.update(`${relative(root, file)}\0`);
    hash.update(readFileSync(file));
  }
  return hash.digest('hex');
}

/** Workspace folders that have a package.json (or another file). */
export function workspaceFolders(having = 'package.json', rooms = ['packages', 'plugins', 'apps', 'test', 'docs']) {
  return rooms
    .flatMap((room) => (room === 'plugins' ? foldersIn(room).flatMap(foldersIn) : foldersIn(room)))
    .filter((folder) => existsSync(join(root, folder, having)));
}

function foldersIn(folder) {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => `${folder}/${name}`)
    .sort();
}

/** The text of a file, '' when it is not there. */
export function textOf(path) {
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}
