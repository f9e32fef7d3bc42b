/**
 * Subcommands that modules add to the command line: a module that a configuration or `--plugin` names may export `commands`, a list of
 * `defineCommand({ name, describe, run })`.
 */
import { dirname, resolve } from 'node:path';
import { checkFields, fail } from '@visorkit/core';
import type { Fields, PluginEntry } from '@visorkit/core';
import * as v from 'valibot';
import { findConfig, loadConfigModule } from './config.js';
import type { VmmConfig } from './config.js';
import { loadModule } from './modules.js';
import type { SharedModules } from './modules.js';

/** An argument or an option, as `--help` shows it. */
export interface CommandPart {
  /** An argument: `<file>` must be given, `[file]` may be, `[files...]` any number of times. An option: `--count <number>`, `--all`. */
  readonly form: string;
  readonly describe: string;
}

/** What a command is given. */
export interface CommandContext {
  /** In the order of the command's `arguments`; a repeatable one takes the rest. */
  readonly arguments: readonly string[];
  /** By name in camel case: text for an option with a value, true for one without. */
  readonly options: Readonly<Record<string, string | boolean>>;
  /**
   * Boots a guest as `visorkit run` does with these options (by name in camel case: `{ kernel: 'vmlinuz', time: 'virtual' }`) and with these
   * plugins besides, and resolves with the exit status.
   */
  run(
    options: Readonly<Record<string, string | boolean | readonly string[]>>,
    plugins?: readonly PluginEntry[],
  ): Promise<number>;
}

export interface CommandDefinition {
  readonly name: string;
  /** What it does, in a line. */
  readonly describe: string;
  readonly arguments?: readonly CommandPart[];
  readonly options?: readonly CommandPart[];
  /** The exit status, 0 unless it gives another. */
  run(context: CommandContext): number | void | Promise<number | void>;
}

/** Gives a subcommand its type; nothing else. */
export function defineCommand(command: CommandDefinition): CommandDefinition {
  return command;
}

const text = v.pipe(v.string(), v.minLength(1));
const parts = v.array(v.strictObject({ form: text, describe: v.string() }));

const COMMAND_FIELDS: Fields = {
  name: [v.pipe(text, v.regex(/^[a-z][a-z0-9-]*$/)), 'a word of small letters, digits and hyphens'],
  describe: [text, 'a line of text'],
  arguments: [parts, 'a list of { form, describe }, such as { form: "<file>", describe: "what to read" }'],
  options: [parts, 'a list of { form, describe }, such as { form: "--count <number>", describe: "how many" }'],
  run: [v.custom((value) => typeof value === 'function'), 'a function run({ arguments, options })'],
};

/**
 * The commands of the modules that `plugins` names (found from the folder `fromDir`), and of the configuration: `file`, or else the one
 * in that folder, if any. Throws SUBCOMMAND_SHAPE, and what loading a plugin or a configuration throws.
 */
export async function loadCommands(
  plugins: readonly string[],
  fromDir: string,
  file?: string,
  shared?: SharedModules,
): Promise<CommandDefinition[]> {
  const commands: CommandDefinition[] = [];
  const add = (module: Record<string, unknown>, where: string): void => {
    const { commands: given = [] } = module;
    if (!Array.isArray(given)) {
      fail(
        'SUBCOMMAND_SHAPE',
        `${where} exports "commands", which must be a list of defineCommand({ name, describe, run }).`,
        { file: where },
      );
    }
    for (const command of given as unknown[]) commands.push(checked(command, where));
  };
  const config = file === undefined ? findConfig(fromDir) : resolve(fromDir, file);
  if (config !== undefined) {
    const module = await loadConfigModule(config, shared);
    add(module, config);
    const { plugins: listed = [] } = module.default as VmmConfig;
    for (const entry of Array.isArray(listed) ? listed : []) {
      const named: unknown = typeof entry === 'object' && 'plugin' in entry ? entry.plugin : entry;
      if (typeof named !== 'string') continue;
      const loaded = await loadModule(named, dirname(config), shared);
      add(loaded.module, loaded.file);
    }
  }
  for (const specifier of plugins) {
    const loaded = await loadModule(specifier, fromDir, shared);
    add(loaded.module, loaded.file);
  }
  return commands;
}

function checked(command: unknown, file: string): CommandDefinition {
  const given = (typeof command === 'object' && command !== null ? command : {}) as Partial<CommandDefinition>;
  checkFields(given, COMMAND_FIELDS, {
    code: 'SUBCOMMAND_SHAPE',
    kind: 'a field of a command',
    where: `In a command of ${file}: `,
  });
  for (const required of ['name', 'describe', 'run'] as const) {
    if (given[required] === undefined) {
      fail(
        'SUBCOMMAND_SHAPE',
        `In a command of ${file}: "${required}" is missing; it must be ${COMMAND_FIELDS[required][1]}.`,
        { file },
      );
    }
  }
  return given as CommandDefinition;
}
