/** Subcommands that come from outside: from the modules that the configuration or `--plugin` names. */
import { VisorkitError, fail, instead, isVisorkitError } from '@visorkit/core';
import type { CommandContext, CommandDefinition } from '@visorkit/project';
import { findConfig, loadCommands } from '@visorkit/project';
import type { Command } from 'commander';
import { settled } from './run-machine.js';
import { sharedModules } from './shared-modules.js';

/** Options of the command line that stand before the command. */
export interface GlobalFlags {
  plugin?: string[];
  config?: string;
}

/** Adds them to the command line. Throws what loading them throws, and SUBCOMMAND_CONFLICT. */
export async function addOutsideCommands(
  program: Command,
  { plugin = [], config }: GlobalFlags,
  end: (status: number) => void,
): Promise<void> {
  if (plugin.length === 0 && config === undefined && findConfig(process.cwd()) === undefined) return;
  const commands = await settled(
    loadCommands(plugin, process.cwd(), config, sharedModules),
    'a module with commands does, while it is loaded',
  );
  for (const command of commands) {
    if (program.commands.some((other) => other.name() === command.name)) {
      fail('SUBCOMMAND_CONFLICT', `There are two commands called "${command.name}"; leave one of them out.`, {
        command: command.name,
      });
    }
    add(program, command, end);
  }
}

function add(program: Command, command: CommandDefinition, end: (status: number) => void): void {
  const made = program.command(command.name).description(command.describe);
  try {
    for (const { form, describe } of command.arguments ?? []) made.argument(form, describe);
    for (const { form, describe } of command.options ?? []) made.option(form, describe);
  } catch (error) {
    throw new VisorkitError(
      'SUBCOMMAND_SHAPE',
      `The command ${command.name} has an argument or option of a wrong form: ${(error as Error).message}. Right forms are <file>, [file], [files...] for arguments, --name and --name <value> for options.`,
      { command: command.name },
      error,
    );
  }
  made.action(async (...given: unknown[]) => {
    // What commander gives: each argument (undefined when left out, a list for the last that repeats), the options, itself
    const options = given.at(-2) as CommandContext['options'];
    const words = given.slice(0, -2).flat() as (string | undefined)[];
    const context: CommandContext = {
      arguments: words.filter((word) => word !== undefined),
      options,
      run: async (flags, plugins) => {
        checkRunOptions(program, Object.keys(flags));
        return (await import('./run-command.js')).runCommand(flags, plugins);
      },
    };
    end(await statusOf(command, context));
  });
}

/** Refuses what is no option of `run`. Throws COMMAND_LINE. */
function checkRunOptions(program: Command, given: readonly string[]): void {
  const run = program.commands.find((command) => command.name() === 'run');
  const known = (run?.options ?? []).map((option) => option.attributeName());
  const wrong = given.find((name) => !known.includes(name));
  if (wrong === undefined) return;
  const hint = instead(wrong, known);
  fail('COMMAND_LINE', `"${wrong}" is no option of run${hint}${hint.endsWith('?') ? '' : '.'}`, { option: wrong });
}

async function statusOf(command: CommandDefinition, context: CommandContext): Promise<number> {
  let status: unknown;
  try {
    status = await settled(Promise.resolve(command.run(context)), `the command ${command.name} does`);
  } catch (error) {
    if (isVisorkitError(error)) throw error;
    throw new VisorkitError(
      'SUBCOMMAND_FAILED',
      `The command ${command.name} failed: ${error instanceof Error ? error.message : String(error)}`,
      { command: command.name },
      error,
    );
  }
  if (status === undefined) return 0;
  if (typeof status === 'number' && Number.isInteger(status) && status >= 0 && status <= 255) return status;
  return fail(
    'SUBCOMMAND_FAILED',
    `The command ${command.name} returned ${String(status)} as its exit status; it must be a whole number from 0 to 255, or nothing.`,
    { command: command.name },
  );
}
