/** `visorkit exec`: runs a Linux program in a virtual machine of its own. */
import { fail } from '@visorkit/core';
import type { RunElfOptions, RunElfResult } from '@visorkit/run-elf';
import { DEFAULT_BACKEND, openBackend } from './backends.js';
import { hostTuning } from './host-tuning.js';
import { workOf } from './report-output.js';
import { writeAll } from './serial.js';
import { sharedModules } from './shared-modules.js';
import { executions, seconds, size, whole, word } from './values.js';

/** Options as commander gives them. */
export interface ExecFlags {
  mount?: string[];
  env?: string[];
  cwd?: string;
  memory?: string;
  timeout?: string;
  maxOutput?: string;
  maxWritten?: string;
  maxFiles?: string;
  maxProcesses?: string;
  backend?: string;
  translate?: string;
  time?: string;
  strace?: boolean;
  verbose?: boolean;
}

type Mount = NonNullable<RunElfOptions['mounts']>[number];

const say = (lines: readonly string[]): void => {
  if (lines.length > 0) writeAll(2, Buffer.from(`${lines.join('\n')}\n`));
};

/** `HOST:GUEST` or `HOST:GUEST:ro`; the folder of the host may have colons in it, that of the guest may not. */
export function parseMount(text: string): Mount {
  const match = /^(.+?):(\/[^:]*)(?::(ro|rw))?$/s.exec(text);
  if (match === null)
    fail('OPTION_VALUE', `--mount takes HOST:GUEST or HOST:GUEST:ro with an absolute path for GUEST, not "${text}".`, {
      option: '--mount',
      value: text,
    });
  return { host: match[1], guest: match[2], readOnly: match[3] === 'ro' };
}

/** `NAME=value`, or `NAME` for this process's own value. */
export function parseEnvironment(entries: readonly string[], own: NodeJS.ProcessEnv): Record<string, string> {
  const environment: Record<string, string> = {};
  for (const entry of entries) {
    const at = entry.indexOf('=');
    const name = at < 0 ? entry : entry.slice(0, at);
    if (name === '')
      fail('OPTION_VALUE', `--env takes NAME=value or NAME, not "${entry}".`, { option: '--env', value: entry });
    const value = at < 0 ? own[name] : entry.slice(at + 1);
    if (value !== undefined) environment[name] = value;
  }
  return environment;
}

/** Signals that this process passes on to the program. */
const FORWARDED = { SIGINT: 2, SIGQUIT: 3, SIGTERM: 15, SIGHUP: 1, SIGWINCH: 28, SIGUSR2: 12 } as const;
/** After so many interrupts that did not end the program, the sandbox is ended. */
const PATIENCE = 3;

export async function execCommand(program: string, args: readonly string[], flags: ExecFlags): Promise<number> {
  const [backend, { runElf }, kernel] = await Promise.all([
    openBackend(
      { backend: flags.backend ?? DEFAULT_BACKEND },
      { translate: flags.translate === undefined ? undefined : executions('--translate', flags.translate) },
      sharedModules,
    ),
    import('@visorkit/run-elf'),
    import('@visorkit/sandbox-kernel'),
  ]);
  const leaving = new AbortController();
  let send: (signal: number) => void = () => {},
    interrupts = 0;
  const handlers = Object.entries(FORWARDED).map(
    ([name, signal]) =>
      [
        name,
        () => {
          if (signal === FORWARDED.SIGINT && ++interrupts >= PATIENCE) leaving.abort();
          send(signal);
        },
      ] as const,
  );
  const options: RunElfOptions = {
    file: program,
    args,
    stdin: 'inherit',
    stdout: 'inherit',
    stderr: 'inherit',
    signal: leaving.signal,
    mounts: (flags.mount ?? []).map(parseMount),
    env: parseEnvironment(flags.env ?? [], process.env),
    backend,
    plugins: [hostTuning()],
    memory: size('--memory', flags.memory ?? '256M'),
    time: word('--time', flags.time ?? 'real', ['real', 'virtual'] as const),
    ...(flags.cwd === undefined ? {} : { cwd: flags.cwd }),
    ...(flags.timeout === undefined ? {} : { timeout: seconds('--timeout', flags.timeout) }),
    ...(flags.maxOutput === undefined ? {} : { maxOutput: size('--max-output', flags.maxOutput) }),
    ...(flags.maxWritten === undefined ? {} : { maxWritten: size('--max-written', flags.maxWritten) }),
    ...(flags.maxFiles === undefined
      ? {}
      : { maxFiles: whole('--max-files', flags.maxFiles, 0, Number.MAX_SAFE_INTEGER) }),
    ...(flags.maxProcesses === undefined ? {} : { maxProcesses: whole('--max-processes', flags.maxProcesses, 1, 512) }),
    ...(flags.strace === true ? { trace: (line: string) => say([line]) } : {}),
    ...(flags.verbose === true ? { onStart: (started) => say(beginning(kernel, started)) } : {}),
    control: (sender) => {
      send = sender;
    },
  };
  for (const [name, handler] of handlers) process.on(name, handler);
  try {
    const result = await runElf(options);
    say(result.message);
    if (flags.verbose === true) say(summary(result));
    return result.status;
  } finally {
    for (const [name, handler] of handlers) process.off(name, handler);
  }
}

type Kernel = typeof import('@visorkit/sandbox-kernel');
type Started = Parameters<NonNullable<RunElfOptions['onStart']>>[0];

/** What `--verbose` shows before the program runs. */
function beginning(kernel: Kernel, { code, mappings }: Started): string[] {
  const lines = mappings.map((mapping) => mappingLine(kernel, mapping));
  return ['program:', ...code.map((line) => `  ${line}`), 'memory:', ...lines];
}

function mappingLine({ rightsText, mappingName }: Kernel, mapping: Started['mappings'][number]): string {
  const { start, end, prot } = mapping;
  return `  ${start.toString(16).padStart(12, '0')}-${end.toString(16).padStart(12, '0')} ${rightsText(prot)} ${String((end - start) / 1024).padStart(8)} KiB  ${mappingName(mapping)}`;
}

/** What `--verbose` shows at the end. */
function summary({ report, systemCalls, unknownCalls, status }: RunElfResult): string[] {
  return [
    `status ${status}; ${systemCalls} system calls for the host; ${workOf(report)}`,
    'exits:',
    ...[...Object.entries(report.exits), ...Object.entries(report.statistics ?? {})].map(
      ([name, count]) => `${String(count).padStart(10)} ${name}`,
    ),
    ...(unknownCalls.length === 0
      ? []
      : [
          'system calls that are not served (ENOSYS):',
          ...unknownCalls.map(({ name, count }) => `${String(count).padStart(10)} ${name}`),
        ]),
  ];
}
