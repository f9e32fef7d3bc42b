/** Which processors the threads of a process may use, by what the system says of each, in a process of its own. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { describe, expect, it } from 'vitest';

const MODULE = new URL('../dist/helper-threads.js', import.meta.url).href;
/** Runs in a process that has the helper threads from its start: prints what the function says, and each thread's processors before and behind it. */
const PROBE = `
  import { readdirSync, readFileSync } from 'node:fs';
  import { Worker } from 'node:worker_threads';
  import { spareThisProcessor } from ${JSON.stringify(MODULE)};
  const processorsOf = (thread) => {
    const [, list] = /^Cpus_allowed_list:\\t(.*)$/m.exec(readFileSync('/proc/self/task/' + thread + '/status', 'latin1'));
    return list.split(',').flatMap((range) => {
      const [from, to = from] = range.split('-').map(Number);
      return Array.from({ length: to - from + 1 }, (_, i) => from + i);
    });
  };
  const all = () => Object.fromEntries(readdirSync('/proc/self/task').map((thread) => [thread, processorsOf(thread)]));
  const before = all();
  const done = await spareThisProcessor();
  console.log(JSON.stringify({ pid: process.pid, done, before, behind: all() }));
`;

interface Probed {
  readonly pid: number;
  readonly done: boolean;
  readonly before: Readonly<Record<string, readonly number[]>>;
  readonly behind: Readonly<Record<string, readonly number[]>>;
}
const probe = (command: string, ...words: string[]): Probed =>
  JSON.parse(
    execFileSync(command, [...words, '--input-type=module', '--eval', PROBE], { encoding: 'utf8', timeout: 60_000 }),
  ) as Probed;

describe('helper threads', () => {
  it('leave one processor, the same one, and the first thread keeps all', (context) => {
    if (process.platform !== 'linux') context.skip('processors of threads are set on Linux alone');
    if (availableParallelism() === 1) context.skip('this process may use one processor alone');
    const { pid, done, before, behind } = probe(process.execPath);
    expect(done).toBe(true);
    expect(behind[pid]).toEqual(before[pid]);
    const helpers = Object.keys(before).filter((thread) => Number(thread) !== pid);
    expect(helpers.length).toBeGreaterThanOrEqual(4);
    const left = new Set(
      helpers.map((thread) => before[thread].filter((processor) => !behind[thread].includes(processor)).join()),
    );
    expect([...left]).toEqual([expect.stringMatching(/^\d+$/)]);
  });

  it('stay where they are if there is one processor', (context) => {
    if (process.platform !== 'linux') context.skip('processors of threads are set on Linux alone');
    const first = /^Cpus_allowed_list:\t(\d+)/m.exec(readFileSync('/proc/self/status', 'latin1'))![1];
    const { done, before, behind } = probe('taskset', '-c', first, process.execPath);
    expect(done).toBe(false);
    expect(behind).toEqual(before);
  });
});
