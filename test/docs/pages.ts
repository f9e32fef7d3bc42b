/** The pages of the documentation, and what is in their fences. */
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

export const root = join(import.meta.dirname, '../..');

/** Every page whose listings are checked. */
export const pages = [
  'README.md',
  ...readdirSync(join(root, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
];

export interface Fence {
  readonly page: string;
  readonly line: number;
  readonly language: string;
  readonly text: string;
  /** From a comment on the line before: `<!-- docs/examples/stages.ts -->`. */
  readonly file: string | undefined;
}

export function fences(page: string): Fence[] {
  const found: Fence[] = [];
  const lines = readFileSync(join(root, page), 'utf8').split('\n');
  for (let i = 0; i < lines.length; i++) {
    const opening = /^```(\w*)$/.exec(lines[i]);
    if (opening === null) continue;
    const end = lines.indexOf('```', i + 1);
    if (end < 0) throw new Error(`${page}:${i + 1}: a fence without an end`);
    found.push({
      page,
      line: i + 1,
      language: opening[1],
      text: lines.slice(i + 1, end).join('\n'),
      file: /^<!-- (\S+) -->$/.exec(lines[i - 1] ?? '')?.[1],
    });
    i = end;
  }
  return found;
}
