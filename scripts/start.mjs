/** The main job: sets up what is missing, then boots Debian's kernel to a shell (`visorkit demo`). */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { root } from './steps.mjs';
import { setup } from './setup.mjs';

await setup();
const child = spawn(process.execPath, [join(root, 'apps/visorkit/bin/visorkit.js'), 'demo', ...process.argv.slice(2)], {
  stdio: 'inherit',
});
// Signals of the terminal reach the child by themselves; it restores the terminal and ends, and this process follows.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
child.on('error', (error) => {
  process.stderr.write(`The demo could not be started: ${error.message}\n`);
  process.exit(1);
});
child.on('exit', (status, signal) => process.exit(status ?? (signal === 'SIGINT' ? 130 : 143)));
