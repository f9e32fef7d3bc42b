/**
 * Tests run from source: every `@visorkit/*` package is aliased to its `src/index.ts`, so that they need no build.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { defineConfig } from 'vitest/config';

const root = import.meta.dirname;
const alias: Record<string, string> = {};
for (const room of ['packages', 'plugins', 'apps']) {
  for (const folder of existsSync(join(root, room)) ? readdirSync(join(root, room)) : []) {
    const entry = join(root, room, folder, 'src', 'index.ts');
    const manifest = join(root, room, folder, 'package.json');
    const exports = existsSync(manifest) ? (JSON.parse(readFileSync(manifest, 'utf8')).exports ?? {}) : {};
    // The longer names first: an alias also takes what begins with it.
    for (const name of Object.keys(exports)) {
      const file = join(root, room, folder, 'src', `${name.slice(2)}.ts`);
      if (name !== '.' && existsSync(file)) alias[`@visorkit/${folder}${name.slice(1)}`] = file;
    }
    if (existsSync(entry)) alias[`@visorkit/${folder}`] = entry;
  }
}

export default defineConfig({
  resolve: { alias },
  // What the packages' tsconfig says, also for files that no tsconfig includes.
  oxc: { decorator: { legacy: true } },
  test: {
    include: ['{packages,plugins,apps}/*/src/**/*.test.ts', 'test/**/*.test.ts', 'docs/examples/**/*.test.ts'],
    exclude: ['**/node_modules/**', '**/dist/**', '**/build/**'],
    testTimeout: 20_000,
    hookTimeout: 60_000,
    maxWorkers: 2,
    // The same everywhere: property tests report their seed when they fail.
    sequence: { hooks: 'stack' },
  },
});
