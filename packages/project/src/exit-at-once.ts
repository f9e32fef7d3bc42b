/** How a process ends without waiting for V8's threads. */
import { cLibrary } from './c-library.js';

/**
 * From now on `process.exit` ends the process as soon as all listeners have been called. Node itself would wait for what V8's threads are doing: the processor
 * of a guest is optimised from its first instructions on, which takes a quarter of a second, and a short guest is over by then.
 *
 * Nothing is done where Node has options of its own, of which some write a file at the end, and on Windows. Resolves with whether it was done. It loads a
 * native module, some 15 ms.
 */
export async function exitAtOnce(): Promise<boolean> {
  const { env, execArgv, platform } = process;
  if (platform === 'win32' || execArgv.length > 0 || env.NODE_OPTIONS || env.NODE_V8_COVERAGE) return false;
  const library = await cLibrary();
  if (library === undefined) return false;
  const leave = library.functionOf('void _exit(int status)');
  process.on('exit', (status) => leave(status));
  return true;
}
