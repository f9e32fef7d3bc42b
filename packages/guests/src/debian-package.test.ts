/** Fetching with an apt of the test's own: shell scripts that play apt-get, apt-cache, dpkg and dpkg-deb. */
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { fetchDebianPackage, kernelImage } from './debian-package.js';
import type { FetchProgress } from './debian-package.js';

let folder: string;
let cache: string;
const path = process.env.PATH;

/** `known`: what apt-cache show prints, by package; a file in `lists` (set by `update`) makes it known. */
const programs: Record<string, string> = {
  dpkg: 'echo amd64',
  'apt-cache':
    'for last; do :; done; cat "$FAKE/known/$last" 2>/dev/null || { echo "E: No packages found" >&2; exit 100; }',
  'apt-get': `echo "$@" >>$FAKE/calls
for last; do :; done
case " $* " in
  *indextargets*) echo http://mirror.example/security/; echo http://mirror.example/debian/; exit 0 ;;
  *" update "*) [ -e $FAKE/later ] && mv $FAKE/later/* $FAKE/known/; rm -f $FAKE/broken; [ -e $FAKE/unreachable ] && { rm -f $FAKE/known/*; echo "W: Failed to fetch http://deb/InRelease  Temporary failure resolving 'deb'" >&2; echo "W: Failed to fetch http://sec/InRelease  Temporary failure resolving 'sec'" >&2; echo "W: Some index files failed to download." >&2; exit 0; }; [ -e $FAKE/offline ] && { echo "E: no network" >&2; exit 100; }; exit 0 ;;
esac
[ -e $FAKE/slow ] && { echo $$ >$FAKE/started; exec sleep 60; }
case "$(cat $FAKE/broken 2>/dev/null)" in *"$last"*) echo "W: noise" >&2; echo "E: 404 Not Found $last" >&2; exit 100 ;; esac
echo "dlstatus:1:50:Retrieving" >&3
echo "$last" >"\${last%%=*}_1_all.deb"`,
  'dpkg-deb':
    '[ -e $FAKE/bad-deb ] && { echo "error: unexpected end of archive" >&2; exit 2; }; mkdir -p "$3/boot"; name=$(basename "$2" _1_all.deb); cp "$2" "$3/boot/vmlinuz-${name#linux-image-}"',
};
const stanza = (name: string, version: string, depends = ''): string =>
  `Package: ${name}\nVersion: ${version}\n${depends && `Depends: ${depends}\n`}Description: x\n\n`;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'visorkit-apt-'));
  cache = join(folder, 'cache');
  await mkdir(join(folder, 'bin'));
  await mkdir(join(folder, 'known'));
  for (const [name, script] of Object.entries(programs)) {
    await writeFile(join(folder, 'bin', name), `#!/bin/sh\n${script}\n`);
    await chmod(join(folder, 'bin', name), 0o755);
  }
  process.env.FAKE = folder;
  process.env.PATH = `${join(folder, 'bin')}:${path}`;
});
afterEach(async () => {
  process.env.PATH = path;
  delete process.env.FAKE;
  await rm(folder, { recursive: true, force: true });
});
const know = (name: string, text: string): Promise<void> => writeFile(join(folder, 'known', name), text);
const calls = async (): Promise<string[]> =>
  (await readFile(join(folder, 'calls'), 'utf8').catch(() => '')).trim().split('\n').filter(Boolean);

describe('fetchDebianPackage', () => {
  test('keeps only the files that are asked for, beside the whole package', async () => {
    await know('linux-image-6.1.0-9-amd64', stanza('linux-image-6.1.0-9-amd64', '6.1'));
    const name = 'linux-image-6.1.0-9-amd64';
    const part = await fetchDebianPackage(name, { cache, only: ['boot/vmlinuz-6.1.0-9-amd64'] });
    const whole = await fetchDebianPackage(name, { cache });
    expect(part.root).not.toBe(whole.root);
    expect(await readdir(join(part.root, 'boot'))).toEqual(['vmlinuz-6.1.0-9-amd64']);
    expect(await readdir(join(part.root, '..'))).not.toContain('all');
    await expect(fetchDebianPackage(name, { cache, only: ['boot/nothing'] })).rejects.toMatchObject({
      code: 'GUEST_UNPACK',
      message: expect.stringMatching(/has no file "boot\/nothing"\.$/),
    });
  });

  test('downloads, unpacks, reports its steps, and does nothing the second time', async () => {
    await know('seabios', stanza('seabios', '1.16.2-1'));
    const steps: FetchProgress[] = [];
    const fetched = await fetchDebianPackage('seabios', { cache, onProgress: (progress) => steps.push(progress) });
    expect(fetched).toEqual({
      requested: 'seabios',
      name: 'seabios',
      version: '1.16.2-1',
      architecture: 'amd64',
      root: join(cache, 'debian/amd64/seabios/root'),
    });
    expect(steps.map(({ step, percent }) => [step, percent])).toEqual([
      ['download', 0],
      ['download', 50],
      ['unpack', undefined],
    ]);
    expect(await fetchDebianPackage('seabios', { cache })).toEqual(fetched);
    expect(await calls()).toHaveLength(1);
    expect(await readdir(join(cache, 'debian/amd64/seabios'))).toEqual(['manifest.json', 'root']);
  });

  test.each([
    ['linux-image-cloud-amd64', 'linux-image-6.1.0-9-cloud-amd64'],
    ['linux-image-686', 'linux-image-6.1.0-9-686'],
  ])('%s stands for the kernel it depends on', async (meta, kernel) => {
    await know(meta, stanza(meta, '6.1.9', `${kernel} (= 6.1.9)`));
    await know(kernel, stanza(kernel, '6.1.9', 'kmod, linux-base (>= 4.3~)'));
    const fetched = await fetchDebianPackage(meta, { cache });
    expect(fetched).toMatchObject({ requested: meta, name: kernel, version: '6.1.9' });
    expect(await kernelImage(fetched)).toMatch(/boot\/vmlinuz-6\.1\.0-9/);
  });

  test('takes a package of a suite from the mirror, by lists of its own, and keeps it apart', async () => {
    await know(
      'linux-image-cloud-amd64',
      stanza('linux-image-cloud-amd64', '6.1.9', 'linux-image-6.1.0-9-cloud-amd64'),
    );
    await know('linux-image-6.1.0-9-cloud-amd64', stanza('linux-image-6.1.0-9-cloud-amd64', '6.1.9'));
    const own = await fetchDebianPackage('linux-image-cloud-amd64', { cache });
    expect(await calls()).toHaveLength(1);
    // The system's lists know the name too: they are not asked
    await know('linux-image-cloud-amd64', '');
    await mkdir(join(folder, 'later'));
    const metapackage = stanza('linux-image-cloud-amd64', '6.12.1', 'linux-image-6.12.1-cloud-amd64');
    await writeFile(join(folder, 'later/linux-image-cloud-amd64'), metapackage);
    await know('linux-image-6.12.1-cloud-amd64', stanza('linux-image-6.12.1-cloud-amd64', '6.12.1'));
    const suite = 'bookworm-backports';
    const fetched = await fetchDebianPackage('linux-image-cloud-amd64', { cache, suite });
    expect(fetched).toMatchObject({ name: 'linux-image-6.12.1-cloud-amd64', version: '6.12.1' });
    expect(fetched.root).toBe(join(cache, 'debian/amd64-bookworm-backports/linux-image-cloud-amd64/root'));
    expect(await readFile(join(cache, 'apt/amd64-bookworm-backports/sources.list'), 'utf8')).toMatch(
      /^deb \[signed-by=\S+debian-archive-keyring\.gpg\] http:\/\/mirror\.example\/debian\/ bookworm-backports main\n$/,
    );
    const [, update, download] = (await calls()).filter((call) => !call.includes('indextargets'));
    for (const call of [update, download])
      expect(call).toMatch(/Dir::Etc::sourcelist=\S+sources\.list -o Dir::Etc::sourceparts=- /);
    expect(await fetchDebianPackage('linux-image-cloud-amd64', { cache })).toEqual(own);
  });

  test('takes an older version when the mirror has not got the newest', async () => {
    await know('busybox-static', stanza('busybox-static', '2') + stanza('busybox-static', '1'));
    await writeFile(join(folder, 'broken'), 'busybox-static=2');
    expect(await fetchDebianPackage('busybox-static', { cache })).toMatchObject({ version: '1' });
  });

  test('fetches new lists when the mirror has none of what the old ones name', async () => {
    await know('seabios', stanza('seabios', '1'));
    await writeFile(join(folder, 'broken'), 'seabios=1'); // `update` mends it
    expect(await fetchDebianPackage('seabios', { cache })).toMatchObject({ version: '1' });
    expect((await calls()).map((call) => /\b(update|download)\b/.exec(call)?.[1])).toEqual([
      'download',
      'update',
      'download',
    ]);
  });

  test('says that there is no network where the system knows the package, but its download fails', async () => {
    await know('seabios', stanza('seabios', '1'));
    await writeFile(join(folder, 'broken'), 'seabios=1');
    await writeFile(join(folder, 'unreachable'), '');
    await expect(fetchDebianPackage('seabios', { cache })).rejects.toMatchObject({
      code: 'GUEST_NETWORK',
      message: expect.stringMatching(/Temporary failure resolving 'deb'/),
    });
    expect(await readdir(cache)).toEqual(['apt']);
  });

  test('fetches lists of its own for another architecture, without touching the system', async () => {
    await mkdir(join(folder, 'later'));
    await writeFile(join(folder, 'later', 'busybox-static'), stanza('busybox-static', '1'));
    expect(await fetchDebianPackage('busybox-static', { cache, arch: 'i386' })).toMatchObject({ architecture: 'i386' });
    const [update, download] = await calls();
    expect(update).toMatch(/Dir::State=\S*cache.*APT::Architecture=i386.* update$/);
    expect(download).toContain(`Dir::State=${join(cache, 'apt/i386/state')}`);
  });

  test('discards a package that was only half unpacked', async () => {
    await know('seabios', stanza('seabios', '1'));
    await mkdir(join(cache, 'debian/amd64/seabios/root'), { recursive: true }); // no manifest
    expect(await fetchDebianPackage('seabios', { cache })).toMatchObject({ version: '1' });
  });

  test('is interrupted by its signal, at once, and leaves the cache as it was', async () => {
    await know('seabios', stanza('seabios', '1'));
    await writeFile(join(folder, 'slow'), '');
    const abort = new AbortController();
    const work = fetchDebianPackage('seabios', {
      cache,
      signal: abort.signal,
      onProgress: () => setTimeout(() => abort.abort(), 50),
    });
    await expect(work).rejects.toMatchObject({ code: 'GUEST_INTERRUPTED' });
    expect(await readdir(cache)).toEqual([]);
  });

  test.each<[string, string, RegExp, () => Promise<unknown>]>([
    [
      'a package that nobody knows',
      'GUEST_PACKAGE_UNKNOWN',
      /knows no package "nothing" for amd64 \(E: no network\).*apt-get update/,
      () => writeFile(join(folder, 'offline'), ''),
    ],
    [
      'a machine without a network',
      'GUEST_NETWORK',
      /nothing is not in the cache yet.*cannot reach Debian's servers.*"W: Failed to fetch http:\/\/deb\/InRelease Temporary failure resolving 'deb'" \(and 1 more.*Connect this machine.*VISORKIT_CACHE/,
      () => writeFile(join(folder, 'unreachable'), ''),
    ],
    [
      'a machine without apt',
      'GUEST_APT_MISSING',
      /no apt-get and dpkg.*VISORKIT_CACHE/,
      async () => void (process.env.PATH = join(folder, 'known')),
    ],
  ])('refuses %s', async (_what, code, message, prepare) => {
    await prepare();
    await expect(fetchDebianPackage('nothing', { cache })).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });

  test('says why a download or an archive failed', async () => {
    await know('seabios', stanza('seabios', '1'));
    await writeFile(join(folder, 'bad-deb'), '');
    await expect(fetchDebianPackage('seabios', { cache })).rejects.toMatchObject({
      code: 'GUEST_UNPACK',
      message: expect.stringMatching(/unexpected end of archive/),
    });
    await expect(fetchDebianPackage('../etc', { cache })).rejects.toMatchObject({ code: 'GUEST_PACKAGE_NAME' });
  });

  test('a package without a kernel has no kernel image', async () => {
    const empty = { requested: 'x', name: 'x', version: '1', architecture: 'amd64', root: folder } as const;
    await expect(kernelImage(empty)).rejects.toMatchObject({ code: 'GUEST_NO_KERNEL' });
  });
});
