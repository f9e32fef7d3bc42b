/** The command line. Each command is loaded when it is asked for: a program in the sandbox does not wait for boot loaders. */
import { readFileSync } from 'node:fs';
import { VisorkitError, describeError } from '@visorkit/core';
import { Command, CommanderError } from 'commander';
import type { ExecFlags } from './exec-command.js';
import { useKeptProcessor } from './kept-processor.js';
import type { GlobalFlags } from './outside-commands.js';
export { leave } from './leaving.js';
import { addRunOptions, collect } from './run-flags.js';
import type { RunFlags } from './run-flags.js';
import { addTraceOptions } from './trace-flags.js';
import type { TraceFlags } from './trace-flags.js';
import { errorText } from './report-output.js';
import { writeAll } from './serial.js';
import type { VmiFlags } from './vmi-command.js';
import { STATUS_NOT_STARTED, STATUS_TABLE, statusOf } from './statuses.js';

/** Commands that are built in. */
const OWN: readonly string[] = ['run', 'trace', 'ept', 'exec', 'vmi', 'demo', 'doctor'];

/** The version of this package, which `changeset version` writes. */
function ownVersion(): string {
  const manifest = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  return (JSON.parse(manifest) as { version: string }).version;
}

/**
 * `end` is told a command's status, and `endGuest` that of one that ran a guest. With `only`, the other commands have neither options nor actions: to make them takes
 * longer than to read the arguments.
 */
function program(end: (status: number) => void, endGuest: (status: number) => void, only?: string): Command {
  const wants = (name: string): boolean => only === undefined || only === name;
  const command = new Command('visorkit')
    .description('Virtual machines assembled from packages.')
    .version(ownVersion())
    .configureOutput({
      writeOut: (text) => writeAll(1, Buffer.from(text)),
      writeErr: (text) => writeAll(2, Buffer.from(text)),
      outputError: () => {}, // main prints it, as it does with every other error
    })
    .exitOverride()
    .enablePositionalOptions()
    .option(
      '--plugin <path or package>',
      'where more commands come from (repeatable); run takes its plugins too',
      collect,
    )
    .option('--config <file>', 'configuration file (default visorkit.config.ts or .mjs, if there is one)')
    .addHelpText(
      'after',
      `\nExit status:\n${STATUS_TABLE.map(([status, meaning]) => `  ${String(status).padStart(3)}  ${meaning}`).join('\n')}`,
    );
  /** Options that stand before the command count as if they were given to it. */
  const withGlobal = <Flags extends Pick<RunFlags, 'plugin' | 'config'>>(flags: Flags): Flags => {
    const { plugin = [], config } = command.opts<GlobalFlags>();
    flags.plugin = [...plugin, ...(flags.plugin ?? [])];
    flags.config ??= config;
    return flags;
  };
  const run = command.command('run').description('boot an image; its format is told by its content');
  if (wants('run')) {
    addRunOptions(run).action(async (flags: RunFlags) =>
      endGuest(await (await import('./run-command.js')).runCommand(withGlobal(flags))),
    );
  }
  const trace = command.command('trace').description('boot an image as run does, and show what makes it exit');
  if (wants('trace')) {
    addRunOptions(addTraceOptions(trace), { serial: 'none' }).action(async (flags: TraceFlags) =>
      endGuest(await (await import('./trace-command.js')).traceCommand(withGlobal(flags))),
    );
  }
  const ept = command
    .command('ept')
    .description('boot an image as run does, and show its EPT tables when the run ends');
  if (wants('ept')) {
    addRunOptions(ept, { serial: 'none' }).action(async (flags: RunFlags) =>
      endGuest(await (await import('./ept-command.js')).eptCommand(withGlobal(flags))),
    );
  }
  const exec = command
    .command('exec')
    .description(
      'run a Linux program in a virtual machine of its own; it sees nothing of this machine but what it is given',
    );
  if (wants('exec')) addExec(exec, endGuest);
  const vmi = command
    .command('vmi')
    .description(
      'look into a guest: a dump, a running VM, or one that is started for it with the options of run; without a tool, the list of tools',
    );
  if (wants('vmi')) {
    addRunOptions(addVmiOptions(vmi), { serial: 'none', profile: false }).action(
      async (tool: string | undefined, args: string[], flags: VmiFlags) =>
        end(await (await import('./vmi-command.js')).vmiCommand(tool, args, withGlobal(flags))),
    );
  }
  command
    .command('demo')
    .description("boot Debian's kernel: a shell on a terminal, a self-check without one")
    .option('--memory <size>', 'RAM (default 256M)')
    .option('--backend <name>', 'vmx (default), kvm, or the path or package of another')
    .action(async (flags: { memory?: string; backend?: string }) =>
      endGuest(await (await import('./demo-command.js')).demoCommand(flags)),
    );
  command
    .command('doctor')
    .description('say what this machine can do')
    .option('--json', 'as JSON')
    .action(async (flags: { json?: boolean }) => end(await (await import('./doctor-command.js')).doctorCommand(flags)));
  return command;
}

function addExec(command: Command, end: (status: number) => void): void {
  command
    .argument('<program>', 'an x86-64 ELF program; a dynamic one needs its libraries in a mount')
    .argument('[args...]', 'its arguments')
    .passThroughOptions()
    .option('--mount <host:guest[:ro]>', 'a folder that it may see (repeatable)', collect)
    .option(
      '--env <name=value>',
      "a variable of its environment; NAME alone passes on this shell's (repeatable)",
      collect,
    )
    .option('--cwd <folder>', 'its working directory, in the sandbox (default /)')
    .option('--memory <size>', 'its RAM, as 256M or 1G (default 256M)')
    .option('--timeout <seconds>', 'end it after so many seconds, with status 124')
    .option('--max-output <size>', 'end it when it writes more to its outputs, with status 153')
    .option('--max-written <size>', 'what it may write to files; more fails in the program with EDQUOT')
    .option('--max-files <count>', 'files, folders and links that it may make, in the same way')
    .option('--max-processes <count>', 'processes that may live at once (default 128); fork fails beyond it')
    .option('--backend <name>', 'vmx (default), kvm, or the path or package of another')
    .option(
      '--translate <when>',
      'on, off, verify, or after how many executions a block is translated to WebAssembly (vmx)',
    )
    .option('--time <kind>', 'real or virtual (default real)')
    .option('--strace', 'show its system calls')
    .option('--verbose', 'show its first instructions, its memory, and what made the machine exit')
    .action(async (program: string, args: string[], flags: ExecFlags) =>
      end(await (await import('./exec-command.js')).execCommand(program, args, flags)),
    );
}

const addVmiOptions = (command: Command): Command =>
  command
    .argument('[tool]', 'what to show')
    .argument('[args...]', 'what the tool needs')
    .option('--dump <file>', 'a memory dump or a saved VM, recognised by its content')
    .option('-s, --socket <path>', 'a running VM, started with "run --introspector <path>"')
    .option('--pid <number>', 'of this process only, where that makes a difference (repeatable)', collect)
    .option('--profile <path or package>', 'an OS profile from elsewhere (repeatable)', collect)
    .option(
      '--symbols <file>',
      'what the guest does not say itself: System.map, ISF, Rekall, PDB, vmlinux, libvmi.conf (repeatable)',
      collect,
    )
    .option('--json', 'a line of JSON for each row')
    .option('--count <number>', 'end after so many rows');

/**
 * Turns a message of commander ("error: unknown option '--foo'", with a suggestion on another line) into a sentence in
 * our style.
 */
function usageSentence(message: string): string {
  const [what, ...guesses] = message.replace(/^error: /, '').split('\n');
  return `${what[0].toUpperCase()}${what.slice(1).replace(/\.$/, '')}.${guesses.map((guess) => ` ${guess.replace(/^\(|\)$/g, '')}`).join('')} "visorkit help" lists the commands, "visorkit help run" the options of run.`;
}

/**
 * The options before the command, and whether outside commands are needed: for a command that is not built in, and for a list of all.
 * Help is printed even if they cannot be loaded.
 */
function outside(
  argv: readonly string[],
): GlobalFlags & { wanted: boolean; forHelp: boolean; first: string | undefined } {
  const flags: { plugin: string[]; config?: string } = { plugin: [] };
  const words = argv.slice(2);
  let first: string | undefined;
  for (let at = 0; at < words.length && first === undefined; at++) {
    const [, name, inline] = /^--(plugin|config)(?:=(.*))?$/s.exec(words[at]) ?? [];
    const value = name === undefined ? undefined : (inline ?? words[++at]);
    if (value === undefined) first = words[at];
    else if (name === 'plugin') flags.plugin.push(value);
    else flags.config = value;
  }
  const forHelp = first === undefined || ['help', '--help', '-h'].includes(first);
  const wanted = forHelp ? !OWN.includes(words.at(-1) ?? '') : !first!.startsWith('-') && !OWN.includes(first!);
  return { ...flags, wanted, forHelp, first };
}

/** Runs the command line and sets the process's status. Resolves with whether a guest has run. */
export async function main(argv: readonly string[]): Promise<boolean> {
  useKeptProcessor();
  let ranGuest = false;
  const end = (status: number): void => {
    process.exitCode = status;
  };
  const endGuest = (status: number): void => {
    ranGuest = true;
    end(status);
  };
  try {
    const { wanted, forHelp, first, ...flags } = outside(argv);
    const command = program(
      end,
      endGuest,
      OWN.find((name) => name === first),
    );
    if (wanted) {
      try {
        await (await import('./outside-commands.js')).addOutsideCommands(command, flags, end);
      } catch (error) {
        if (!forHelp) throw error;
        writeAll(2, Buffer.from(`visorkit: more commands cannot be listed: ${describeError(error)}\n`));
      }
    }
    await command.parseAsync(argv);
  } catch (thrown) {
    // Help and version are not errors. When commander prints the help on its own, arguments are missing
    if (thrown instanceof CommanderError && (thrown.exitCode === 0 || thrown.code === 'commander.help')) {
      process.exitCode = thrown.exitCode === 0 ? 0 : STATUS_NOT_STARTED;
      return ranGuest;
    }
    const error =
      thrown instanceof CommanderError ? new VisorkitError('COMMAND_LINE', usageSentence(thrown.message)) : thrown;
    writeAll(2, Buffer.from(`${errorText(error)}\n`));
    process.exitCode = statusOf(error);
  }
  return ranGuest;
}
