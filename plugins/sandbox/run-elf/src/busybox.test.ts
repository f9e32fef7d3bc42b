/** Applets of Debian's busybox-static: the same output, status and files as natively. */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fetchDebianPackage } from '@visorkit/guests';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runElf } from './run-elf.js';
import { BACKENDS } from './test-backends.js';

/** An invocation: arguments, and what it reads. */
type Invocation = readonly [args: string, stdin?: string];

const LINES = 'pear 3\napple 10\nfig 2\napple 10\nquince 7\n';

const INVOCATIONS: readonly Invocation[] = [
  ['true'],
  ['false'],
  ['echo hello  world'],
  ['echo -n no newline'],
  ['echo -e a\\tb'],
  ['printf %05d|%s\\n 42 x'],
  ['pwd'],
  ['env'],
  ['uname -s'],
  ['uname -m'],
  ['cat lines'],
  ['cat -n lines'],
  ['cat missing'],
  ['cat lines empty lines'],
  ['cat', 'from the input\n'],
  ['cat -', 'x'],
  ['tac lines'],
  ['rev lines'],
  ['nl lines'],
  ['wc lines'],
  ['wc -c lines binary'],
  ['wc', 'one two\nthree\n'],
  ['head -n 2 lines'],
  ['head -c 7 lines'],
  ['tail -n 2 lines'],
  ['tail -c 5 lines'],
  ['tail -n +3 lines'],
  ['sort lines'],
  ['sort -u lines'],
  ['sort -k2 -n lines'],
  ['sort -r', LINES],
  ['uniq lines'],
  ['uniq -c', 'a\na\nb\n'],
  ['cut -d\u00a0 -f2 lines'.replace('\u00a0', ' ')],
  ['cut -c1-3 lines'],
  ['tr a-z A-Z', LINES],
  ['tr -d aeiou', LINES],
  ['paste lines lines'],
  ['fold -w 4 lines'],
  ['expand lines'],
  ['comm lines lines'],
  ['seq 3 7'],
  ['seq -w 8 11'],
  ['awk {print$2,$1} lines'],
  ['awk {s+=$2}END{print\u00a0s} lines'],
  ['awk BEGIN{printf("%d\\n",6*7)}'],
  ['awk length>6 lines'],
  ['sed s/apple/plum/ lines'],
  ['sed -n 2,3p lines'],
  ['sed -e /fig/d lines'],
  ['sed -i s/pear/peach/ edited'],
  ['grep apple lines'],
  ['grep -c apple lines'],
  ['grep -v apple lines'],
  ['grep -n e lines'],
  ['grep -r fig folder'],
  ['grep nothing lines'],
  ['grep x missing'],
  ['sha256sum lines binary'],
  ['md5sum lines'],
  ['sha1sum binary'],
  ['sha512sum', LINES],
  ['cksum lines'],
  ['crc32 lines'],
  ['sha256sum -c sums'],
  ['gzip -c lines'],
  ['gzip copied'],
  ['gunzip -c lines.gz'],
  ['bzip2 -c lines'],
  ['xz -dc lines.xz'],
  ['tar -cf made.tar folder'],
  ['tar -tvf packed.tar'],
  ['tar -xf packed.tar -C target'],
  ['ls'],
  ['ls -a'],
  ['ls -ln'],
  ['ls -lnR folder'],
  ['ls missing'],
  ['ls -lan link'],
  ['find .'],
  ['find . -name *.txt -type f'],
  ['find folder -size +0'],
  ['find . -type l'],
  ['stat -c %n,%s,%a,%F lines folder link'],
  ['readlink link'],
  ['readlink -f link'],
  ['realpath folder/../lines'],
  ['basename /a/b.c .c'],
  ['dirname /a/b.c'],
  ['du -a folder'],
  ['date -u -d @86400'],
  ['date -u -r lines'],
  ['date -u +%Y -d @0'],
  ['touch -d @1000000 touched'],
  ['mkdir -p new/deep/er'],
  ['mkdir folder'],
  ['rmdir target'],
  ['rmdir folder'],
  ['rm edited'],
  ['rm -r folder'],
  ['cp lines copy'],
  ['cp -a folder second'],
  ['mv lines moved'],
  ['ln lines hard'],
  ['ln -s lines soft'],
  ['ln -s lines link'],
  ['chmod 600 lines'],
  ['chmod u+x lines'],
  ['truncate -s 3 edited'],
  ['dd if=binary of=part bs=100 skip=2 count=3'],
  ['dd if=/dev/zero bs=1000 count=3 status=none'],
  ['od -c lines'],
  ['hexdump -C binary'],
  ['xxd lines'],
  ['strings binary'],
  ['base64 lines'],
  ['base64 -d', 'aGVsbG8K'],
  ['cmp lines lines'],
  ['cmp lines binary'],
  ['diff lines edited'],
  ['diff lines lines'],
  ['expr 6 * 7'],
  ['test -f lines'],
  ['test -d lines'],
  ['[ 3 -gt 2 ]'],
  ['factor 360'],
  ['id -u'],
  ['tee copy2', LINES],
  ['split -l 2 lines'],
  ['sleep 0.01'],
  ['usleep 1000'],
  ['which nothing'],
  ['tty'],
  ['sh -c echo\u00a0$((1+2))'],
  ['sh -c cd\u00a0folder;pwd;echo\u00a0*'],
  ['sh -c for\u00a0i\u00a0in\u00a01\u00a02;do\u00a0echo\u00a0$i;done;exit\u00a03'],
  ['sh -c read\u00a0a;echo\u00a0got\u00a0$a', 'line\n'],
  ['cal 11 2026'],
  ['dc -e 2\u00a03*p'],
  ['unknown-applet'],
  ['cpio -t', ''],
  ['mktemp -u /tmp/fixedXXXXXX -q'],
  ['ascii'],
  ['sum lines'],
  ['unexpand -a lines'],
  ['shuf -n 0 lines'],
];
/** A space within an argument is written as a no-break space. */
const split = (text: string): string[] => text.split(' ').map((part) => part.replaceAll('\u00a0', ' '));

/** Output that cannot be the same twice; and applets that go through folders in whatever order they are read. */
const RANDOM = new Set(['mktemp']);
const UNORDERED = new Set(['find', 'du', 'grep']);

const home = mkdtempSync(join(tmpdir(), 'visorkit-busybox-'));
const native = join(home, 'work'),
  shadow = join(home, 'shadow'),
  template = join(home, 'template');
let busybox = '',
  templateTree: string[] = [];

function fixture(folder: string): void {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(join(folder, 'folder/inner'), { recursive: true });
  mkdirSync(join(folder, 'target'));
  const binary = Buffer.from(Array.from({ length: 1000 }, (_, i) => (i * i * 7 + i) & 0xff));
  const files: Record<string, string | Buffer> = {
    lines: LINES,
    edited: LINES,
    copied: LINES,
    empty: '',
    binary,
    'folder/a.txt': 'fig\n',
    'folder/inner/b.txt': 'a fig and a fig\n',
    sums: `${spawnSync(busybox, ['sha256sum'], { input: LINES, encoding: 'utf8' }).stdout.slice(0, 64)}  lines\n`,
    'lines.gz': spawnSync(busybox, ['gzip', '-c'], { input: LINES }).stdout,
    'lines.xz': Buffer.from(
      'fd377a585a0000016922de360200210116000000742fe5a3e0000f000a5d00309888a91b9de7a000000000005dc3d0c3000122106fe3839a9042990d010000000001595a',
      'hex',
    ),
  };
  for (const [name, data] of Object.entries(files)) writeFileSync(join(folder, name), data);
  symlinkSync('lines', join(folder, 'link'));
  chmodSync(join(folder, 'binary'), 0o755);
  spawnSync(busybox, ['tar', '-cf', join(folder, 'packed.tar'), '-C', folder, 'folder', 'link']);
  settle(folder);
}

/** Everything gets the same time, so that listings agree. */
function settle(folder: string): void {
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isSymbolicLink()) utimesSync(join(entry.parentPath, entry.name), 1_600_000_000, 1_600_000_000);
    else spawnSync(busybox, ['touch', '-h', '-d', '@1600000000', join(entry.parentPath, entry.name)]);
  }
}

/** Names, modes, targets and contents below a folder. */
function tree(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .map((entry) => {
      const path = join(entry.parentPath, entry.name),
        stat = lstatSync(path),
        name = path.slice(folder.length);
      const what = stat.isSymbolicLink()
        ? `-> ${readlinkSync(path)}`
        : stat.isFile()
          ? /\.tar$|\.tgz$|\.gz$/.test(name)
            ? 'packed'
            : readFileSync(path).toString('base64')
          : '';
      return `${name} ${stat.mode.toString(8)} ${stat.nlink} ${what}`;
    })
    .sort();
}

const environment = { PATH: '/bin', TZ: 'UTC', LC_ALL: 'C' };

beforeAll(async () => {
  busybox = join((await fetchDebianPackage('busybox-static')).root, 'bin/busybox');
  fixture(template);
  templateTree = tree(template);
}, 120_000);
afterAll(() => rmSync(home, { recursive: true, force: true }));

/** A folder like the template, unless it is like it already. */
function reset(folder: string): void {
  if (existsSync(folder) && tree(folder).join() === templateTree.join()) return;
  rmSync(folder, { recursive: true, force: true });
  spawnSync('cp', ['-a', template, folder]);
}

interface Expected {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly tree: string[];
}
const natively = new Map<string, Expected>();

/** What the machine itself makes of an invocation. */
function runNatively(text: string, stdin: string): Expected {
  const known = natively.get(text);
  if (known !== undefined) return known;
  reset(native);
  const { status, stdout, stderr } = spawnSync(busybox, split(text), {
    cwd: native,
    input: stdin,
    env: environment,
    encoding: 'latin1',
    timeout: 15_000,
  });
  const expected = { status, stdout, stderr, tree: tree(native) };
  natively.set(text, expected);
  return expected;
}

const ordered = (text: string, applet: string): string =>
  UNORDERED.has(applet) ? text.split('\n').sort().join('\n') : text;
const decode = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');

describe.each(BACKENDS)('busybox on %s', (_name, options) => {
  it.each(INVOCATIONS.map(([args, stdin]) => [args, stdin ?? ''] as const))('%s', async (text, stdin) => {
    const args = split(text),
      expected = runNatively(text, stdin);
    reset(shadow);
    // The sandbox's copy lies where the native one does: paths in the output are the same
    const result = await runElf({
      ...options,
      file: busybox,
      args,
      stdin,
      env: environment,
      cwd: native,
      mounts: [{ host: shadow, guest: native }],
    });
    expect({ status: result.status, stderr: decode(result.stderr) }).toEqual({
      status: expected.status,
      stderr: expected.stderr,
    });
    if (!RANDOM.has(args[0])) expect(ordered(decode(result.stdout), args[0])).toBe(ordered(expected.stdout, args[0]));
    expect(tree(shadow)).toEqual(expected.tree);
    expect(result.unknownCalls).toEqual([]);
  });
});

/** Scripts that make processes: pipelines, substitution, jobs, traps. busybox is its own applets, by way of /proc/self/exe. */
const SCRIPTS: readonly string[] = [
  'a=$(ls | wc -l); echo $a',
  'cat lines | sort | uniq -c | sort -rn | head -n 1',
  'for f in *; do echo $f; done | tail -n 2',
  'echo $(echo $(echo deep))',
  'f() { while read a b; do echo "$b $a"; done; }; cat lines | f',
  '(exit 3); echo $?; (kill -9 $(exec sh -c "echo \\$PPID")); echo $?',
  'sleep 0.01 & wait $!; echo $?; false & wait $!; echo $?',
  'trap "echo bye" EXIT; trap "echo term" TERM; kill $$; echo on',
  'sh -c "exit 7"; echo $?; nothing-like-this; echo $?',
  'yes | head -n 3; echo ${PIPESTATUS:-none}',
  'exec 3<lines; read x <&3; cat <&3 | wc -l; echo $x',
  'cat <<X | tr a-z A-Z\nhere\nX',
  'find . -type f -exec md5sum {} + | sort',
  'ls | xargs -n 2 echo | sort',
  'i=0; while [ $i -lt 40 ]; do (echo $i) | cat > /dev/null; i=$((i+1)); done; echo $i',
  'zcat lines.gz; tar c lines | tar t',
  'umask; cd sub 2>/dev/null; pwd | grep -c .',
  'set -- a b; echo "$#" | cat; echo x > made; (cat made; rm made) | cat; ls made 2>/dev/null; echo $?',
];

describe.each(BACKENDS)('scripts on %s', (name, options) => {
  // forty rounds of two processes each take half a minute where KVM emulates ring 0
  const timeout = name === 'kvm' ? 180_000 : 60_000;
  it.each(SCRIPTS)('%s', { timeout }, async (script) => {
    const args = ['sh', '-c', script];
    reset(native);
    const expected = spawnSync(busybox, args, { cwd: native, env: environment, encoding: 'latin1', timeout: 15_000 });
    reset(shadow);
    const result = await runElf({
      ...options,
      file: busybox,
      args,
      env: environment,
      cwd: native,
      mounts: [{ host: shadow, guest: native }],
    });
    expect([result.status, decode(result.stdout)]).toEqual([expected.status, expected.stdout]);
    expect(decode(result.stderr)).toBe(expected.stderr);
    expect(result.unknownCalls).toEqual([]);
  });
});

it('is a long table', () => expect(INVOCATIONS.length).toBeGreaterThan(100));
