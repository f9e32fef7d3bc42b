/** Dynamic programs of the machine's own, which find their interpreter and libraries in `--mount /:/:ro`: the same output as natively. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { runElf } from './run-elf.js';
import { canCompile, compile } from './test-programs.js';

const home = mkdtempSync(join(tmpdir(), 'visorkit-dynamic-'));
afterAll(() => rmSync(home, { recursive: true, force: true }));
const decode = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');

const MAKEFILE = `
all: one two
	@cat one two
one:
	@echo first > $@
two: one
	@sed s/first/second/ < one > $@
`;

/** Program, arguments; what is not on this machine is left out, and said. */
const INVOCATIONS: readonly (readonly [program: string, ...args: string[]])[] = [
  ['/bin/ls', '/usr/lib/os-release', '/bin/sh'],
  ['/bin/bash', '--norc', '-c', 'a=$(ls /etc/passwd /etc/group | wc -l); echo $a'],
  ['/bin/bash', '--norc', '-c', 'diff <(echo 1) <(echo 2); echo $?; for i in {1..3}; do echo $i; done | sort -r'],
  [
    '/bin/bash',
    '--norc',
    '-c',
    'x=$(cat <<< text); echo ${x^^}; trap "echo caught" USR1; kill -USR1 $$; sleep 0.01 & wait; jobs',
  ],
  ['/bin/bash', '--norc', '-c', '(exit 3); echo $?; ulimit -c 0; bash --norc -c "kill -SEGV \\$\\$"; echo $?'],
  ['/usr/bin/make', '-j2', 'all'],
  ['/usr/bin/env', 'printf', '%s-%s', 'a', 'b'],
  ['/usr/bin/awk', 'BEGIN { "echo 5" | getline x; print x * 2 }'],
  ['/usr/bin/perl', '-e', 'print join(",", map { $_ * 2 } 1..5), "\\n"; print `echo from a child`;'],
  [
    '/usr/bin/python3',
    '-S',
    '-c',
    'import os, subprocess; print(sum(range(1000))); print(subprocess.run(["/bin/echo", "hi"], capture_output=True).stdout); r, w = os.pipe(); p = os.fork() or os._exit(os.write(w, b"abc")); print(os.read(r, 9), os.waitpid(p, 0)[1])',
  ],
  [
    '/usr/bin/python3',
    '-S',
    '-c',
    `
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execl("/bin/sh", "sh", "-c", "test -t 0 && read a && echo got $a; stty size; exec cat")
def until(text):
    seen = b""
    while not seen.endswith(text):
        seen += os.read(terminal, 1000)
    print(seen)
os.write(terminal, b"onx\x7fe\n")
until(b"0 0\r\n")
os.write(terminal, b"line\n")
until(b"line\r\nline\r\n")
os.write(terminal, b"\x03")
print(os.waitpid(pid, 0)[1])
`,
  ],
  [
    '/usr/bin/python3',
    '-S',
    '-c',
    `
import ctypes, os, struct
libc = ctypes.CDLL(None, use_errno=True)
watches = libc.inotify_init1(0o4000)
os.mkdir("watched")
libc.inotify_add_watch(watches, b"watched", 0xfff)
with open("watched/file", "w") as file:
    file.write("text")
os.rename("watched/file", "watched/other")
os.remove("watched/other")
os.rmdir("watched")
data, at = os.read(watches, 4096), 0
while at < len(data):
    watch, mask, cookie, length = struct.unpack_from("iIII", data, at)
    print(watch, hex(mask), cookie > 0, data[at + 16:at + 16 + length].rstrip(b"\\0"))
    at += 16 + length
`,
  ],
  ['/usr/bin/script', '-qec', 'tty >/dev/null && stty -a | head -1; exit 3', '/dev/null'],
];
const there = INVOCATIONS.filter(([program]) => process.platform === 'linux' && existsSync(program));
const missing = new Set(INVOCATIONS.map(([program]) => program).filter((program) => !existsSync(program)));
if (missing.size > 0)
  process.stderr.write(`Not tried in the sandbox, because they are not there: ${[...missing].join(', ')}\n`);

const environment = { PATH: '/usr/bin:/bin', LC_ALL: 'C' };

describe("with the machine's own libraries", () => {
  it.each(there)('%s %s %s', { timeout: 60_000 }, async (program, ...args) => {
    const native = mkdtempSync(join(home, 'native-')),
      shadow = mkdtempSync(join(home, 'shadow-'));
    for (const folder of [native, shadow]) writeFileSync(join(folder, 'Makefile'), MAKEFILE);
    const expected = spawnSync(program, args, { cwd: native, env: environment, encoding: 'latin1', timeout: 30_000 });
    const result = await runElf({
      file: program,
      args,
      env: environment,
      cwd: '/tmp/work',
      mounts: [
        { host: '/', guest: '/', readOnly: true },
        { host: shadow, guest: '/tmp/work' },
      ],
      time: 'virtual',
      timeout: 60,
    });
    // Numbers of processes differ
    const plain = (text: string): string => text.replace(/ +\d+ /g, ' N ');
    expect([result.status, decode(result.stdout), plain(decode(result.stderr))]).toEqual([
      expected.status,
      expected.stdout,
      plain(expected.stderr),
    ]);
  });
});

describe.skipIf(!canCompile)('a dynamic program', () => {
  const source = '#include <stdio.h>\nint main(void) { puts("found"); return 5; }\n';
  const build = (): string => {
    const program = join(home, 'dynamic');
    writeFileSync(`${program}.c`, source);
    spawnSync('gcc', ['-o', program, `${program}.c`]);
    return program;
  };

  it('without its interpreter is refused with a sentence', async () => {
    await expect(runElf({ file: build() })).rejects.toMatchObject({
      code: 'PROGRAM_DYNAMIC',
      message: expect.stringMatching(
        /asks for \/lib64\/ld-linux-x86-64\.so\.2, which is no program in the sandbox\. .*--mount/,
      ),
    });
  });

  it('starts from a static one, and shows where it lies', { timeout: 60_000 }, async () => {
    build();
    mkdirSync(join(home, 'tmp'));
    const file = compile(
      home,
      'starter',
      `
#include <stdio.h>
#include <unistd.h>
int main(int count, char **arguments) {
  execl("/given/dynamic", "dynamic", (char *)0);
  perror("execl");
  return 1;
}
`,
    );
    const mounts = [
      { host: '/', guest: '/', readOnly: true },
      { host: home, guest: '/given', readOnly: true },
    ];
    const result = await runElf({ file, mounts, time: 'virtual' });
    expect([result.status, decode(result.stdout)]).toEqual([5, 'found\n']);
    const alone = await runElf({ file, mounts: mounts.slice(1), time: 'virtual' });
    expect([alone.status, decode(alone.stderr)]).toEqual([1, 'execl: No such file or directory\n']);
  });
});
