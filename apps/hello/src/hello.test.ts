import { expect, test, vi } from 'vitest';

test('prints 4 and ends with status 0; --verbose shows three exits', async () => {
  let printed = '';
  const exits: unknown[] = [];
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    printed += String(text);
    return true;
  });
  vi.spyOn(console, 'error').mockImplementation((line) => void exits.push(line));
  process.argv.push('--verbose');
  try {
    await import('./hello.js');
  } finally {
    process.argv.pop();
    vi.restoreAllMocks();
  }
  expect(printed).toBe('4\n');
  expect(exits).toEqual(['exit 30 (io) at 0x1007, 52 to port 0x3f8', 'exit 30 (io) at 0x100a, 10 to port 0x3f8', 'exit 12 (hlt) at 0x100b']);
  expect(process.exitCode).toBe(0);
});
