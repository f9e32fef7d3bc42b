/**
 * Loads plugins by path or by package name: a folder with a package.json, a .mjs, .js or .ts file, or an npm package.
 * The module's default export (or its export `plugin`) is a plugin, a list of them, or a function that makes one
 * from the options. A module that exports `commands` alone has no plugin.
 */
import { VisorkitError, fail } from '@visorkit/core';
import type { Plugin, PluginEntry } from '@visorkit/core';
import { defaultOf, loadModule } from './modules.js';
import type { SharedModules } from './modules.js';

/**
 * Loads what `specifier` names, seen from the folder `fromDir`. `options` go to the plugin.
 * Throws PLUGIN_NOT_FOUND, PLUGIN_ENTRY, PLUGIN_LOAD or PLUGIN_SHAPE.
 */
export async function loadPlugin(
  specifier: string,
  fromDir: string,
  options?: Readonly<Record<string, unknown>>,
  shared?: SharedModules,
): Promise<PluginEntry[]> {
  const { file, module } = await loadModule(specifier, fromDir, shared);
  let made = defaultOf(module) ?? module.plugin;
  if (made === undefined && 'commands' in module) return [];
  if (isFactory(made)) {
    if (/^class\b/.test(Function.prototype.toString.call(made))) {
      fail(
        'PLUGIN_SHAPE',
        `${file} exports the class ${made.name}; export default an object { name, apply(host, used) {} }, or a function that returns one.`,
        { specifier, file },
      );
    }
    try {
      made = await made(options ?? {});
    } catch (error) {
      throw new VisorkitError(
        'PLUGIN_LOAD',
        `Plugin ${specifier} could not be made: ${error instanceof Error ? error.message : String(error)}`,
        { specifier, file },
        error,
      );
    }
  }
  const list = Array.isArray(made) ? (made as unknown[]) : [made];
  return list.map((plugin) => {
    if (!isPlugin(plugin)) {
      fail(
        'PLUGIN_SHAPE',
        `${file} exports ${made === undefined ? 'neither "default" nor "plugin"' : 'something that is no plugin'}; export default an object { name, apply(host, used) {} }, or a function that returns one.`,
        { specifier, file },
      );
    }
    return options === undefined ? plugin : { plugin, options };
  });
}

function isFactory(value: unknown): value is (options: object) => unknown {
  return typeof value === 'function';
}

function isPlugin(value: unknown): value is Plugin {
  return typeof value === 'object' && value !== null && typeof (value as Plugin).name === 'string';
}
