/** The processor as V8 has compiled it when the command line was built. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { host } from '@visorkit/core';
import { keepModule, keptModule } from '@visorkit/project';

const pathOfCode = (): string => fileURLToPath(new URL('../build/engine.code', import.meta.url));

/** From now on a VM's processor needs not be compiled. */
export function useKeptProcessor(): void {
  host.keptModule = (binary) => keptModule(binary, pathOfCode());
}

/** Part of the build. `url`: of engine.wasm. Returns false on a Node that cannot keep it. */
export const keepProcessor = (url: URL): boolean => keepModule(new Uint8Array(readFileSync(url)), pathOfCode());
