/** Code of WebAssembly from one process to the next: each case is a process of its own, since V8 remembers a module that it has. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';

const BUILT = new URL('../dist/kept-module.js', import.meta.url);
const unbuilt = !existsSync(BUILT);
if (unbuilt) console.warn('kept-module.test.ts: skipped, since there is no build');

/** (module (func (export "f") (result i32) i32.const VALUE)) */
const returns = (value: number): number[] => [
  ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 5, 1, 0x60, 0, 1, 0x7f, 3, 2, 1, 0],
  ...[7, 5, 1, 1, 0x66, 0, 0, 10, 6, 1, 4, 0, 0x41, value, 0x0b],
];

describe.skipIf(unbuilt)('code of a module (needs a build)', () => {
  const folder = mkdtempSync(join(tmpdir(), 'visorkit-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  const run = (script: string, ...options: string[]): unknown => {
    const whole = `import { keepModule, keptModule } from '${BUILT.href}'; ${script}`;
    const text = execFileSync(process.execPath, [...options, '--input-type=module', '-e', whole], { encoding: 'utf8' });
    return JSON.parse(text);
  };
  const keep = (path: string, value: number, ...options: string[]): unknown =>
    run(`console.log(keepModule(new Uint8Array([${returns(value)}]), '${path}'))`, ...options);
  /** What the module's function returns, null when there is no code for it. */
  const call = (path: string, value: number, ...options: string[]): unknown =>
    run(
      `const module = keptModule(new Uint8Array([${returns(value)}]), '${path}');
      console.log(module === undefined ? null : new WebAssembly.Instance(module).exports.f());`,
      ...options,
    );

  it('is that of the binary', () => {
    const path = join(folder, 'code');
    expect(keep(path, 42)).toBe(true);
    expect(call(path, 42)).toBe(42);
    expect(call(path, 43)).toBeNull();
    expect(keep(path, 43)).toBe(true);
    expect(call(path, 43)).toBe(43);
  });

  it('is not taken under other flags of V8, nor with a Node that looks at bounds itself', () => {
    const path = join(folder, 'flags');
    keep(path, 7, '--wasm-tiering-budget=5000');
    expect(call(path, 7, '--wasm-tiering-budget=5000')).toBe(7);
    expect(call(path, 7)).toBeNull();
    expect(call(path, 7, '--wasm-tiering-budget=5000', '--disable-wasm-trap-handler')).toBeNull();
    expect(keep(path, 7, '--disable-wasm-trap-handler')).toBe(false);
  });

  it('is not taken when it is too short, or not there', () => {
    const path = join(folder, 'short');
    keep(path, 9);
    const whole = readFileSync(path);
    for (let length = 0; length < whole.length; length += 1 + (whole.length >> 3)) {
      writeFileSync(path, whole.subarray(0, length));
      expect(call(path, 9)).toBeNull();
    }
    rmSync(path);
    expect(call(path, 9)).toBeNull();
    writeFileSync(path, whole);
    expect(call(path, 9)).toBe(9);
  });
});
