/**
 * Tests run from source: every `@visorkit/*` package is aliased to its `src/index.ts`, so that they need no build.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { defineConfig } from 'vitest/config';
import { workspaceFolders } from './scripts/steps.mjs';

const root = import.meta.dirname;
const alias: Record<string, string> = {};
for (const folder of workspaceFolders('src/index.ts', ['packages', 'plugins', 'apps'])) {
  const { name, exports = {} } = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8'));
  const source = join(root, folder, 'src');
  // The longer names first: an alias also takes what begins with it.
  for (const entry of Object.keys(exports)) {
    const file = join(source, `${entry.slice(2)}.ts`);
    if (entry !== '.' && existsSync(file)) alias[`${name}${entry.slice(1)}`] = file;
  }
  alias[name] = join(source, 'index.ts');
}

export default defineConfig({
  resolve: { alias },
  // What the packages' tsconfig says, also for files that no tsconfig includes; CommonJS in TypeScript (.cts) too.
  oxc: { decorator: { legacy: true }, include: /\.[cm]?ts$/ },
  test: {
    include: ['{packages,plugins/*,apps}/*/src/**/*.test.ts', 'test/**/*.test.ts', 'docs/examples/**/*.test.ts'],
    exclude: ['**/node_modules/**', '**/dist/**', '**/build/**'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    maxWorkers: 2,
    setupFiles: ['test/property-tests.ts'],
    sequence: { hooks: 'stack' },
  },
});
