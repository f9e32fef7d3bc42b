/** The compiled processor is found beside its package, and its absence is explained. */
import { existsSync, readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { Engine } from './engine.js';
import { processorModule, processorModuleNow } from './module.js';

const wasm = new URL('../build/engine.wasm', import.meta.url);

describe.skipIf(!existsSync(wasm))('the compiled processor', () => {
  it('is compiled once from each source', async () => {
    const bytes = new Uint8Array(readFileSync(wasm));
    const modules = await Promise.all([
      processorModule(),
      processorModule(),
      processorModule(wasm),
      processorModule(new URL(wasm)),
      processorModule(bytes),
      processorModule(bytes),
    ]);
    expect(new Set(modules).size).toBe(3);
    expect(modules[0]).toBe(modules[1]);
    expect(modules[2]).toBe(modules[3]);
    expect(modules[4]).toBe(modules[5]);
    for (const module of new Set(modules)) expect(new Engine(module, { memoryBytes: 65536 }).memory.size).toBe(65536);
  });

  it('is there at once, and is the same when it was compiled before', async () => {
    expect(processorModuleNow()).toBe(await processorModule());
  });

  it('says where it was looked for, and looks again the next time', async () => {
    const nowhere = pathToFileURL('/nowhere/engine.wasm');
    const error: unknown = await processorModule(nowhere).catch((error) => error);
    expect(error).toMatchObject({ code: 'ENGINE_NOT_BUILT', details: { looked: ['/nowhere/engine.wasm'] } });
    expect(String(error)).toContain('/nowhere/engine.wasm');
    await expect(processorModule(nowhere)).rejects.not.toBe(error);
    // A file that is no such code
    await expect(processorModule(new URL(import.meta.url))).rejects.toMatchObject({ code: 'ENGINE_NOT_BUILT' });
  });
});
