/** The smallest hypervisor as a process: its output, its status, its exits. */
import { checkKvm } from '@visorkit/backend-kvm';
import { expect, test, vi } from 'vitest';

/** Runs the program anew with these arguments. */
async function hello(...args: string[]): Promise<{ printed: string; exits: unknown[] }> {
  let printed = '';
  const exits: unknown[] = [];
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    printed += String(text);
    return true;
  });
  vi.spyOn(console, 'error').mockImplementation((line) => void exits.push(line));
  vi.resetModules();
  process.argv.push(...args);
  try {
    await import('./hello.js');
  } finally {
    process.argv.splice(-args.length, args.length);
    vi.restoreAllMocks();
  }
  return { printed, exits };
}

test('prints 4 and ends with status 0; --verbose shows three exits', async () => {
  const { printed, exits } = await hello('--verbose');
  expect(printed).toBe('4\n');
  expect(exits).toEqual([
    'exit 30 (io) at 0x1007, 52 to port 0x3f8',
    'exit 30 (io) at 0x100a, 10 to port 0x3f8',
    'exit 12 (hlt) at 0x100b',
  ]);
  expect(process.exitCode).toBe(0);
});

const { usable, message } = checkKvm();
if (!usable) process.stderr.write(`SKIPPED: apps/hello on kvm. ${message}\n`);

test.skipIf(!usable)('does the same on kvm', async () => {
  const { printed, exits } = await hello('--backend', 'kvm', '--verbose');
  expect(printed).toBe('4\n');
  expect(exits.map(String).filter((line) => line.startsWith('exit 30') || line.startsWith('exit 12'))).toHaveLength(3);
  expect(process.exitCode).toBe(0);
});
