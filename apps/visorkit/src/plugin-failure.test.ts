/** A plugin that fails is told with its file and line, also where it is TypeScript. */
import { readFileSync } from 'node:fs';
import { afterAll, expect, it, vi } from 'vitest';
import { Scratch, cli } from './test-cli.js';

vi.mock('node:fs', async (original) =>
  (await import('./test-writes.js')).catchWrites(await original<typeof import('node:fs')>()),
);

const scratch = new Scratch();
afterAll(() => scratch.remove());
const kernel = scratch.file('guest.bin', [0xe6, 0xe9, 0xfa, 0xf4]); // out 0xe9, al; cli; hlt

/** The types take lines that JavaScript has not. */
const TYPESCRIPT = `import type { Plugin } from '@visorkit/core';

interface Settings {
  readonly why: string;
}

enum Colour {
  Red,
}

export default {
  name: 'clock',
  apply({ hooks }) {
    hooks.exit.for('io').tap('clock', () => tick({ why: \`no time \${Colour.Red}\` }));
  },
} satisfies Plugin;

function tick(settings: Settings): never {
  throw new Error(settings.why); // line 19
}
`;

async function run(plugin: string, ...more: string[]) {
  const path = scratch.path('report.json');
  const result = await cli(
    'run',
    '--kernel',
    kernel,
    '--mode',
    'real16',
    '--time',
    'virtual',
    '--plugin',
    plugin,
    '--report',
    path,
    ...more,
  );
  return { ...result, report: JSON.parse(readFileSync(path, 'utf8')) as { error: { at: string; stack: string[] } } };
}

it('of a .ts file while it handles an exit', async () => {
  const plugin = scratch.file('clock.ts', TYPESCRIPT);
  const at = `${plugin}:19:9`;
  const { err, status, report } = await run(plugin);
  expect(status).toBe(74);
  expect(err).toMatch(/^visorkit: Plugin clock failed while it handled the exit io: no time 0 \[PLUGIN_THREW\]\n/);
  expect(err).toContain(`\n  thrown at ${at}\n`);
  expect(err).not.toMatch(/^ +at |caused by/m);
  expect(report.error).toMatchObject({ code: 'PLUGIN_THREW', at });
  expect(report.error.stack.slice(0, 2)).toEqual([`at tick (${at})`, expect.stringContaining(`${plugin}:14:`)]);
  expect((await run(plugin, '--verbose')).err).toContain(`\n  thrown at ${at}\n    at tick (${at})\n`);
});

it('of a .mjs file before the machine runs; each sentence is said once', async () => {
  const plugin = scratch.file(
    'early.mjs',
    `export default { name: 'early',\n  apply() { throw new Error('no time'); } };\n`,
  );
  const at = `${plugin}:2:19`;
  const { err, status, report } = await run(plugin);
  expect(status).toBe(2);
  expect(err).toBe(`visorkit: Plugin early failed while it was applied: no time [PLUGIN_FAILED]\n  thrown at ${at}\n`);
  expect(report.error).toMatchObject({ code: 'PLUGIN_FAILED', at });
  expect((await run(plugin, '--verbose')).err).toMatch(
    /\n {2}thrown at .*\n {4}at Object\.apply \(.*early\.mjs:2:19\)\n/,
  );
});

it('of a timer that nobody waits for', async () => {
  const plugin = scratch.file(
    'stray.mjs',
    `export default { name: 'stray',\n  apply({ hooks }) {\n    hooks.load.tap('stray', () => new Promise(() => { setTimeout(() => {\n      throw new Error('late'); }, 1); })); } };\n`,
  );
  // vitest takes uncaught exceptions for failures of its own
  const others = process.listeners('uncaughtException');
  process.removeAllListeners('uncaughtException');
  try {
    const { err, report } = await run(plugin);
    expect(err).toContain(`\n  thrown at ${plugin}:4:13\n`);
    expect(report.error).toMatchObject({ code: 'PLUGIN_THREW', at: `${plugin}:4:13` });
  } finally {
    for (const listener of others) process.on('uncaughtException', listener);
  }
});
