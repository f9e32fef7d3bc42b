/** `--translations`: what one run has translated the next one has from its beginning, and the guest does the same. */
import { existsSync, mkdirSync, readFileSync, readdirSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import { fileNameOf, keptTranslations } from './kept-translations.js';
import { Scratch, cli, refused } from './test-cli.js';

vi.mock('node:fs', async (original) =>
  (await import('./test-writes.js')).catchWrites(await original<typeof import('node:fs')>()),
);

const scratch = new Scratch();
afterAll(() => scratch.remove());
afterEach(() => vi.unstubAllEnvs());

/** INC EAX; IMUL ECX, EAX, 3; JMP to the first. */
const loop = scratch.file('loop.bin', [0x66, 0x40, 0x66, 0x6b, 0xc8, 0x03, 0xeb, 0xf8]);
async function run(...more: string[]): Promise<{ report: Record<string, unknown>; err: string }> {
  const file = scratch.path('report.json');
  const { err } = await cli(
    ...['run', '--kernel', loop, '--mode', 'real16', '--serial', 'none', '--time', 'virtual'],
    ...['--max-instructions', '3000001', '--report', file, ...more],
  );
  return { report: JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>, err };
}
const statisticsOf = ({ report }: Awaited<ReturnType<typeof run>>): Record<string, number> =>
  report.statistics as Record<string, number>;

describe('--translations', () => {
  it('names a file that the next run finds its code in', async () => {
    const file = scratch.path('kept');
    const first = await run('--translations', file),
      second = await run('--translations', file),
      without = await run('--translations', 'off');
    expect(statisticsOf(first)).toMatchObject({ 'regions translated': 1 });
    expect(statisticsOf(first)).not.toHaveProperty('regions of earlier runs');
    expect(statisticsOf(second)).toMatchObject({ 'regions translated': 1, 'regions of earlier runs': 1 });
    expect(statisticsOf(without)).not.toHaveProperty('regions of earlier runs');
    const ran = 'instructions run translated';
    expect(statisticsOf(second)[ran]).toBeGreaterThan(statisticsOf(first)[ran]! + 10_000);
    for (const { report } of [second, without])
      expect(report).toMatchObject({
        guestInstructions: first.report.guestInstructions,
        guestNanoseconds: first.report.guestNanoseconds,
        exits: first.report.exits,
      });
  });

  it('leaves another file as it is, and warns where none can be', async () => {
    const file = scratch.file('other', 'something else');
    await refused('TRANSLATIONS_FILE', /other: it has something else/, '--kernel', loop, '--translations', file);
    expect(readFileSync(file, 'utf8')).toBe('something else');
    const { err, report } = await run('--translations', join(file, 'below'));
    expect(err).toMatch(/Translated code could not be kept in .*below: EEXIST/);
    expect(report).toMatchObject({ reason: 'max-instructions' });
  });
});

describe('without the option', () => {
  const names = async (image: Uint8Array, flags = {}): Promise<string[]> =>
    (await keptTranslations({ image, imageName: 'kernel' }, flags)).map(({ name }) => name);

  it('operating systems have a file, and only as they usually run', async () => {
    vi.stubEnv('VISORKIT_CACHE', scratch.path('cache'));
    const large = new Uint8Array(1 << 20);
    expect(await names(large)).toEqual(['keep-translations']);
    expect(await names(large, { translate: 'on' })).toEqual(['keep-translations']);
    expect(await names(large.subarray(1))).toEqual([]);
    expect(await names(large, { translate: 'off' })).toEqual([]);
    expect(await names(large, { translate: '1000' })).toEqual([]);
    expect(await names(large, { translations: 'off' })).toEqual([]);
    expect(await keptTranslations(undefined)).toEqual([]);
    expect(existsSync(scratch.path('cache'))).toBe(false);
  });

  it('what is wrong in the cache stops no run, and is gone in the next', async () => {
    const cache = scratch.path('wrong'),
      folder = join(cache, 'translations'),
      kernel = { image: new Uint8Array(1 << 20).fill(1), imageName: 'kernel' };
    vi.stubEnv('VISORKIT_CACHE', cache);
    mkdirSync(folder, { recursive: true });
    const own = join(folder, fileNameOf(kernel.image));
    writeFileSync(own, 'of an older version');
    expect(await keptTranslations(kernel)).toEqual([]);
    expect(existsSync(own)).toBe(false);
    expect((await keptTranslations(kernel)).map(({ name }) => name)).toEqual(['keep-translations']);
  });

  it('there are files for some images, and the oldest goes', async () => {
    const cache = scratch.path('full'),
      folder = join(cache, 'translations');
    vi.stubEnv('VISORKIT_CACHE', cache);
    mkdirSync(folder, { recursive: true });
    for (let n = 0; n < 20; n++) {
      writeFileSync(join(folder, `image${n}`), '');
      utimesSync(join(folder, `image${n}`), 1000 + n, 1000 + n);
    }
    await keptTranslations({ image: new Uint8Array(1 << 20), imageName: 'kernel' });
    expect(new Set(readdirSync(folder))).toEqual(new Set(Array.from({ length: 15 }, (_, n) => `image${n + 5}`)));
  });
});
