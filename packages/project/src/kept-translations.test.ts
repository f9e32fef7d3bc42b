/** Translated code in files: what is read, what is written, and what is taken for none. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Translations } from '@visorkit/machine';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { keepTranslations } from './kept-translations.js';

const folder = mkdtempSync(join(tmpdir(), 'visorkit-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Runs a VM, of which there are translations alone, to its end. Returns what it was given, and its warnings. */
function run(path: string, kept: Uint8Array | undefined): { given: Uint8Array | undefined; warnings: string[] } {
  const keep = vi.fn((earlier?: Uint8Array) => earlier !== undefined),
    warnings: string[] = [];
  let dispose = (): void => {};
  const host = {
    logger: { warn: (text: string) => warnings.push(text) },
    onDispose: (call: () => void) => (dispose = call),
  };
  const translations: Translations = { keep, kept: () => kept };
  keepTranslations(path).apply!(host as never, { translations } as never);
  expect(keep).toHaveBeenCalledTimes(1);
  dispose();
  return { given: keep.mock.calls[0]![0], warnings };
}
const CODE = Uint8Array.from({ length: 1000 }, (_, n) => n);

describe('translated code in a file', () => {
  it('is there in the next run, byte for byte', () => {
    const path = join(folder, 'some', 'where', 'code');
    expect(run(path, CODE)).toEqual({ given: undefined, warnings: [] });
    const { given } = run(path, undefined);
    expect(Buffer.from(given!).equals(CODE)).toBe(true);
    expect(readdirSync(join(folder, 'some', 'where'))).toEqual(['code']);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it('stays as it is where nothing is new, and is replaced where something is', () => {
    const path = join(folder, 'code');
    run(path, CODE);
    const before = readFileSync(path);
    run(path, undefined);
    expect(readFileSync(path).equals(before)).toBe(true);
    run(path, CODE.subarray(0, 10));
    expect(run(path, undefined).given?.length).toBe(10);
  });

  it.each([
    ['is cut', (bytes: Buffer) => bytes.subarray(0, 500)],
    ['has another bit', (bytes: Buffer) => Buffer.from(bytes.map((byte, n) => (n === 700 ? byte ^ 1 : byte)))],
    ['is empty', () => Buffer.alloc(0)],
  ])('is taken for none where the file %s, and written anew', (what, change) => {
    const path = join(folder, what);
    run(path, CODE);
    writeFileSync(path, change(readFileSync(path)));
    expect(run(path, CODE).given).toBeUndefined();
    expect(run(path, undefined).given?.length).toBe(CODE.length);
  });

  it('warns where it cannot be written', () => {
    const path = join(folder, 'a file', 'below');
    writeFileSync(join(folder, 'a file'), '');
    const { warnings } = run(path, CODE);
    expect(warnings).toEqual([expect.stringMatching(/^Translated code could not be kept in .*below: /)]);
  });

  it('is refused where something else is, which stays as it was', () => {
    const text = join(folder, 'text'),
      place = join(folder, 'place');
    writeFileSync(text, 'something else');
    mkdirSync(place);
    for (const [path, why] of [
      [text, 'has something else'],
      [place, 'is no regular file'],
      ['/dev/null', 'is no regular file'],
    ] as const)
      expect(() => keepTranslations(path)).toThrow(
        expect.objectContaining({ code: 'TRANSLATIONS_FILE', message: expect.stringContaining(why) }),
      );
    expect(readFileSync(text, 'utf8')).toBe('something else');
    expect(readdirSync(place)).toEqual([]);
  });

  it('is not asked for on a backend that translates nothing', () => {
    const path = join(folder, 'nothing');
    keepTranslations(path).apply!({} as never, { translations: undefined } as never);
    expect(existsSync(path)).toBe(false);
  });
});
