import { ElfPool } from '@visorkit/run-elf';

const pool = new ElfPool({
  maxQueued: 200,
  defaults: { memory: '64M', timeout: 10, maxOutput: 1 << 20, maxWritten: 16 << 20, maxFiles: 1000 },
});

/** What a program of the server makes of some input, such as the body of a request. */
export async function convert(program: string, input: Uint8Array, signal: AbortSignal): Promise<Uint8Array> {
  const { status, stdout, message } = await pool.run({ file: program, stdin: input }, { signal });
  if (status !== 0) throw new Error(message.join('\n') || `${program} ended with status ${status}`);
  return stdout;
}

process.once('SIGTERM', () => void pool.dispose());
