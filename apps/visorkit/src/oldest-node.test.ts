/** The command's first file, which has to say which Node it needs on Nodes that can run nothing else of it. */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';

const source = readFileSync(new URL('../bin/visorkit.js', import.meta.url), 'utf8').replace(/^#!.*/, '');
const { engines } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  engines: { node: string };
};

/** Runs the file as a Node of some version would. */
function runOn(version: string): { loaded: string[]; said: string; exitCode?: number } {
  const loaded: string[] = [];
  const process = {
    versions: { node: version },
    execPath: '/opt/node',
    exitCode: undefined as number | undefined,
    stderr: {
      text: '',
      write(text: string) {
        this.text += text;
      },
    },
  };
  new Function('require', 'process', source)((name: string) => void loaded.push(name), process);
  return { loaded, said: process.stderr.text, exitCode: process.exitCode };
}

it.each(['0.10.48', '8.17.0', '18.20.8', '20.18.3'])('refuses Node %s with a sentence', (version) => {
  const { loaded, said, exitCode } = runOn(version);
  expect(loaded).toEqual([]);
  expect(said).toMatch(
    new RegExp(`^visorkit needs Node 20\\.19 or newer; this is Node ${version} \\(/opt/node\\)\\. Install.*\n$`),
  );
  expect(exitCode).toBe(2);
});

it.each(['20.19.0', '21.0.0', '24.3.0'])('goes on with Node %s', (version) => {
  expect(runOn(version)).toEqual({ loaded: ['./launch.cjs'], said: '', exitCode: undefined });
});

it('has the version of package.json, and only syntax that every Node parses', () => {
  expect(engines.node).toBe(`>=${/OLDEST = \[(.*)\]/.exec(source)?.[1].replace(', ', '.')}`);
  const code = source.replace(/\/\*[\s\S]*?\*\//g, '').replace(/'[^'\n]*'/g, "''");
  expect(code).not.toMatch(/\b(const|let|import|class|async|await|of)\b|=>|`|\?\.|\?\?|\.\.\.|,\s*[)\]}]/);
});
