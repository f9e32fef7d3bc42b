/** docs/errors.md names every error code and every stop reason of the sources, and none that does not exist. */
import { readFileSync, readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';
import { EXIT_STATUS } from '@visorkit/core';
import { workspaceFolders } from '../../scripts/steps.mjs';

const root = join(import.meta.dirname, '../..');
const page = readFileSync(join(root, 'docs/errors.md'), 'utf8');

/** First cells of table rows, without their quotes. */
const rows = new Map(
  [...page.matchAll(/^\| `([^`]+)` \| ([^|]*(?:\\\|[^|]*)*) \|/gm)].map((match) => [match[1], match[2]]),
);

function sources(): { path: string; text: string }[] {
  return (workspaceFolders('src', ['packages', 'plugins', 'apps']) as string[]).flatMap((name) => {
    const folder = join(root, name, 'src');
    return readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'))
      .map((file) => ({ path: relative(root, join(folder, file)), text: readFileSync(join(folder, file), 'utf8') }));
  });
}

/** Codes given to fail, VisorkitError, checks of fields and the readers of images, with a file each. */
function codes(): Map<string, string> {
  const found = new Map<string, string>();
  for (const { path, text } of sources()) {
    for (const [, code] of text.matchAll(/(?:\bfail|\bVisorkitError)\(\s*'([A-Z0-9_]+)'/g)) found.set(code, path);
    for (const [, code] of text.matchAll(/\bcode: '([A-Z0-9]+_[A-Z0-9_]+)'/g)) found.set(code, path);
    for (const [, code] of text.matchAll(/\bImageReader\([^;]*?'([A-Z0-9_]+)'/g)) found.set(code, path);
  }
  return found;
}

describe('docs/errors.md', () => {
  const thrown = codes();

  it('finds codes in the sources', () => {
    expect(thrown.size).toBeGreaterThan(90);
  });

  it('has a row for every code', () => {
    expect(
      [...thrown]
        .filter(([code]) => !rows.has(code))
        .map(([code, path]) => `add a row for ${code} of ${path} to docs/errors.md`),
    ).toEqual([]);
  });

  it('has no row for a code that nothing throws', () => {
    expect([...rows.keys()].filter((name) => /^[A-Z0-9_]+$/.test(name) && !thrown.has(name))).toEqual([]);
  });

  it('has every stop reason, with its status', () => {
    const report = readFileSync(join(root, 'packages/core/src/report.ts'), 'utf8');
    const declared = [...(/export type StopReason =([^;]*);/.exec(report)?.[1] ?? '').matchAll(/'([^']+)'/g)].map(
      (match) => match[1],
    );
    expect(declared.length).toBeGreaterThan(10);
    expect(declared.filter((reason) => !rows.has(reason))).toEqual([]);
    for (const [reason, status] of Object.entries(EXIT_STATUS))
      expect([reason, rows.get(reason)]).toEqual([reason, String(status)]);
  });
});
