/** How the factories of plugins look at the options they are given. */
import { checkFields, fail, show } from '@visorkit/core';
import type { Fields } from '@visorkit/core';
import * as v from 'valibot';

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

/** Schema of an object with a method of this name, as services are that a caller gives: an output has `write`. */
export const objectWith = (method: string): v.GenericSchema =>
  v.custom((value) => typeof (value as Record<string, unknown> | null | undefined)?.[method] === 'function');

/** Schema of a whole number from `least` to `most`. */
export const wholeNumber = (least: number, most: number): v.GenericSchema =>
  v.pipe(v.number(), v.safeInteger(), v.minValue(least), v.maxValue(most));
