/**
 * Filter expressions over the fields of an event: `reason == "cpuid" && rip >= 0xffffffff81000000`, `kind == io && address in [0x3f8, 0x3f9]`.
 *
 *     or      := and ( "||" and )*
 *     and     := not ( "&&" not )*
 *     not     := "!" not | compare
 *     compare := bits ( ("==" | "!=" | "<" | "<=" | ">" | ">=" | "~") bits | "in" "[" bits ( "," bits )* "]" )?
 *     bits    := value ( "&" value )*
 *     value   := number | text | field | "(" or ")"
 *
 * Nothing of it is JavaScript that is evaluated: an expression becomes functions of this file. A word that is no field is text, if it is one that
 * fields have: an exit reason, a kind, an outcome. A comparison with a field that the event does not have is false. `~` compares with a pattern in which `*` is any text.
 */
import { fail, instead } from '@visorkit/core';
import { EXIT_NAMES } from '@visorkit/x86';
import { TRACE_FIELDS, TRACE_KINDS, TRACE_OUTCOMES, traceField } from './record.js';
import type { TraceFieldName, TraceRecord } from './record.js';

/** A filter, and the fields that it looks at. */
export interface TraceFilter {
  readonly fields: ReadonlySet<TraceFieldName>;
  matches(record: TraceRecord): boolean;
}

/** Throws `TRACE_FILTER`, with the place, for what is no expression. */
export function traceFilter(text: string): TraceFilter {
  return new Parser(text).parse();
}

type Value = string | number | bigint | boolean | readonly unknown[] | undefined;
type Part = (record: TraceRecord) => Value;

const TOKEN =
  /\s*(?:(?<number>0x[0-9a-f]+|\d+)(?![\w-])|(?<text>"[^"]*"|'[^']*')|(?<word>[a-z_][\w-]*)|(?<sign>\|\||&&|==|!=|<=|>=|[<>~!&()[\],]))/iy;
/** Parentheses and negations within one another. */
const DEEPEST = 64;

interface Word {
  readonly kind: 'number' | 'text' | 'word' | 'sign' | 'end';
  readonly text: string;
  readonly at: number;
}

class Parser {
  readonly #words: Word[] = [];
  readonly #fields = new Set<TraceFieldName>();
  #next = 0;
  #depth = 0;

  constructor(private readonly source: string) {
    TOKEN.lastIndex = 0;
    let at = 0;
    while (source.slice(at).trim() !== '') {
      TOKEN.lastIndex = at;
      const found = TOKEN.exec(source);
      if (found === null) this.#refuse(`"${source.slice(at).trim()}" cannot be read`, at);
      const [kind, text] = Object.entries(found!.groups!).find(([, part]) => part !== undefined)!;
      this.#words.push({ kind: kind as Word['kind'], text, at: TOKEN.lastIndex - text.length });
      at = TOKEN.lastIndex;
    }
    this.#words.push({ kind: 'end', text: '', at: source.length });
  }

  parse(): TraceFilter {
    const whole = this.#or();
    if (this.#word.kind !== 'end') this.#refuse(`"${this.#word.text}" is more than one expression`, this.#word.at);
    return { fields: this.#fields, matches: (record) => isTrue(whole(record)) };
  }

  get #word(): Word {
    return this.#words[this.#next];
  }

  /** Steps over the sign, if it is there. */
  #take(...signs: readonly string[]): string | undefined {
    const { kind, text } = this.#word;
    if ((kind !== 'sign' && !(kind === 'word' && text === 'in')) || !signs.includes(text)) return undefined;
    this.#next++;
    return text;
  }

  #or(): Part {
    const parts = [this.#and()];
    while (this.#take('||') !== undefined) parts.push(this.#and());
    return parts.length === 1 ? parts[0] : (record) => parts.some((part) => isTrue(part(record)));
  }

  #and(): Part {
    const parts = [this.#not()];
    while (this.#take('&&') !== undefined) parts.push(this.#not());
    return parts.length === 1 ? parts[0] : (record) => parts.every((part) => isTrue(part(record)));
  }

  #not(): Part {
    if (this.#take('!') === undefined) return this.#compare();
    const part = this.#deeper(() => this.#not());
    return (record) => !isTrue(part(record));
  }

  #compare(): Part {
    const left = this.#bits();
    const sign = this.#take('==', '!=', '<', '<=', '>', '>=', '~', 'in');
    if (sign === undefined) return left;
    if (sign === 'in') return this.#oneOf(left);
    const right = this.#bits();
    const compare = COMPARISONS[sign];
    return (record) => {
      const a = left(record),
        b = right(record);
      return a !== undefined && b !== undefined && compare(a, b);
    };
  }

  #oneOf(left: Part): Part {
    this.#expect('[');
    const parts = [this.#bits()];
    while (this.#take(',') !== undefined) parts.push(this.#bits());
    this.#expect(']');
    return (record) => {
      const value = left(record);
      return value !== undefined && parts.some((part) => equal(value, part(record)));
    };
  }

  #bits(): Part {
    let part = this.#value();
    while (this.#take('&') !== undefined) {
      const left = part,
        right = this.#value();
      part = (record) => bitsOf(left(record), right(record));
    }
    return part;
  }

  #value(): Part {
    if (this.#take('(') !== undefined) {
      const part = this.#deeper(() => this.#or());
      this.#expect(')');
      return part;
    }
    const { kind, text, at } = this.#word;
    this.#next++;
    if (kind === 'number') return constant(numberOf(text));
    if (kind === 'text') return constant(text.slice(1, -1));
    if (kind === 'word') return this.#named(text, at);
    return this.#refuse(kind === 'end' ? 'it ends where a value is due' : `"${text}" stands where a value is due`, at);
  }

  #named(word: string, at: number): Part {
    const field = traceField(word);
    if (field !== undefined) {
      const { name } = field;
      this.#fields.add(name);
      return (record) => record[name];
    }
    if (word === 'true' || word === 'false') return constant(word === 'true');
    if (WORDS.has(word)) return constant(word);
    const known = [...TRACE_FIELDS.map(({ name }) => name), ...WORDS];
    return this.#refuse(`there is no field "${word}"${instead(word, known)}`, at);
  }

  #expect(sign: string): void {
    const { kind, text, at } = this.#word;
    if (this.#take(sign) === undefined)
      this.#refuse(`a "${sign}" is missing ${kind === 'end' ? 'at the end' : `before "${text}"`}`, at);
  }

  #deeper<T>(inner: () => T): T {
    if (++this.#depth > DEEPEST)
      this.#refuse(`it goes deeper than ${DEEPEST} parentheses and negations`, this.#word.at);
    const made = inner();
    this.#depth--;
    return made;
  }

  #refuse(why: string, at: number): never {
    return fail(
      'TRACE_FILTER',
      `The filter ${JSON.stringify(this.source)} is wrong at character ${at + 1}: ${why}${why.endsWith('?') ? '' : '.'} A filter compares fields, as in 'reason == cpuid && cpl == 3'.`,
      { filter: this.source, at },
    );
  }
}

/** What fields are compared with: texts that need no quotes. */
const WORDS: ReadonlySet<string> = new Set<string>([
  ...EXIT_NAMES,
  ...TRACE_KINDS,
  ...TRACE_OUTCOMES,
  'port',
  'mmio',
  'nmi',
  'machine',
  'hypervisor',
  'user',
]);

const COMPARISONS: Readonly<Record<string, (a: Value, b: Value) => boolean>> = {
  '==': (a, b) => equal(a, b),
  '!=': (a, b) => !equal(a, b),
  '<': (a, b) => (a as number) < (b as number),
  '<=': (a, b) => (a as number) <= (b as number),
  '>': (a, b) => (a as number) > (b as number),
  '>=': (a, b) => (a as number) >= (b as number),
  '~': (a, b) => listOf(a).some((text) => matches(String(text), String(b))),
};

/** A list (of callers, of arguments) equals what it contains. Numbers of both types compare by value. */
function equal(a: Value, b: Value): boolean {
  if (Array.isArray(a)) return a.some((part) => equal(part as Value, b));
  if (typeof a === 'string' || typeof b === 'string') return a === b;
  // biome-ignore lint/suspicious/noDoubleEquals: a number and a bigint of the same value
  return a == b;
}

function listOf(value: Value): readonly unknown[] {
  return Array.isArray(value) ? value : [value];
}

/** Compares by pieces between stars, without a regular expression: no pattern makes it slow. */
function matches(text: string, pattern: string): boolean {
  const pieces = pattern.split('*');
  if (pieces.length === 1) return text === pattern;
  const [first] = pieces,
    last = pieces.at(-1)!;
  if (!text.startsWith(first) || !text.endsWith(last) || text.length < first.length + last.length) return false;
  let at = first.length;
  for (const piece of pieces.slice(1, -1)) {
    const found = text.indexOf(piece, at);
    if (found < 0) return false;
    at = found + piece.length;
  }
  return at <= text.length - last.length;
}

function bitsOf(a: Value, b: Value): Value {
  const isNumber = (value: Value): value is number | bigint => typeof value === 'number' || typeof value === 'bigint';
  return isNumber(a) && isNumber(b) ? BigInt(a) & BigInt(b) : undefined;
}

function isTrue(value: Value): boolean {
  if (Array.isArray(value)) return value.length > 0;
  return value !== undefined && value !== false && value !== '' && value !== 0 && value !== 0n;
}

function numberOf(text: string): number | bigint {
  const number = Number(text);
  return Number.isSafeInteger(number) ? number : BigInt(text);
}

const constant =
  (value: Value): Part =>
  () =>
    value;
