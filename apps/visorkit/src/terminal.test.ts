/** The user's terminal as the guest's console, on a real terminal (tmux): every key arrives, and the terminal is given back whatever happens. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fetchDebianPackage } from '@visorkit/guests';
import { GuestCode } from '@visorkit/testkit';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Scratch } from './test-cli.js';
import { Tmux, tmuxMissing } from './test-tmux.js';

const BIN = new URL('../bin/visorkit.js', import.meta.url).pathname;
const unbuilt = !existsSync(new URL('../dist/main.js', import.meta.url));
if (tmuxMissing) console.warn('terminal.test.ts: tmux is not installed; the tests on a real terminal are skipped');

/** Says "ready", then prints every byte that comes in as two hexadecimal digits. */
function hexEcho(): Uint8Array {
  const digit = [0x3c, 10, 0x72, 2, 0x04, 0x27, 0x04, 0x30, 0xba, 0xf8, 0x03, 0xee, 0xc3]; // cmp al, 10; jb +2; add al, 'a' - '0' - 10; add al, '0'; mov dx, 0x3f8; out dx, al; ret
  const first = [0xba, 0xfd, 0x03, 0xec, 0xa8, 1, 0x74, 0xfb, 0xba, 0xf8, 0x03, 0xec, 0x88, 0xc3, 0xc0, 0xe8, 4]; // wait for a byte; mov bl, al; shr al, 4
  const second = [0x88, 0xd8, 0x24, 15]; // mov al, bl; and al, 15
  const last = [0xb0, 0x20, 0xee]; // a space
  const loop = [...first, 0xe8, 0, 0, ...second, 0xe8, 0, 0, ...last, 0xeb, 0];
  const call = (at: number): void => void (loop[at] = loop.length - (at + 2));
  call(first.length + 1);
  call(first.length + 3 + second.length + 1);
  loop[loop.length - 1] = -loop.length & 0xff;
  return new GuestCode()
    .print('ready\r\n')
    .raw(...loop, ...digit)
    .build();
}

describe.skipIf(tmuxMissing || unbuilt)(
  'on a terminal (needs tmux and a build)',
  () => {
    const scratch = new Scratch();
    const echo = scratch.file('echo.bin', hexEcho());
    const before = scratch.path('before'),
      after = scratch.path('after');
    let terminal: Tmux;
    beforeEach(async () => {
      terminal = await Tmux.open();
    });
    afterEach(() => terminal.close());
    afterAll(() => scratch.remove());

    /** Starts the command line between two looks at the terminal's settings; its status is printed at the end. */
    function start(...argv: string[]): void {
      terminal.enter(
        `stty -a > ${before}; ${process.execPath} ${BIN} run --kernel ${echo} --mode real16 ${argv.join(' ')}; echo "status=$?"; stty -a > ${after}; echo end''ed`,
      );
    }
    async function restored(status: number): Promise<string> {
      const screen = await terminal.shows(/^ended$/m);
      expect(screen).toMatch(new RegExp(`^status=${status}$`, 'm'));
      expect(readFileSync(after, 'utf8')).toBe(readFileSync(before, 'utf8'));
      expect(readFileSync(before, 'utf8')).toMatch(/[^-]icanon/);
      return screen;
    }
    const pid = (): number =>
      Number(
        /\d+/.exec(spawnSync('pgrep', ['-f', `visorkit.js run --kernel ${echo}`], { encoding: 'utf8' }).stdout)![0],
      );

    it('every key reaches the guest: letters, Ctrl-C, Ctrl-Z, Ctrl-D, arrows, Ctrl-a a; Ctrl-a x leaves with status 0', async () => {
      start();
      await terminal.shows(/^ready$/m);
      terminal.type('a~');
      terminal.press('C-c', 'C-z', 'C-d', 'C-s', 'Up', 'C-a', 'a', 'Enter');
      await terminal.shows(/61 7e 03 1a 04 13 1b 5b 41 01 0d/);
      terminal.press('C-a', 'h');
      await terminal.shows(/Ctrl-a x +leave/);
      terminal.press('C-a', 'x');
      await restored(0);
    });

    it('a program in the sandbox runs on it', async () => {
      const busybox = join((await fetchDebianPackage('busybox-static')).root, 'bin/busybox');
      terminal.enter(`${process.execPath} ${BIN} exec ${busybox} tty; echo "status=$?"`);
      const screen = await terminal.shows(/^status=\d+$/m);
      expect(screen).toMatch(/^\/dev\/console$/m);
      expect(screen).toMatch(/^status=0$/m);
    });

    it.each([
      ['SIGTERM', 143],
      ['SIGHUP', 129],
      ['SIGINT', 130],
    ] as const)('is restored after %s', async (signal, status) => {
      start();
      await terminal.shows(/^ready$/m);
      process.kill(pid(), signal);
      await restored(status);
    });

    it.each<[string, number, RegExp, () => string[]]>([
      [
        'an error that nobody catches',
        74,
        /nothing caught the error: out of the blue/,
        () => [
          '--plugin',
          scratch.file(
            'later.mjs',
            'export default { name: "later", apply: ({ hooks }) => hooks.started.tap("later", () => setTimeout(() => { throw new Error("out of the blue"); }, 200)) };',
          ),
        ],
      ],
      [
        "a plugin's error",
        74,
        /no ports today/,
        () => [
          '--plugin',
          scratch.file(
            'io.mjs',
            'export default { name: "io-breaks", apply: ({ hooks }) => hooks.exit.for("io").tap("x", () => { throw new Error("no ports today"); }) };',
          ),
        ],
      ],
      ['a limit', 124, /time limit/, () => ['--timeout', '0.3']],
      ['an output that cannot be opened', 78, /OUTPUT_FILE/, () => ['--debugcon', 'file:/no/such/folder/file']],
      ['a plugin that is not there', 2, /PLUGIN_NOT_FOUND/, () => ['--plugin', 'nobody-has-this']],
    ])('is restored after %s', async (_what, status, message, argv) => {
      start(...argv());
      expect(await restored(status)).toMatch(message);
    });
  },
  120_000,
);
