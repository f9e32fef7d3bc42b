// Compiles the test entry with memory, exceptions and VM exits replaced by the stubs beside this file.
import { readFileSync, existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import asc from 'assemblyscript/asc';

const here = dirname(fileURLToPath(import.meta.url));
const engine = join(here, '../../..');
const replaced = {
  'assembly/mmu.ts': 'stubs/mmu.ts',
  'assembly/system/exceptions.ts': 'stubs/exceptions.ts',
  'assembly/vmx/controls.ts': 'stubs/vmx.ts',
  'assembly/vmx/exits.ts': 'stubs/vmx.ts',
  'assembly/vmx/intercepts.ts': 'stubs/vmx.ts',
};

/** @returns {Promise<WebAssembly.Instance>} */
export async function compile() {
  let binary;
  const { error, stderr } = await asc.main(
    ['assembly/fp/test/entry.ts', '--outFile', 'out.wasm', '-O2', ...(process.env.ASC_DEBUG ? ['--debug'] : []), '--runtime', 'stub', '--use', 'abort=', '--memoryBase', '65536', '--enable', 'simd'],
    {
      readFile(name, baseDir) {
        const stub = replaced[name.replaceAll('\\', '/')];
        const path = stub ? join(here, stub) : join(engine, name);
        return existsSync(path) ? readFileSync(path, 'utf8') : null;
      },
      writeFile(name, contents) { if (name === 'out.wasm') binary = contents; },
      listFiles: () => [],
    },
  );
  if (error) throw new Error(`the floating-point test entry does not compile: ${stderr.toString()}`);
  return (await WebAssembly.instantiate(binary, {})).instance;
}
