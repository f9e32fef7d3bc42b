/** The labs print what the README says, and the guest is what its source says. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { LABS, runLab } from './machine.js';

const home = join(import.meta.dirname, '..');
const [, listing] = /```\n(--- [\s\S]*?)```/.exec(readFileSync(join(home, 'README.md'), 'utf8'))!;
const expected = new Map(
  listing
    .split(/^--- /m)
    .slice(1)
    .map((part): [string, string[]] => {
      const [name, ...lines] = part.trimEnd().split('\n');
      return [name, lines];
    }),
);

describe('the labs', () => {
  it.each(Object.keys(LABS) as (keyof typeof LABS)[])('%s prints what the README has', async (name) => {
    const lines: string[] = [];
    await runLab(name, (line) => lines.push(line));
    expect(lines).toEqual(expected.get(name));
  });

  it('are all in the README', () => {
    expect([...expected.keys()]).toEqual(Object.keys(LABS));
  });
});

const { status } = spawnSync('gcc', ['--version']);
if (status !== 0)
  process.stderr.write('SKIPPED: apps/ept-lab, whether guest.bin is made of guest.S. There is no gcc.\n');

it.skipIf(status !== 0)('the guest is its source, assembled', () => {
  const folder = mkdtempSync(join(tmpdir(), 'visorkit-ept-lab-'));
  try {
    const [object, binary] = [join(folder, 'guest.o'), join(folder, 'guest.bin')];
    expect(spawnSync('gcc', ['-c', join(home, 'guest/guest.S'), '-o', object]).status).toBe(0);
    expect(spawnSync('ld', ['-Ttext=0x100000', '--oformat', 'binary', object, '-o', binary]).status).toBe(0);
    expect(readFileSync(binary).equals(readFileSync(join(home, 'guest/guest.bin')))).toBe(true);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
