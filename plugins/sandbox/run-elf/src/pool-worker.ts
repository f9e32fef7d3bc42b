/** A thread of an ElfPool: runs one program after the other. */
import { parentPort, workerData } from 'node:worker_threads';
import { isVisorkitError } from '@visorkit/core';
import { processorModule } from '@visorkit/engine';
import type { FromWorker, SentError, ToWorker } from './pool-messages.js';
import { runElf } from './run-elf.js';
import type { RunElfResult } from './run-elf.js';

const port = parentPort!;
const say = (message: FromWorker, transfer: ArrayBuffer[] = []): void => port.postMessage(message, transfer);

/** Of the program that runs. */
let abort = new AbortController();

port.on('message', (message: ToWorker) => {
  if (message.kind === 'abort') return abort.abort();
  abort = new AbortController();
  runElf({ ...message.job, signal: abort.signal }).then(
    (result) => say({ kind: 'result', result }, buffersOf(result)),
    (error: unknown) => say({ kind: 'error', error: sent(error) }),
  );
});

/** What the program wrote is handed over without a copy. */
function buffersOf({ stdout, stderr }: RunElfResult): ArrayBuffer[] {
  return [...new Set([stdout.buffer as ArrayBuffer, stderr.buffer as ArrayBuffer])];
}

function sent(error: unknown): SentError {
  if (!(error instanceof Error)) return { message: String(error) };
  const { message, stack } = error;
  if (!isVisorkitError(error)) return { message, ...(stack === undefined ? {} : { stack }) };
  const { code, details } = error;
  return {
    code,
    message,
    ...(details === undefined ? {} : { details }),
    ...(stack === undefined ? {} : { stack }),
  };
}

// The first program does not wait for the processor
if ((workerData as { backend?: string } | null)?.backend !== 'kvm') await processorModule().catch(() => {}); // an error comes again with the first program
say({ kind: 'ready' });
