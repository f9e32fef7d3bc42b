/** `visorkit run`: boots an image on a PC. */
import { readFileSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { fail, loadPlugin, loadProject, silentLogSink, stderrLogSink } from '@visorkit/core';
import type { LogLevel, PluginEntry, StopReport } from '@visorkit/core';
import type { BootModule, BootOptions } from '@visorkit/machine';
import { assemble, BACKENDS } from './assemble.js';
import { parseProcessor } from './processor.js';
import { openOutput, openSerial, writeAll } from './serial.js';
import { sharedModules } from './shared-modules.js';
import { seconds, size, whole, word } from './values.js';

/** Options as commander gives them: text, or absent. */
export interface RunFlags {
  kernel?: string;
  initrd?: string;
  module?: string[];
  append?: string;
  memory?: string;
  cpus?: string;
  cpu?: string;
  backend?: string;
  plugin?: string[];
  serial?: string;
  debugcon?: string;
  debugExit?: boolean;
  time?: string;
  maxInstructions?: string;
  timeout?: string;
  report?: string;
  config?: string;
  loader?: string;
  address?: string;
  mode?: string;
  entry?: string;
  log?: string;
  verbose?: boolean;
}

function readImage(option: string, path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why = code === 'ENOENT' ? 'there is no such file' : code === 'EISDIR' ? 'it is a folder' : code === 'EACCES' ? 'it may not be read' : (error as Error).message;
    return fail('FILE_UNREADABLE', `${option} names ${path}, but ${why}.`, { option, path });
  }
}

/** A module is `PATH` or `PATH ARGUMENTS`, as with QEMU's -initrd for multiboot. */
function readModules(flags: RunFlags): BootModule[] {
  const modules: BootModule[] = [];
  if (flags.initrd !== undefined) modules.push({ name: basename(flags.initrd), data: readImage('--initrd', flags.initrd) });
  for (const text of flags.module ?? []) {
    const [path, ...rest] = text.split(' ');
    modules.push({ name: [path, ...rest].join(' '), data: readImage('--module', path) });
  }
  return modules;
}

/** What the loader is told beyond the image. */
function loaderOptions(flags: RunFlags): Record<string, unknown> {
  const options: Record<string, unknown> = {};
  if (flags.address !== undefined) options.address = whole('--address', flags.address, 0, 0xffff_ffff);
  if (flags.mode !== undefined) options.mode = word('--mode', flags.mode, ['real16', 'protected32', 'long64']);
  if (flags.entry !== undefined) options.entry = word('--entry', flags.entry, ['32', '64']) === '32' ? 32 : 64;
  return options;
}

const LOG_LEVELS: readonly (LogLevel | 'none')[] = ['debug', 'info', 'warn', 'error', 'none'];

/** Runs a guest; resolves with the status the process is to end with. */
export async function runCommand(flags: RunFlags): Promise<number> {
  const shared = await sharedModules();
  const project = await loadProject(process.cwd(), flags.config, shared);
  const config = project?.config;
  const kernel = flags.kernel ?? config?.kernel;
  if (kernel === undefined) fail('OPTION_MISSING', 'Nothing to run: name an image with --kernel, or in a visorkit.config.ts.', { option: '--kernel' });
  const plugins: PluginEntry[] = [...(project?.plugins ?? [])];
  for (const specifier of flags.plugin ?? []) plugins.push(...(await loadPlugin(specifier, process.cwd(), undefined, shared)));
  const memory = size('--memory', flags.memory ?? String(config?.memory ?? '256M'));
  const cpus = whole('--cpus', flags.cpus ?? String(config?.cpus ?? 1), 1, 64);
  const processor = flags.cpu ?? config?.cpu;
  const backend = word('--backend', flags.backend ?? config?.backend ?? 'vmx', BACKENDS);
  const time = word('--time', flags.time ?? config?.time ?? 'real', ['real', 'virtual'] as const);
  const log = word('--log', flags.log ?? 'info', LOG_LEVELS);
  const maxInstructions = flags.maxInstructions === undefined ? config?.maxInstructions : whole('--max-instructions', flags.maxInstructions, 1, Number.MAX_SAFE_INTEGER);
  const timeout = flags.timeout === undefined ? config?.timeout : seconds('--timeout', flags.timeout);
  const commandLine = flags.append ?? config?.append ?? '';
  const image = readImage('--kernel', kernel);
  const boot: BootOptions = {
    image, imageName: kernel, commandLine, modules: readModules({ ...flags, initrd: flags.initrd ?? config?.initrd, module: flags.module ?? config?.modules }),
    options: { ...config?.loaderOptions, ...loaderOptions(flags) },
    ...((flags.loader ?? config?.loader) === undefined ? {} : { loader: flags.loader ?? config?.loader }),
  };
  const leaving = new AbortController();
  const serial = openSerial(flags.serial ?? config?.serial ?? 'stdio', () => leaving.abort());
  const debugcon = openOutput('--debugcon', flags.debugcon ?? 'none');
  // Ctrl-C reaches us only when the terminal is not ours (input from a pipe): end the run, not the process
  const onInterrupt = (): void => leaving.abort();
  process.on('SIGINT', onInterrupt);
  let report: StopReport;
  try {
    const vmm = assemble({
      backend, memory, cpus, ...(processor === undefined ? {} : { processor: parseProcessor(processor) }), time, boot, plugins, log: log === 'none' ? silentLogSink : stderrLogSink(log), onReset: config?.onReset ?? 'stop',
      console: { output: serial.output, ...(serial.input === undefined ? {} : { input: serial.input }) },
      debugConsole: debugcon.output, debugExit: flags.debugExit ?? config?.debugExit ?? false,
    });
    await using machine = vmm;
    report = await machine.run({
      ...(maxInstructions === undefined ? {} : { maxInstructions }), ...(timeout === undefined ? {} : { timeout }), signal: leaving.signal,
    });
  } finally {
    process.off('SIGINT', onInterrupt);
    serial.close();
    debugcon.close();
  }
  tell(report, flags.verbose ?? false);
  const target = flags.report ?? config?.report;
  if (target !== undefined) writeReport(target, report);
  return report.exitStatus;
}

/** Says on standard error what a user wants to know of a run that did not just end well. */
export function tell(report: StopReport, verbose: boolean): void {
  if (report.exitStatus === 0 ? !verbose : report.reason === 'exit' && !verbose) return;
  const lines = [`visorkit: ${report.why}`];
  if (report.error !== undefined) lines.push(`  ${report.error.code}: ${report.error.message}`, ...(report.error.causes ?? []).map((cause) => `  ${cause}`));
  if (report.failure !== undefined) {
    const { failure } = report;
    lines.push(`  exit ${failure.exit.name} (${failure.exit.reason}), qualification ${failure.exit.qualification}`);
    if (failure.plugin !== undefined) lines.push(`  plugin ${failure.plugin}`);
    lines.push(...failure.code.map((line) => `  ${line}`));
    if (failure.suggestion !== undefined) lines.push(`  ${failure.suggestion}`);
  }
  if (verbose) {
    lines.push(`  ${report.guestInstructions} instructions, ${report.wallSeconds} s, ${report.mips} MIPS`);
    for (const [name, count] of Object.entries(report.exits)) lines.push(`  ${String(count).padStart(10)} ${name}`);
  }
  writeAll(2, Buffer.from(`${lines.join('\n')}\n`));
}

function writeReport(target: string, report: StopReport): void {
  const text = `${JSON.stringify(report, (_key, value: unknown) => (typeof value === 'bigint' ? `0x${value.toString(16)}` : value), 2)}\n`;
  if (target === '-') writeAll(1, Buffer.from(text));
  else {
    try {
      writeFileSync(target, text);
    } catch (error) {
      fail('REPORT_FILE', `The report cannot be written to ${target}: ${(error as Error).message}.`, { path: target });
    }
  }
}
