/** What is told of an error: each sentence once, and the place in the plugin. */
import { describe, expect, it } from 'vitest';
import { errorForReport, pluginFailure, whereThrown } from './blame.js';
import { VisorkitError, describeError, fail } from './errors.js';

const withStack = (...lines: string[]): Error =>
  Object.assign(new Error('late'), { stack: ['Error: late', ...lines.map((line) => `    at ${line}`)].join('\n') });

describe('describeError', () => {
  it('says the causes, but nothing twice', () => {
    const failure = pluginFailure('clock', 'while it was applied', new Error('the port is taken'));
    expect(describeError(failure)).toBe('Plugin clock failed while it was applied: the port is taken [PLUGIN_FAILED]');
    const deeper = new VisorkitError('B', 'The file is gone.', undefined, new Error('ENOENT'));
    expect(describeError(new VisorkitError('A', 'Nothing works.', undefined, deeper))).toBe(
      'Nothing works. [A]\n  caused by: The file is gone. [B]\n  caused by: ENOENT',
    );
  });

  it('keeps the code of a cause whose sentence was said', () => {
    const cause = new VisorkitError('PORT_CONFLICT', 'Port 0x80 is taken.');
    expect(describeError(pluginFailure('clock', 'in the hook load', cause))).toBe(
      'Plugin clock failed in the hook load: Port 0x80 is taken. [PLUGIN_FAILED]\n  caused by: PORT_CONFLICT',
    );
  });
});

describe('whereThrown', () => {
  it('is the place in the plugin, not in the kernel that it called', () => {
    let thrown: unknown;
    try {
      fail('MINE', 'It went wrong.');
    } catch (error) {
      thrown = error;
    }
    // This test lies in the kernel's folder, so that everything below is "outside": the runner
    expect(whereThrown(thrown)?.stack?.[0]).toMatch(/^at fail \(.*errors\.ts:\d+:\d+\)$/);
    const frame = import.meta.dirname.replace(/\/core\/src$/, '');
    expect(
      whereThrown(
        withStack(
          `fail (${frame}/core/src/errors.ts:1:2)`,
          `Bus.add (${frame}/machine/dist/bus.js:3:4)`,
          'apply (/x/clock.ts:12:9)',
        ),
      )?.at,
    ).toBe('/x/clock.ts:12:9');
  });

  it('looks at what caused it, and leaves out what is of Node', () => {
    const cause = withStack(
      'file:///x/a%20b.mjs:3:4',
      'new Clock (/x/c (1)/d.ts:5:6)',
      'async Promise.all (index 0)',
      'run (node:internal/x:1:1)',
    );
    expect(whereThrown(pluginFailure('clock', 'in the hook load', cause))).toEqual({
      at: '/x/a%20b.mjs:3:4',
      stack: ['at /x/a%20b.mjs:3:4', 'at new Clock (/x/c (1)/d.ts:5:6)'],
    });
    expect(whereThrown('just text')).toBeUndefined();
  });

  it('is in the report, whose causes do not repeat the message', () => {
    const report = errorForReport(pluginFailure('clock', 'in the hook load', withStack('load (/x/clock.ts:7:1)')));
    expect(report).toEqual({
      code: 'PLUGIN_FAILED',
      message: 'Plugin clock failed in the hook load: late',
      details: { plugin: 'clock' },
      at: '/x/clock.ts:7:1',
      stack: ['at load (/x/clock.ts:7:1)'],
    });
  });
});
