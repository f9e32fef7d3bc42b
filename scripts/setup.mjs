/**
 * Makes the repository ready: the right Node, the dependencies, the build. Does nothing that is done already.
 * Needs nothing but Node itself. Usage: node scripts/setup.mjs
 */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from './build.mjs';
import { filesUnder, hashOf, root, run, textOf, workspaceFolders } from './steps.mjs';

export const PNPM = 'pnpm@10.34.9';

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > 20 || (major === 20 && minor >= 19)) return;
  process.stderr.write(
    `visorkit needs Node 20.19 or newer; this is Node ${process.versions.node} (${process.execPath}). Install a newer one from https://nodejs.org and try again.\n`,
  );
  process.exit(1);
}

/** Installs when the lock file, a package.json or the Node version is not what the last installation saw. */
function install() {
  const stamp = join(root, 'node_modules', '.visorkit-installed');
  const manifests = ['package.json', ...workspaceFolders().map((folder) => `${folder}/package.json`)];
  const wanted = hashOf(
    filesUnder(['pnpm-lock.yaml', 'pnpm-workspace.yaml', ...manifests]),
    PNPM,
    process.versions.modules,
  );
  const complete =
    existsSync(join(root, 'node_modules', '.modules.yaml')) &&
    existsSync(join(root, 'packages', 'core', 'node_modules'));
  if (complete && textOf(stamp) === wanted) return;
  run('Installing dependencies', 'npx', ['-y', PNPM, 'install', '--frozen-lockfile', '--prefer-offline'], {
    hint: 'What npx and pnpm say of it stands above. They need the network the first time: connect this machine, or set npm up for its proxy, and start again.',
    shell: process.platform === 'win32',
    env: { ...process.env, CI: process.env.CI ?? 'true' },
  });
  mkdirSync(join(root, 'node_modules'), { recursive: true });
  writeFileSync(stamp, wanted);
}

/** All of it. */
export async function setup() {
  checkNode();
  install();
  await build();
}

if (process.argv[1] === import.meta.filename || process.argv[1]?.endsWith('setup.mjs')) await setup();
