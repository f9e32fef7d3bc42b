/** The lab prints what its README says. */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { lab } from './nested-lab.js';

const source = (path: string): string => readFileSync(new URL(path, import.meta.url), 'utf8');

it('shows CR0 of the guest of the hypervisor before and after it ran', async () => {
  const lines: string[] = [];
  const report = await lab((line) => void lines.push(line));
  expect(report.reason).toBe('halted');
  expect(lines).toEqual(['before: guest_cr0 = 0x80000031', 'after: guest_cr0 = 0x80000039']);
  expect(source('../README.md')).toContain(lines.join('\n'));
});

it('is a plugin of ten lines', () => {
  const plugin = source('guest-cr0.ts').split('definePlugin({\n')[1].split('\n  });')[0];
  expect(plugin.split('\n').length).toBeLessThanOrEqual(10);
});
