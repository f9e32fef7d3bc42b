/** Where the kernel and the plugins say what they do; each plugin's lines carry its name. */
import { host } from './host.js';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/** Receives every line. */
export type LogSink = (level: LogLevel, source: string, message: string) => void;

export interface Logger {
  debug(message: string): void;
  info(message: string): void;
  warn(message: string): void;
  error(message: string): void;
  /** A logger under another name on the same sink. */
  child(source: string): Logger;
}

/** Makes a logger that passes its lines to `sink` under the name `source`. */
export function createLogger(sink: LogSink, source = 'visorkit'): Logger {
  return {
    debug: (message) => sink('debug', source, message),
    info: (message) => sink('info', source, message),
    warn: (message) => sink('warn', source, message),
    error: (message) => sink('error', source, message),
    child: (name) => createLogger(sink, name),
  };
}

/** Drops everything: the default of a VM, which has no business writing on somebody's terminal. */
export const silentLogSink: LogSink = () => {};

const ORDER: readonly LogLevel[] = ['debug', 'info', 'warn', 'error'];

/** Writes lines of `minimum` and above where the host's messages go: to standard error on Node. */
export function stderrLogSink(minimum: LogLevel = 'info'): LogSink {
  const from = ORDER.indexOf(minimum);
  return (level, source, message) => {
    if (ORDER.indexOf(level) >= from) host.log(`${level === 'info' ? '' : `${level}: `}${source}: ${message}`);
  };
}
