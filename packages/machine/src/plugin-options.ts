/** How the factories of plugins look at the options they are given. */
import { checkFields, fail, show } from '@visorkit/core';
import type { Fields } from '@visorkit/core';

/**
 * Checks the options of the factory called `factory`: each must be one of `fields` and right. Throws `PLUGIN_OPTIONS` with
 * every fault, and for an unknown key the nearest one that exists.
 */
export function checkPluginOptions(factory: string, options: object, fields: Fields): void {
  if (typeof options !== 'object' || options === null) {
    fail('PLUGIN_OPTIONS', `${factory}() takes an object of options, not ${show(options)}.`, { factory });
  }
  checkFields(options, fields, { code: 'PLUGIN_OPTIONS', kind: `an option of ${factory}`, where: `In ${factory}(): ` });
}
