/** The kernel's version is that of its package. */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { KERNEL_VERSION } from './version.js';

it('is the version in package.json', () => {
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  expect(KERNEL_VERSION).toBe(version);
});
