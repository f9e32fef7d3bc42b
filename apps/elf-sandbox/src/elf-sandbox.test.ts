/** The program on a small folder: what it prints, and that it changes nothing. */
import { expect, it, vi } from 'vitest';

it('looks at a folder and leaves it alone', async () => {
  let printed = '';
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    printed += Buffer.from(text as Uint8Array).toString();
    return true;
  });
  vi.spyOn(console, 'log').mockImplementation((line) => {
    printed += `${line}\n`;
  });
  process.argv.push(new URL('..', import.meta.url).pathname);
  try {
    await import('./elf-sandbox.js');
  } finally {
    process.argv.pop();
    vi.restoreAllMocks();
  }
  expect(printed).toContain('$ ls -A\nREADME.md\n');
  expect(printed).toContain("sh: can't create made: Read-only file system\n   status 1, ");
  expect(printed).toContain('./package.json\n');
  expect(printed).toMatch(/[0-9a-f]{64} {2}package\.json\n {3}status 0, /);
  expect(printed).toMatch(/wget: .*\n {3}status 1, /);
}, 60_000);
