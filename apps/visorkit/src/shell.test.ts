/** The main job as a user sees it: Debian's kernel and a shell on a real terminal. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { prepareDebianGuest } from '@visorkit/guests';
import { afterAll, expect, it } from 'vitest';
import { Scratch } from './test-cli.js';
import { Tmux, tmuxMissing } from './test-tmux.js';

const BIN = new URL('../bin/visorkit.js', import.meta.url).pathname;
const unready = tmuxMissing
  ? 'tmux is not installed'
  : !existsSync(new URL('../dist/main.js', import.meta.url))
    ? 'there is no build'
    : undefined;
const missing =
  unready ??
  (await prepareDebianGuest({ arch: 'amd64' }).then(
    () => undefined,
    (error: Error) => error.message,
  ));
if (missing !== undefined) console.warn(`shell.test.ts: skipped, since ${missing}`);

const scratch = new Scratch();
let terminal: Tmux | undefined;
afterAll(() => {
  terminal?.close();
  scratch.remove();
});

/** Clock ticks of processor time that a process has used. */
function ticks(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  return Number(fields[11]) + Number(fields[12]);
}

it.skipIf(missing !== undefined)(
  "a shell: echo, Ctrl-C, arrow keys, window size, an idle host, Ctrl-a x, the terminal as it was (needs tmux, a build and Debian's kernel)",
  async () => {
    terminal = await Tmux.open();
    const before = scratch.path('before'),
      after = scratch.path('after');
    terminal.enter(
      `stty -a > ${before}; ${process.execPath} ${BIN} demo --memory 128M; echo "status=$?"; stty -a > ${after}; echo end''ed`,
    );
    // A kernel message that comes late may stand behind the first prompt
    await terminal.shows(/\/root #/, 150);
    terminal.press('Enter');
    await terminal.shows(/^\/root # *$/m);

    terminal.enter('echo $((6 * 7)) $(stty size)');
    await terminal.shows(/^42 30 100$/m);
    terminal.enter('sleep 100');
    await terminal.shows(/^\/root # sleep 100$/m);
    terminal.press('C-c');
    await terminal.shows(/^\^C\n\/root #/m);
    terminal.enter('echo broken=$?');
    await terminal.shows(/^broken=130$/m);
    // The shell's line editing: go back over X, take out b, put in Q
    terminal.type('echo abX');
    terminal.press('Left', 'BSpace', 'Q', 'End', 'Z', 'Enter');
    await terminal.shows(/^aQXZ$/m);
    terminal.press('Up', 'Up', 'Enter');
    await terminal.shows(/^broken=130\n(.*\n)*.*aQXZ\n(.*\n)*broken=0$/m);

    // An idle guest lets the host sleep: under 10 % of a processor over three seconds
    const pid = Number(
      spawnSync('pgrep', ['-f', `${BIN} demo --memory 128M`], { encoding: 'utf8' })
        .stdout.trim()
        .split('\n')
        .at(-1),
    );
    const used = ticks(pid);
    await new Promise((resolve) => setTimeout(resolve, 3000));
    expect(ticks(pid) - used).toBeLessThan(30);

    terminal.press('C-a', 'x');
    const screen = await terminal.shows(/^ended$/m);
    expect(screen).toMatch(/^status=0$/m);
    expect(readFileSync(after, 'utf8')).toBe(readFileSync(before, 'utf8'));
  },
  240_000,
);
