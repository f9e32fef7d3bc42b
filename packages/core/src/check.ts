/**
 * Checks of what callers give: options, declarations of plugins, saved states. One way for all of them, also for callers
 * in JavaScript: each field has a schema (valibot) and the words for what it must be, and every fault is a sentence with
 * the value, what would be right, and for a name that does not exist the nearest one that does.
 */
import { closest, distance } from 'fastest-levenshtein';
import * as v from 'valibot';
import { VisorkitError } from './errors.js';

/** The schema of a field, and how to say what it must be: `[v.picklist(['real', 'virtual']), '"real" or "virtual"']`. */
export type Field = readonly [schema: v.GenericSchema, right: string];
export type Fields = Readonly<Record<string, Field>>;

/** A fault that a check found. */
export interface Fault {
  /** Path of the field: `needs.primary[0]`. */
  readonly key: string;
  readonly message: string;
}

/** What the error says about the object that is checked. */
export interface Checked {
  /** Code of the error. */
  readonly code: string;
  /** What the object is called: `an option of compose`, `a key of a configuration`. */
  readonly kind: string;
  /** Begins the sentence: `In compose(): `. */
  readonly where: string;
}

/** Throws an error of `code` with every fault unless each field of `value` is known and right. */
export function checkFields(value: object, fields: Fields, { code, kind, where }: Checked): void {
  const faults = faultsOf(value, fields, kind);
  if (faults.length === 0) return;
  const sentence = faults.map(({ message }) => message).join('. ');
  throw new VisorkitError(code, `${where}${sentence}${sentence.endsWith('?') ? '' : '.'}`, { faults });
}

/** Every fault of an object. A field that is `undefined` counts as left out. */
export function faultsOf(value: object, fields: Fields, kind: string): Fault[] {
  const faults: Fault[] = [];
  for (const [key, given] of Object.entries(value)) {
    if (given === undefined) continue;
    const field = Object.hasOwn(fields, key) ? fields[key] : undefined;
    if (field === undefined) {
      faults.push({ key, message: `"${key}" is not ${kind}${instead(key, Object.keys(fields))}` });
      continue;
    }
    const result = v.safeParse(field[0], given, { abortEarly: true });
    if (result.success) continue;
    const issue = result.issues[0];
    const path = pathOf(issue.path);
    const at = path === '' ? given : issue.input;
    faults.push({
      key: key + path,
      message: `"${key}${path}" is ${show(at)}; ${path === '' ? 'it' : `"${key}"`} must be ${field[1]}`,
    });
  }
  return faults;
}

/** Checks one value. Throws an error of `code` that says where in `what` it is wrong; gives the value. */
export function checkValue<T>(schema: v.GenericSchema<unknown, T>, value: unknown, code: string, what: string): T {
  const fault = faultIn(schema, value);
  if (fault === undefined) return value as T;
  throw new VisorkitError(code, `${what} is damaged: ${fault.message}.`, { path: fault.key });
}

/** The first field of a value that does not fit, with its value and what would be right; `key` is '' for the value itself. */
export function faultIn(schema: v.GenericSchema, value: unknown): Fault | undefined {
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) return undefined;
  const { input, message, expected, path } = result.issues[0];
  const key = pathOf(path).replace(/^\./, '');
  const field = key === '' ? 'it' : `"${key}"`;
  if (expected === 'never') return { key, message: `${field} is not a known field` };
  if (input === undefined) return { key, message: `${field} is missing` };
  const right = /^Invalid /.test(message) ? (TYPES[expected ?? ''] ?? expected) : message;
  return { key, message: `${field} is ${show(input)}; it must be ${right}` };
}

/** valibot's names of types, in words. A schema with words of its own has them as its message. */
const TYPES: Readonly<Record<string, string>> = { boolean: 'true or false', Object: 'an object', Array: 'a list' };

/** A path of valibot's as code has it: `.registers[3]`. */
const pathOf = (path: readonly v.IssuePathItem[] = []): string =>
  path.map(({ key }) => (typeof key === 'number' ? `[${key}]` : `.${String(key)}`)).join('');

/** `; did you mean "plugins"?`, or the list of what there is. */
export function instead(word: string, words: readonly string[]): string {
  const near = nearest(word, words);
  if (near !== undefined) return `; did you mean "${near}"?`;
  return words.length <= 24 ? `; there is ${words.join(', ')}` : '';
}

/** The word nearest to `word`, if one is near: two letters put in, left out or changed, or four of a long word. */
export function nearest(word: string, words: readonly string[]): string | undefined {
  if (words.length === 0) return undefined;
  const low = word.toLowerCase();
  const byLowerCase = new Map(words.map((other) => [other.toLowerCase(), other]));
  const found = closest(low, [...byLowerCase.keys()]);
  const near = distance(low, found) <= (Math.min(low.length, found.length) > 10 ? 4 : 2);
  return near ? byLowerCase.get(found) : undefined;
}

/** A value as it may be shown in a sentence. */
export function show(value: unknown): string {
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'bigint') return `${value}n`;
  let shown: string;
  try {
    shown = JSON.stringify(value) ?? String(value);
  } catch {
    shown = Object.prototype.toString.call(value);
  }
  return shown.length > 80 ? `${shown.slice(0, 77)}...` : shown;
}
